"""Detection of the two kinds of overfitting of adversarial training in the curves of a training.

Catastrophic: within an epoch or two the model learns to defeat its own weak adversary and loses its robustness against
a stronger one (Fast AT; Wong et al. 2020 §5.4). Robust: attacked accuracy on held-out images passes its best and falls
for the rest of the training, while that on the training images still rises (Rice et al. 2020).
"""

from collections.abc import Sequence
from itertools import pairwise

from nofrost.results import CatastrophicOverfitting, Epoch, Overfitting, Proportion, RobustOverfitting, StoppedEarly

# Attacked accuracy collapses if it falls between two measurements by more than this (Wong et al. 2020 stop there) ...
FALL = 0.2
# ... or by more than this share of its value, because a model of low robustness cannot fall by so much.
LOSS = 0.5
# Accuracy on the training adversary counts as held if it falls by no more than this.
NOISE = 0.05


def collapsed(curves: Sequence[Epoch], guard: float | None) -> bool:
    """Return whether the last measurement of attacked accuracy is more than `guard` below the one before it.

    Args:
        curves: the epochs so far. Measurements of different phases are not compared.
        guard: a share in (0, 1]; None never ends a training.
    """
    last = _measured(curves)[-2:]
    return guard is not None and len(last) == 2 and _fall(*last) > guard


def stopped_early(curves: Sequence[Epoch], guard: float | None, epochs: int) -> StoppedEarly | None:
    """Return the epoch after which `guard` ended the training and why, or None when all `epochs` were trained."""
    if guard is None or curves[-1].epoch >= epochs or not collapsed(curves, guard):
        return None
    before, after = _measured(curves)[-2:]
    reason = (
        f"attacked accuracy on the selection split fell from {before.selection_attacked:.1%} after epoch "
        f"{before.epoch} to {after.selection_attacked:.1%} after epoch {after.epoch}, by more than "
        f"selection.guard {guard:g}"
    )
    return StoppedEarly(epoch=after.epoch, epochs=epochs, reason=reason)


def diagnose(curves: Sequence[Epoch], images: int) -> Overfitting:
    """Return the signs of overfitting in the curves of a complete training.

    Args:
        curves: its epochs.
        images: size of the selection split.
    """
    catastrophic = _catastrophic(curves, images)
    return Overfitting(catastrophic=catastrophic, robust=None if catastrophic else _robust(curves, images))


def _catastrophic(curves: Sequence[Epoch], images: int) -> CatastrophicOverfitting | None:
    """Return the first significant collapse of attacked accuracy while accuracy on the training adversary held or
    rose."""
    for before, after in pairwise(_measured(curves)):
        train = _train_accuracies(before, after)
        collapse = _fall(before, after) > min(FALL, LOSS * _attacked(before))
        if train and train[0] - train[1] <= NOISE and collapse and _is_significant(before, after, images):
            return CatastrophicOverfitting(
                epoch=after.epoch,
                before=_attacked(before),
                after=_attacked(after),
                train_before=train[0],
                train_after=train[1],
            )
    return None


def _robust(curves: Sequence[Epoch], images: int) -> RobustOverfitting | None:
    """Return best and last attacked accuracy of the last phase if they differ significantly and accuracy on the
    training adversary fell by less."""
    rows = _measured(curves)
    if not rows:
        return None
    rows = [row for row in rows if row.phase == rows[-1].phase]
    best, last = max(rows, key=_attacked), rows[-1]
    train = _train_accuracies(best, last)
    if train is None or train[0] - train[1] >= _fall(best, last) or not _is_significant(best, last, images):
        return None
    return RobustOverfitting(
        epoch=best.epoch,
        best=_proportion(best, images),
        last=_proportion(last, images),
        train_best=train[0],
        train_last=train[1],
    )


def _is_significant(high: Epoch, low: Epoch, images: int) -> bool:
    """Return whether the Wilson intervals of two measurements on this number of images are disjoint."""
    # This is conservative: a paired test on the same images would detect smaller differences. On the other hand, the
    # best of many epochs looks better than it is.
    return _proportion(high, images).low > _proportion(low, images).high


def _proportion(row: Epoch, images: int) -> Proportion:
    return Proportion.of(round(_attacked(row) * images), images)


def _measured(curves: Sequence[Epoch]) -> list[Epoch]:
    return [row for row in curves if row.selection_attacked is not None]


def _attacked(row: Epoch) -> float:
    """Return the attacked accuracy of an epoch in which it was measured."""
    assert row.selection_attacked is not None
    return row.selection_attacked


def _fall(before: Epoch, after: Epoch) -> float:
    return _attacked(before) - _attacked(after) if before.phase == after.phase else 0.0


def _train_accuracies(before: Epoch, after: Epoch) -> tuple[float, float] | None:
    """Return both accuracies on the training adversary, None if one of the epochs had none."""
    first, second = before.train_adversarial, after.train_adversarial
    return None if first is None or second is None else (first, second)
