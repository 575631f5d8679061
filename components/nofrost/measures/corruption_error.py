"""Corruption errors beside a baseline's: mCE and relative mCE (Hendrycks & Dietterich 2019, §4.1)."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class BaselineErrors:
    """Error rates in [0, 1] of a baseline: on clean images, and by corruption, mean over severities 1 to 5."""

    clean: float
    corruptions: Mapping[str, float]


# Of torchvision's AlexNet: on ImageNet-C from the table that its authors published with their code, on clean images as
# torchvision states. No corruption but these 15 counts.
BASELINES: dict[str, BaselineErrors] = {
    "alexnet": BaselineErrors(
        clean=0.4345,
        corruptions={
            "gaussian_noise": 0.886428,
            "shot_noise": 0.894468,
            "impulse_noise": 0.922640,
            "defocus_blur": 0.819880,
            "glass_blur": 0.826268,
            "motion_blur": 0.785948,
            "zoom_blur": 0.798360,
            "snow": 0.866816,
            "frost": 0.826572,
            "fog": 0.819324,
            "brightness": 0.564592,
            "contrast": 0.853204,
            "elastic_transform": 0.646056,
            "pixelate": 0.717840,
            "jpeg_compression": 0.606500,
        },
    )
}


def corruption_errors(clean: float, errors: Mapping[str, float], baseline: str) -> tuple[float, float]:
    """Return mCE and relative mCE, 1 being as many errors as the baseline has (printed as 100 %).

    Args:
        clean: error rate in [0, 1] on clean images.
        errors: error rate in [0, 1] by corruption, mean over severities 1 to 5; others than the baseline's do not
            count.

    Raises:
        KeyError: a corruption of the baseline is missing.
    """
    of_baseline = BASELINES[baseline]
    names = of_baseline.corruptions
    absolute = [errors[name] / names[name] for name in names]
    relative = [(errors[name] - clean) / (names[name] - of_baseline.clean) for name in names]
    return sum(absolute) / len(names), sum(relative) / len(names)
