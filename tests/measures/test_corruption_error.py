"""mCE and relative mCE: the baseline itself has 1, a perfect model 0; effective robustness lies on published lines."""

from __future__ import annotations

import math

import pytest

from nofrost.config.corruption_families import CORRUPTION_FAMILIES
from nofrost.measures import BASELINES, corruption_errors, effective_robustness

ALEXNET = BASELINES["alexnet"]


def test_alexnet_has_100_percent_and_a_perfect_model_none() -> None:
    assert corruption_errors(ALEXNET.clean, ALEXNET.corruptions, "alexnet") == (
        pytest.approx(1.0, abs=1e-12),
        pytest.approx(1.0, abs=1e-12),
    )
    assert corruption_errors(0.0, dict.fromkeys(ALEXNET.corruptions, 0.0), "alexnet") == (0.0, 0.0)


def test_half_of_alexnets_errors_are_50_percent_and_other_corruptions_do_not_count() -> None:
    half = {name: rate / 2 for name, rate in ALEXNET.corruptions.items()}
    mce, relative = corruption_errors(ALEXNET.clean / 2, {**half, "saturate": 1.0}, "alexnet")
    assert (mce, relative) == (pytest.approx(0.5), pytest.approx(0.5))


def test_the_baseline_has_the_15_corruptions_and_needs_them_all() -> None:
    of_imagenet_c = (name for kind in ("noise", "blur", "weather", "digital") for name in CORRUPTION_FAMILIES[kind])
    assert list(ALEXNET.corruptions) == list(of_imagenet_c)
    with pytest.raises(KeyError):
        corruption_errors(0.1, {"fog": 0.5}, "alexnet")


@pytest.mark.parametrize(
    ("test_set", "clean", "accuracy", "classes"),
    # torchvision's ResNet-50 in the published tables, which the lines go through
    [
        ("imagenet-r", 0.9212, 0.36183, 200),
        ("imagenet-sketch", 0.7613, 0.24090, 1000),
        ("imagenet-v2-matched-frequency", 0.7613, 0.63330, 1000),
    ],
)
def test_a_model_that_the_line_was_fitted_to_has_little_effective_robustness(
    test_set: str, clean: float, accuracy: float, classes: int
) -> None:
    found = effective_robustness(test_set, clean, accuracy, classes, 1000)
    assert found is not None
    assert abs(found) < 0.02
    better = effective_robustness(test_set, clean, accuracy + 0.1, classes, 1000)
    assert better == pytest.approx(found + 0.1)
    assert math.isfinite(better)


@pytest.mark.parametrize(
    ("test_set", "clean", "classes", "dataset_classes"),
    [
        ("imagenet-a", 0.9, 200, 1000),
        ("imagenet-r", 0.9, 190, 1000),
        ("imagenet-r", 0.9, 200, 10),
        ("imagenet-r", 0.6, 200, 1000),
        ("imagenet-sketch", 0.85, 1000, 1000),
        ("imagenet-r", 1.0, 200, 1000),
        ("imagenet-r", 0.0, 200, 1000),
    ],
)
def test_without_a_line_or_with_other_classes_or_beyond_its_models_there_is_no_effective_robustness(
    test_set: str, clean: float, classes: int, dataset_classes: int
) -> None:
    assert effective_robustness(test_set, clean, 0.5, classes, dataset_classes) is None
