"""Further test sets: what prepare writes of a source, matched to the classes and images of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.config.loading import validated
from nofrost.data import Photographs, read_manifest, read_split
from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.files import read_json
from nofrost.prepare import run, run_test_sets
from nofrost.prepare.test_set_classes import class_indices
from tests.prepare.jpegs import turned_jpeg

CLASSES = tuple("0123456789")


def arrays(path: Path, **changes: Any) -> Path:
    """Write 40 digits, four of each class, as an .npz of 16 x 16 pixels; None leaves an array out."""
    bunch = load_digits()
    rows = np.concatenate([np.flatnonzero(bunch.target == label)[:4] for label in range(10)])
    pixels = np.repeat(np.repeat(bunch.images[rows], 2, 1), 2, 2) * 255 / 16
    values = {"images": pixels.round().astype(np.uint8), "labels": bunch.target[rows], **changes}
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def prepare(out: Path, dataset: Path, path: Path, **keys: Any) -> Path:
    """Make one test set of the arrays at `path` and return its folder."""
    spec = TestSetSpec(source="npz", path=str(path), **keys)
    run_test_sets(TestSets(test_sets={"new": spec}), dataset, out)
    return out / "new"


def test_a_test_set_is_a_dataset_with_a_test_split_alone_and_the_classes_of_the_dataset(
    digits: Path, tmp_path: Path
) -> None:
    folder = prepare(tmp_path / "out", digits, arrays(tmp_path / "new.npz"))
    made, dataset = read_manifest(folder), read_manifest(digits)
    assert list(made.splits) == ["test"]
    assert (made.classes, made.image_size, made.mean, made.std) == (
        dataset.classes,
        dataset.image_size,
        dataset.mean,
        dataset.std,
    )
    assert made.provenance["new.npz"].startswith("sha256:")
    split = read_split(folder, "test", verify=True)
    with np.load(tmp_path / "new.npz") as source:
        assert np.array_equal(split.images[..., 0], source["images"])
        assert np.array_equal(split.labels, source["labels"])
    assert read_json(tmp_path / "out/record.json")["stage"] == "prepare-test-sets"
    assert read_json(tmp_path / "out/metrics.json") == {"test_images": {"new": 40}}


def test_an_optional_set_whose_source_is_not_there_is_left_out_and_recorded(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = TestSetSpec(source="npz", path=str(arrays(tmp_path / "new.npz")))
    absent = TestSetSpec(source="cifar10.1", path=str(tmp_path / "nowhere"), optional=True)
    out = tmp_path / "out"
    run_test_sets(TestSets(test_sets={"new": there, "cifar10-1": absent}), digits, out)
    assert read_json(out / "metrics.json") == {"test_images": {"new": 40}, "left_out": ["cifar10-1"]}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert "test_sets.cifar10-1.path" in line
    assert "cifar10.1_v6_data.npy from https://" in line
    assert "md5:4fcae82cb1326aec9ed1dc1fc62345b8" in line
    with pytest.raises(UserError, match="nowhere does not exist"):
        run_test_sets(TestSets(test_sets={"a": absent.model_copy(update={"optional": False})}), digits, tmp_path / "b")


def test_images_get_the_size_that_prepare_gave_those_of_the_dataset(digits: Path, tmp_path: Path) -> None:
    images = load_digits().images.astype(np.uint8)[:40] * 15
    small = arrays(tmp_path / "small.npz", images=images)
    split = read_split(prepare(tmp_path / "out", digits, small), "test")
    assert split.images.shape == (40, 16, 16, 1)
    expected = Image.fromarray(images[7]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(split.images[7, ..., 0], np.asarray(expected))


def test_of_a_source_with_its_own_test_split_that_split_is_used(digits: Path, tmp_path: Path) -> None:
    with np.load(arrays(tmp_path / "one.npz")) as source:
        values = {"test_images": source["images"][::-1], "test_labels": source["labels"][::-1]}
    folder = prepare(tmp_path / "out", digits, arrays(tmp_path / "both.npz", **values))
    assert np.array_equal(read_split(folder, "test").labels, values["test_labels"])


def test_a_limit_keeps_a_balanced_part(digits: Path, tmp_path: Path) -> None:
    split = read_split(prepare(tmp_path / "out", digits, arrays(tmp_path / "new.npz"), limit=20), "test")
    assert np.bincount(split.labels).tolist() == [2] * 10
    assert np.all(np.diff(split.indices) > 0)


def test_equal_content_gives_equal_bytes_wherever_it_lies(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    paths = arrays(tmp_path / "new.npz"), arrays(tmp_path / "elsewhere/new.npz")
    for path, out in zip(paths, ("one", "two"), strict=True):
        prepare(tmp_path / out, digits, path)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["b", "a", "c"], ["a", "b", "c"], [1, 0, 2]),
        (["0", "1", "2"], ["a", "b", "c"], [0, 1, 2]),
        (["2", "0", "1"], ["0", "1", "2"], [2, 0, 1]),
        (["02", "00", "01"], ["a", "b", "c"], [2, 0, 1]),
        ([str(number) for number in (0, 1, 10, *range(2, 10))], list("abcdefghijk"), [0, 1, 10, *range(2, 10)]),
    ],
)
def test_classes_are_matched_by_name_or_else_by_number(
    names: list[str], classes: list[str], expected: list[int]
) -> None:
    assert class_indices(names, classes).tolist() == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "has no class 'c'"),
        (["a", "b", "c", "d"], "has class 'd', which the dataset does not have"),
        (["0", "1"], "has 2 numbered classes, the dataset 3"),
        (["1", "2", "3"], "has class '1', which the dataset does not have"),
    ],
)
def test_other_classes_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_indices(names, ["a", "b", "c"])


def test_a_class_without_an_image_is_refused_by_name(digits: Path, tmp_path: Path) -> None:
    labels = np.repeat(np.arange(10), 4)
    labels[labels == 3] = 4
    path = arrays(tmp_path / "new.npz", labels=labels, classes=np.array(CLASSES))
    with pytest.raises(UserError, match="class '3' has 0 images: it needs at least 1, in the test set"):
        prepare(tmp_path / "out", digits, path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "/missing"}, r"^test_sets\.new\.path /missing does not exist"),
        ({"classes": ["0", "x"]}, r"^test_sets\.new\.classes: unknown class 'x'"),
        ({"limit": 7}, r"^test_sets\.new\.limit is 7: with 10 classes it must be at least 10"),
        ({"image_size": 8}, r"^test_sets\.new\.path has images of \(8, 8, 1\).* give test_sets\.new\.image_size"),
        ({"view": {"resize": 16, "crop": 16}}, r"^test_sets\.new\.view is for photographs .* the dataset is an array"),
        ({"source": "nqz"}, r"^suites\.ood: test_sets\.new\.source: .*'npz'"),
        ({"pathology": 1}, r"^suites\.ood: unknown key 'test_sets\.new\.pathology'"),
    ],
)
def test_an_error_names_the_key_of_the_test_set(
    digits: Path, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    values = {"source": "npz", "path": str(arrays(tmp_path / "new.npz")), **keys}
    with pytest.raises(UserError, match=message):
        run_test_sets(TestSets(test_sets={"new": TestSetSpec(**values)}), digits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_of_the_command_line_are_those_of_the_test_set(tmp_path: Path, digits: Path) -> None:
    for name in ("day", "night"):
        for label in "ab":
            (tmp_path / "in" / name / label).mkdir(parents=True)
            Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "in" / name / label / "a.png")
    spec = TestSetSpec(source="folder", path=str(tmp_path / "in"))
    with pytest.raises(UserError, match=r"--set 'test_sets\.new\.splits=\[\]' \(in a study test_sets\.new\.splits\)"):
        run_test_sets(TestSets(test_sets={"new": spec}), digits, tmp_path / "out")


def test_settings_of_a_split_are_refused() -> None:
    with pytest.raises(UserError, match="selection_share is for datasets, which are split"):
        validated(TestSetSpec, {"source": "npz", "selection_share": 0.1}, "suites.ood.quick.test_sets.new")


def test_of_several_test_sets_the_one_at_fault_is_named_and_nothing_is_written(digits: Path, tmp_path: Path) -> None:
    good, bad = arrays(tmp_path / "good.npz"), arrays(tmp_path / "bad.npz", labels=None)
    specs = {path.stem: TestSetSpec(source="npz", path=str(path)) for path in (good, bad)}
    with pytest.raises(UserError, match=r"bad\.npz holds the arrays images: it needs images and labels"):
        run_test_sets(TestSets(test_sets=specs), digits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_study_without_test_sets_has_an_output_without_any(digits: Path, tmp_path: Path) -> None:
    run_test_sets(TestSets(), digits, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "record.json"]


def photographs(folder: Path, count: int, names: tuple[str, ...] = ("cat", "dog"), suffix: str = ".jpg") -> Path:
    """Write so many photographs of 40 x 50 pixels for each class."""
    random = np.random.default_rng(count)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (5, 4, 3), dtype=np.uint8))
            coarse.resize((50, 40), Image.Resampling.BICUBIC).save(folder / name / f"{number}{suffix}", quality=90)
    return folder


@pytest.fixture(scope="module")
def photo_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 20 photographs in shards, seen at 28 of 32 pixels."""
    folder = tmp_path_factory.mktemp("photographs")
    path = str(photographs(folder / "photos", 10))
    run(DatasetSpec(source="folder", path=path, view={"resize": 32, "crop": 28}), folder / "dataset")  # type: ignore[arg-type]
    return folder / "dataset"


