"""The ood suites that come with the package, and what a suite built on one of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import OodSuite, load_suite
from nofrost.prepare.sources.corrupted import BENCHMARK
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
    assert suite.corruptions == BENCHMARK
    assert (suite.baseline, suite.jpeg_quality, suite.severities) == ("alexnet", 85, (1, 2, 3, 4, 5))


def test_a_test_set_of_a_base_is_left_out_by_null(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: ood-imagenet\ntest_sets: {imagenet-a: null, o: {source: imagenet-o}}\n", encoding="utf-8")
    assert list(ood(file).test_sets) == ["imagenet-v2", "imagenet-r", "imagenet-sketch", "o"]
