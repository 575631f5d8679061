"""Two ways in which adversarial training overfits, told from the curves of a training.

Catastrophic: within an epoch or two the model learns to defeat its own weak adversary and loses its robustness against
a stronger one (Fast AT; Wong et al. 2020 §5.4). Robust: attacked accuracy on held-out images passes its best and falls
for the rest of the training, while that on the training images still rises (Rice et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from nofrost.results import Proportion

FALL = 0.2  # of attacked accuracy between two measurements; Wong et al. 2020 end the training there
LOSS = 0.5  # or of its share, as a model that withstands few attacks cannot fall as far
NOISE = 0.05  # fall of the accuracy on the training adversary that still counts as keeping it

Row = Mapping[str, Any]
"""An epoch of ``curves.json``: `epoch`, `selection_attacked` and `train_adversarial` as shares in [0, 1] or None, and,
where there are several, `phase`."""


def collapsed(curves: Sequence[Row], guard: float | None) -> bool:
    """Return whether the last measurement of attacked accuracy lies more than `guard` below the one before it.

    Args:
        curves: the epochs so far. Measurements of different phases are not compared.
        guard: a share in (0, 1]; None never ends a training.
    """
    last = _measured(curves)[-2:]
    return guard is not None and len(last) == 2 and _fall(*last) > guard


def stopped_early(curves: Sequence[Row], guard: float | None, epochs: int) -> dict[str, Any] | None:
    """Return the epoch after which `guard` ended the training and why, or None when all `epochs` were trained."""
    if guard is None or curves[-1]["epoch"] >= epochs or not collapsed(curves, guard):
        return None
    before, after = _measured(curves)[-2:]
    reason = (
        f"attacked accuracy on the selection split fell from {before['selection_attacked']:.1%} after epoch "
        f"{before['epoch']} to {after['selection_attacked']:.1%} after epoch {after['epoch']}, by more than "
        f"selection.guard {guard:g}"
    )
    return {"epoch": after["epoch"], "epochs": epochs, "reason": reason}


def diagnose(curves: Sequence[Row], images: int) -> dict[str, Any]:
    """Return what the curves of a whole training say of overfitting.

    Args:
        curves: its epochs.
        images: size of the selection split.

    Returns:
        ``catastrophic`` and ``robust``, each None where there is no sign of it.
    """
    catastrophic = _catastrophic(curves, images)
    return {"catastrophic": catastrophic, "robust": None if catastrophic else _robust(curves, images)}


def _catastrophic(curves: Sequence[Row], images: int) -> dict[str, Any] | None:
    """Return the first clear fall, by more than `FALL` or by more than `LOSS` of what was there, during which accuracy
    on the training adversary kept or rose."""
    for before, after in pairwise(_measured(curves)):
        trained = _trained(before, after)
        kept = trained is not None and trained[0] - trained[1] <= NOISE
        deep = _fall(before, after) > min(FALL, LOSS * float(before["selection_attacked"]))
        if trained and kept and deep and _is_clear(before, after, images):
            return {
                "epoch": after["epoch"],
                "before": before["selection_attacked"],
                "after": after["selection_attacked"],
                "train_before": trained[0],
                "train_after": trained[1],
            }
    return None


def _robust(curves: Sequence[Row], images: int) -> dict[str, Any] | None:
    """Return best and last attacked accuracy of the last phase if they clearly differ, and the training images did not
    lose as much."""
    rows = _measured(curves)
    if not rows:
        return None
    rows = [row for row in rows if row.get("phase") == rows[-1].get("phase")]
    best, last = max(rows, key=lambda row: float(row["selection_attacked"])), rows[-1]
    trained = _trained(best, last)
    if trained is None or trained[0] - trained[1] >= _fall(best, last) or not _is_clear(best, last, images):
        return None
    return {
        "epoch": best["epoch"],
        "best": _attacked(best, images).as_json(),
        "last": _attacked(last, images).as_json(),
        "train_best": trained[0],
        "train_last": trained[1],
    }


def _is_clear(high: Row, low: Row, images: int) -> bool:
    """Return whether two measurements on so many images differ by more than chance: their Wilson intervals do not meet.

    That is conservative, as both are measured on the same images and a paired test would see smaller differences; but
    the best of many epochs also looks better than it is.
    """
    return _attacked(high, images).interval[0] > _attacked(low, images).interval[1]


def _attacked(row: Row, images: int) -> Proportion:
    return Proportion.of(round(row["selection_attacked"] * images), images)


def _measured(curves: Sequence[Row]) -> list[Row]:
    return [row for row in curves if row.get("selection_attacked") is not None]


def _fall(before: Row, after: Row) -> float:
    if before.get("phase") != after.get("phase"):
        return 0.0
    return float(before["selection_attacked"]) - float(after["selection_attacked"])


def _trained(before: Row, after: Row) -> tuple[float, float] | None:
    first, second = before.get("train_adversarial"), after.get("train_adversarial")
    return None if first is None or second is None else (float(first), float(second))
