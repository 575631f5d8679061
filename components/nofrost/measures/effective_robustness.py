"""Effective robustness: accuracy beyond that of published models of equal clean accuracy (Taori et al. 2020, §3)."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_LINES = "published_lines.yaml"


def effective_robustness(
    test_set: str, clean: float, accuracy: float, classes: int, dataset_classes: int
) -> float | None:
    """Return accuracy on a test set minus what a line through published models predicts from clean accuracy.

    The line is fitted to logits of both accuracies, log(a / (1 - a)). It belongs to ImageNet: to a model of its 1,000
    classes, and to all of the test set's own.

    Args:
        test_set: such as ``imagenet-r``; of ImageNet-V2 only ``imagenet-v2-matched-frequency`` has a line.
        clean: accuracy in [0, 1] on clean images of the test set's classes.
        accuracy: in [0, 1], on the test set.
        classes: of the test set.
        dataset_classes: of the dataset.

    Returns:
        A difference in [-1, 1]; None where no such line is known, or clean accuracy is not that of any of these models:
        a line that is continued beyond them would be a guess.
    """
    line = _lines().get(test_set)
    if line is None or (classes, dataset_classes) != (line["classes"], 1000):
        return None
    least, most = line["clean"]
    if not least <= clean <= most:
        return None
    logit = line["slope"] * math.log(clean / (1 - clean)) + line["intercept"]
    return accuracy - 1 / (1 + math.exp(-logit))


@cache
def _lines() -> dict[str, dict[str, Any]]:
    """Return slope and intercept by test set, and what they were fitted to."""
    text = (files(__package__) / _LINES).read_text(encoding="utf-8")
    lines: dict[str, dict[str, Any]] = yaml.safe_load(text)["lines"]
    return lines