@pytest.mark.parametrize(("names", "suffix"), [(("cat", "dog"), ".jpg"), (("0", "1"), ".png")])
def test_a_test_set_of_a_dataset_of_photographs_keeps_the_published_bytes(
    photo_dataset: Path, tmp_path: Path, names: tuple[str, ...], suffix: str
) -> None:
    source = photographs(tmp_path / "new", 3, names, suffix)
    specs = TestSets(test_sets={"new": TestSetSpec(source="folder", path=str(source))})
    run_test_sets(specs, photo_dataset, tmp_path / "out")
    made, split = read_manifest(tmp_path / "out/new"), read_split(tmp_path / "out/new", "test", verify=True)
    assert made.classes == ("cat", "dog")
    assert made.view == read_manifest(photo_dataset).view
    assert isinstance(split.images, Photographs)
    assert split.images.shape == (6, 28, 28, 3)
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    stored = [split.images.encoded(row) for row in range(6)]
    assert stored == [(source / name / f"{number}{suffix}").read_bytes() for name in names for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "new", "record.json"]
    assert sorted(path.name for path in (tmp_path / "out/new").iterdir()) == ["manifest.json", "test"]


def test_photographs_that_are_stored_anew_are_counted(photo_dataset: Path, tmp_path: Path) -> None:
    source = photographs(tmp_path / "new", 2)
    next(source.rglob("*.jpg")).write_bytes(turned_jpeg())
    specs = TestSets(test_sets={"new": TestSetSpec(source="folder", path=str(source))})
    run_test_sets(specs, photo_dataset, tmp_path / "out")
    assert read_manifest(tmp_path / "out/new").provenance["stored anew as JPEG"] == "1 turned"


