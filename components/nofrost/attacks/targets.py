"""Which wrong classes a targeted attack aims at."""

from __future__ import annotations

from torch import Tensor

from nofrost.attacks.noise import Noise


def likeliest_wrong(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return, per image, the classes with the largest logits but for the label, [N, min(count, C - 1)], largest first.

    Args:
        logits: [N, C], C at least 2.
        labels: [N] int64 in [0, C).
        count: at least 1.
    """
    order = logits.argsort(dim=1, descending=True, stable=True)
    wrong = order[order != labels[:, None]].view(len(logits), -1)
    return wrong[:, :count]


def random_wrong(labels: Tensor, classes: int, noise: Noise) -> Tensor:
    """Return for each image a class other than its label, int64 [N], all with equal chance.

    Args:
        labels: [N] int64 in [0, classes).
        classes: at least 2.
    """
    return (labels + 1 + noise.integers((), classes - 1)) % classes
