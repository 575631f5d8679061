"""How classes of test sets are matched to those of the dataset: some, groups of them, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import TestSets, TestSetSpec
from nofrost.data import Manifest, read_manifest, read_split, split_condition
from nofrost.errors import UserError
from nofrost.prepare import run_test_sets
from nofrost.prepare.sources import OwnClasses, SourceData
from nofrost.prepare.sources.chosen import relabelled
from nofrost.prepare.test_set_classes import match_classes
from nofrost.verify import verify
from tests.prepare.test_test_sets import arrays

Labelled = Callable[..., SourceData]
PLAIN = TestSetSpec(source="npz")


@pytest.fixture
def source(labelled: Labelled) -> Callable[..., SourceData]:
    def make(*classes: str, own: OwnClasses | None = None) -> SourceData:
        data = labelled(list(range(len(classes))))
        return replace(data, classes=classes, own_classes=own)

    return make


def test_of_a_set_with_some_classes_the_outputs_are_theirs(source: Callable[..., SourceData]) -> None:
    match = match_classes(source("d", "b", own=OwnClasses()), PLAIN, ["a", "b", "c", "d"])
    assert match.labels.tolist() == [0, 1]
    assert match.test_set is not None
    assert (match.test_set.classes, match.test_set.outputs) == (("d", "b"), ((3,), (1,)))
    assert not match.remark


def test_classes_that_the_dataset_lacks_are_left_out_with_a_word(source: Callable[..., SourceData]) -> None:
    match = match_classes(source("x", "b", "c", own=OwnClasses()), PLAIN, ["a", "b", "c"])
    assert match.labels.tolist() == [-1, 0, 1]
    assert match.test_set is not None
    assert match.test_set.outputs == ((1,), (2,))
    assert match.remark == "1 of its 3 classes are left out: the dataset does not have them"


def test_a_set_with_all_classes_of_the_dataset_has_its_labels(source: Callable[..., SourceData]) -> None:
    match = match_classes(source("x", "b", "a", own=OwnClasses()), PLAIN, ["a", "b"])
    assert match.test_set is None
    assert match.labels.tolist() == [-1, 1, 0]


def test_a_class_may_mean_several_of_the_dataset(source: Callable[..., SourceData]) -> None:
    own = OwnClasses(meanings={"cat": ("siamese", "persian"), "dog": ("pug",), "gnu": ("gnu",)}, answer="mean")
    match = match_classes(source("cat", "dog", "gnu", own=own), PLAIN, ["pug", "persian", "siamese"])
    assert match.labels.tolist() == [0, 1, -1]
    assert match.test_set is not None
    assert match.test_set.as_json() == {
        "classes": ["cat", "dog"],
        "outputs": [[2, 1], [0]],
        "answer": "mean",
        "outliers": False,
    }


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["x", "y"], "the dataset has none of the classes of dataset.path"), (["a", "y"], "has only 'a' of the classes")],
)
def test_a_set_with_fewer_than_two_common_classes_is_refused(
    source: Callable[..., SourceData], classes: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        match_classes(source(*classes, own=OwnClasses()), PLAIN, ["a", "b"])


def test_a_dataset_of_numbered_imagenet_classes_has_those_of_their_numbers(
    source: Callable[..., SourceData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nofrost.prepare.test_set_classes.wordnet_ids", lambda: ("n1", "n2", "n3"))
    for classes, outputs in ((["0", "1", "2"], ((2,), (0,))), (["2", "0", "1"], ((0,), (1,)))):
        match = match_classes(source("n3", "n1", own=OwnClasses()), PLAIN, classes)
        assert match.test_set is not None
        assert match.test_set.outputs == outputs


def test_outliers_of_a_published_set_are_asked_about_its_classes(source: Callable[..., SourceData]) -> None:
    match = match_classes(source("c", "a", own=OwnClasses(outliers=True)), PLAIN, ["a", "b", "c"])
    assert match.labels.tolist() == [0, 0]
    assert match.test_set is not None
    assert (match.test_set.classes, match.test_set.outputs, match.test_set.outliers) == (("outlier",), ((2, 0),), True)


def test_outliers_by_option_are_asked_about_all_classes_and_have_none_of_them(
    source: Callable[..., SourceData],
) -> None:
    spec = TestSetSpec(source="npz", outliers=True)
    match = match_classes(source("x", "y"), spec, ["a", "b", "c"])
    assert match.test_set is not None
    assert match.test_set.outputs == ((0, 1, 2),)
    with pytest.raises(UserError, match=r"has class 'b', which the dataset has too: outliers are of none"):
        match_classes(source("x", "b"), spec, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("outlier", "known"),
    [("Aquarium Fish", "aquarium_fish"), ("t-shirt/top", "T shirt/top"), ("cats", "n2"), ("n1", "0")],
)
def test_outliers_share_no_class_however_its_name_is_written(
    source: Callable[..., SourceData], monkeypatch: pytest.MonkeyPatch, outlier: str, known: str
) -> None:
    monkeypatch.setattr("nofrost.prepare.test_set_classes.wordnet_ids", lambda: ("n1", "n2"))
    own = OwnClasses(meanings={"cats": ("n2",)} if outlier == "cats" else None) if outlier in ("cats", "n1") else None
    classes = ["0", "1"] if known == "0" else ["x", known]
    with pytest.raises(UserError, match=f"has class '?{outlier}'?, which the dataset has too"):
        match_classes(source(outlier, own=own), TestSetSpec(source="npz", outliers=True), classes)


def test_outliers_whose_classes_are_numbers_are_refused_where_both_are_digits_and_remarked_otherwise(
    source: Callable[..., SourceData],
) -> None:
    spec, numbers = TestSetSpec(source="svhn", outliers=True), ["0", "1", "2"]
    svhn = replace(source(*numbers), name="svhn")
    with pytest.raises(UserError, match=r"has class '?0'?, which the dataset has too"):
        match_classes(svhn, spec, numbers, dataset="mnist")
    for data, dataset in ((svhn, "npz"), (source(*numbers), "mnist")):
        match = match_classes(data, spec, numbers, dataset=dataset)
        assert match.remark.startswith("its classes are numbers, as those of the dataset are, so that nobody can tell")
    assert not match_classes(svhn, spec, ["airplane", "cat"], dataset="cifar10").remark


def test_images_are_left_out_with_their_class_their_texture_or_all_accepted_classes(labelled: Labelled) -> None:
    part = labelled([0, 1, 2, 0, 1]).train
    accepted = np.array([[0, 2], [2, -1], [2, 0], [0, -1], [1, 2]])
    kept = relabelled(replace(part, accepted=accepted), np.array([1, 0, -1]))
    assert kept.labels.tolist() == [1, 1, 0]
    assert kept.indices(np.arange(3)).tolist() == [0, 3, 4]
    assert kept.accepted is not None
    assert kept.accepted.tolist() == [[1, -1], [1, -1], [0, -1]]
    kept = relabelled(replace(part, textures=np.array([1, 2, 0, 0, 0])), np.array([1, 0, -1]))
    assert kept.textures is not None
    assert (kept.labels.tolist(), kept.textures.tolist()) == ([1, 1, 0], [0, 1, 1])


def test_a_subset_and_outliers_are_prepared_verified_and_found_again(digits: Path, tmp_path: Path) -> None:
    path = arrays(tmp_path / "new.npz", classes=np.array(list("0123456789")))
    specs = {
        "some": TestSetSpec(source="npz", path=str(path), subset=True, classes=[3, 7]),
        "strange": TestSetSpec(source="npz", path=str(arrays(tmp_path / "out.npz", labels=np.zeros(40, int),
                               classes=np.array(["cat"]))), outliers=True),
    }  # fmt: skip
    run_test_sets(TestSets(test_sets=specs), digits, tmp_path / "sets")
    some, strange = (read_manifest(tmp_path / "sets" / name) for name in specs)
    assert some.classes == read_manifest(digits).classes
    assert some.label_classes == ("3", "7")
    assert read_split(tmp_path / "sets/some", "test", verify=True).labels.tolist() == [0] * 4 + [1] * 4
    assert (some.config["subset"], "outliers" in some.config) == (True, False)
    assert strange.test_set is not None
    assert strange.test_set.outliers
    assert strange.splits["test"].class_counts == (40,)
    assert not verify(tmp_path / "sets").lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": [[1], [1]]}, "outputs name 1 twice"),
        ({"outputs": [[1], []]}, "outputs of class 'b' are none"),
        ({"outputs": [[1]]}, "outputs are those of 1 classes, and there are 2"),
        ({"outputs": [[1], [2]]}, "test_set.outputs name others than the 2 classes of the dataset"),
        ({"classes": ["a", "b", "c"], "outputs": [[0], [1], [2]]}, r"class_counts are not the 2 images of 3 classes"),
    ],
)
def test_a_manifest_whose_own_classes_do_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {
        "name": "made", "classes": ["x", "y"], "image_size": (4, 4), "channels": 1, "mean": [0.5], "std": [1],
        "splits": {"gaussian_noise-1": {"count": 2, "class_counts": [1, 1], "sha256": {}}},
        "provenance": {}, "licence": "", "config": {},
        "test_set": {"classes": ["a", "b"], "outputs": [[0], [1]]},
    }  # fmt: skip
    assert list(Manifest.model_validate(values).splits) == ["gaussian_noise-1"]
    values["test_set"] |= changes
    with pytest.raises(ValueError, match=message):
        Manifest.model_validate(values)


def test_splits_of_corrupted_sets_say_corruption_and_severity() -> None:
    assert split_condition("gaussian_noise-5") == ("gaussian_noise", 5)
    assert split_condition("test") is split_condition("noise-6") is None


def test_subset_and_outliers_exclude_one_another() -> None:
    with pytest.raises(ValueError, match="subset and outliers exclude one another"):
        TestSetSpec(source="npz", subset=True, outliers=True)


def test_keys_that_are_not_set_are_not_in_a_specification() -> None:
    assert TestSetSpec(source="npz").as_json() == {"source": "npz", "path": "data/source", "limit": None}