def test_a_test_set_of_an_array_beside_photographs_is_refused(
    digits: Path, photo_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^test_sets\.new\.source 'npz' has images of an array, and the dataset holds"):
        prepare(tmp_path / "out", photo_dataset, arrays(tmp_path / "new.npz"))


def test_both_versions_of_cifar10_1_are_test_sets_of_cifar10(
    tmp_path: Path, take_for_published: Callable[..., None]
) -> None:
    random, names = np.random.default_rng(0), load_card("cifar10.1").class_names
    pixels = random.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = np.tile(np.arange(10), 6)
    order = [3, 1, 0, 2, 9, 8, 7, 6, 5, 4]  # of the classes in the dataset, which a folder would sort
    np.savez(tmp_path / "cifar10.npz", images=pixels, labels=labels, classes=np.array([names[each] for each in order]))
    run(DatasetSpec(source="npz", path=str(tmp_path / "cifar10.npz")), tmp_path / "dataset")
    folder, specs = tmp_path / "cifar10.1", {}
    folder.mkdir()
    for version, count in (("v4", 50), ("v6", 30)):
        np.save(folder / f"cifar10.1_{version}_data.npy", pixels[:count])
        np.save(folder / f"cifar10.1_{version}_labels.npy", labels[:count].astype(np.int32))
        specs[version] = TestSetSpec(source="cifar10.1", path=str(folder), version=version)  # type: ignore[call-arg]
    take_for_published("cifar10.1", folder)
    run_test_sets(TestSets(test_sets=specs), tmp_path / "dataset", tmp_path / "out")
    for version, count in (("v4", 50), ("v6", 30)):
        split = read_split(tmp_path / "out" / version, "test")
        assert np.array_equal(split.images, pixels[:count])
        assert [order[label] for label in split.labels] == labels[:count].tolist(), "the same class by name"
