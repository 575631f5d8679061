"""The ood suites that come with the package, and what a suite built on one of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import OodSuite, load_study, load_suite
from nofrost.config.corruption_families import COMMON
from nofrost.errors import UserError
from nofrost.prepare.test_set_stage import resolve_test_set
from nofrost.transforms.corruptions import CORRUPTIONS, check_corruption

SUITES = ("ood-quick", "ood-cifar10", "ood-imagenet", "ood-calibration")


def ood(suite: str | Path) -> OodSuite:
    loaded = load_suite(suite)
    assert isinstance(loaded, OodSuite)
    return loaded


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_corruptions_and_test_sets_that_there_are(name: str) -> None:
    suite = ood(name)
    for corruption in suite.corruptions:
        check_corruption(corruption, 5, channels=3)
    for key, spec in suite.test_sets.items():
        assert resolve_test_set(key, spec).path == f"data/source/{key}"


def test_ood_cifar10_has_every_corruption_and_needs_no_files() -> None:
    assert sorted(ood("ood-cifar10").corruptions) == sorted(CORRUPTIONS)
    assert not ood("ood-cifar10").test_sets


def test_ood_imagenet_has_the_corruptions_that_a_mean_corruption_error_is_of() -> None:
    suite = ood("ood-imagenet")
    assert suite.corruptions == COMMON
    assert (suite.baseline, suite.jpeg_quality, suite.severities) == ("alexnet", 85, (1, 2, 3, 4, 5))


def test_a_test_set_of_a_base_is_left_out_by_null(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: ood-imagenet\ntest_sets: {imagenet-a: null, o: {source: imagenet-o}}\n", encoding="utf-8")
    assert list(ood(file).test_sets) == ["imagenet-v2", "imagenet-r", "imagenet-sketch", "o"]
    left_out = load_suite(file, ["test_sets.imagenet-r=null", "test_sets.o.limit=5"])
    assert isinstance(left_out, OodSuite)
    assert list(left_out.test_sets) == ["imagenet-v2", "imagenet-sketch", "o"]


@pytest.mark.parametrize("overrides", [(), ("test_sets.imagenet-sketh=null",)])
def test_a_null_that_leaves_nothing_out_is_refused_with_the_nearest_name(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"base: ood-imagenet\n{'' if overrides else 'test_sets: {imagenet-sketh: null}'}\n", encoding="utf-8"
    )
    message = (
        r"mine\.yaml.*: test_sets: null leaves out a test set that the base has, and it has no 'imagenet-sketh': did "
        "you mean 'imagenet-sketch'"
    )
    with pytest.raises(UserError, match=message):
        load_suite(file, overrides)


def test_a_study_leaves_out_what_its_base_or_the_suite_of_its_base_has(tmp_path: Path) -> None:
    suites = "suites: {ood: {quick: {base: ood-imagenet, test_sets: {o: {source: imagenet-o}}}}}"
    (tmp_path / "first.yaml").write_text(f"base: digits\n{suites}\n", encoding="utf-8")
    changes = "suites: {ood: {quick: {test_sets: {o: null, imagenet-a: null}}}}"
    (tmp_path / "second.yaml").write_text(f"base: first.yaml\n{changes}\n", encoding="utf-8")
    study = load_study(tmp_path / "second.yaml")
    assert list(study.suites.ood["quick"].test_sets) == ["imagenet-v2", "imagenet-r", "imagenet-sketch"]
