"""The schedule of a training: learning rate, budget and batch statistics as functions of the epochs done."""

import math
from bisect import bisect_right
from itertools import pairwise

from nofrost.config import OptimiserSpec, Recipe, ScheduleSpec


def peak_lr(spec: OptimiserSpec, batch_size: int) -> float:
    """Return the learning rate that :func:`lr_share` is a share of, for batches of `batch_size` images."""
    return spec.lr if spec.lr_per is None else spec.lr * batch_size / spec.lr_per


def lr_share(spec: ScheduleSpec, epochs_done: float, step: float = 0.0) -> float:
    """Return the learning rate of the next step as a share of the peak.

    With ``per: step`` the shape is evaluated in the middle of each step; with ``per: epoch`` at the beginning of each
    epoch, like torch's schedulers. The warm-up is evaluated in the middle of the step or epoch, so that no step has a
    rate of zero.

    Args:
        spec: the recipe's schedule.
        epochs_done: at the beginning of the step, such as 2.5 halfway through the third epoch.
        step: length of a step in epochs; 0 returns the share at exactly `epochs_done`.
    """
    by_epoch = spec.per == "epoch"
    begin = float(math.floor(epochs_done)) if by_epoch else epochs_done
    middle = begin + (0.5 if by_epoch else step / 2)
    if begin < spec.lr_warmup_epochs:
        return min(1.0, middle / spec.lr_warmup_epochs)
    epoch = begin if by_epoch else middle
    match spec.shape:
        case "cosine":
            duration = spec.epochs - spec.lr_warmup_epochs
            return 0.5 * (1 + math.cos(math.pi * (epoch - spec.lr_warmup_epochs) / duration)) if duration else 1.0
        case "step":
            return float(spec.decay ** bisect_right(spec.milestones, epoch))
        case "piecewise-linear":
            return _interpolated(spec.points, epoch)
        case "constant":
            return 1.0


def threat_share(spec: ScheduleSpec, epochs_done: float) -> float:
    """Return the training budget at `epochs_done` as a share of the recipe's: a linear rise, then constant."""
    return min(1.0, epochs_done / spec.threat_warmup_epochs) if spec.threat_warmup_epochs else 1.0


def running_statistics(spec: ScheduleSpec, epochs_done: float) -> bool:
    """Return whether batch norms use their running statistics by now (the last epochs of xie2020 §4.3)."""
    return spec.running_statistics_epochs > 0 and epochs_done >= spec.epochs - spec.running_statistics_epochs


def is_of_the_end(recipe: Recipe, epoch: int) -> bool:
    """Return whether epoch number `epoch` of a phase, from 0, is trained as its last one is: with running statistics
    and averaged weights where the recipe ends with them. Only such an epoch is what the recipe is about."""
    schedule, averaging = recipe.schedule, recipe.optimiser.averaging
    if schedule.running_statistics_epochs and not running_statistics(schedule, epoch):
        return False
    return averaging is None or epoch + 1 > averaging.start_epoch


def _interpolated(points: tuple[tuple[float, float], ...], epoch: float) -> float:
    if epoch <= points[0][0]:
        return points[0][1]
    for (start, before), (end, after) in pairwise(points):
        if epoch <= end:
            return before + (after - before) * (epoch - start) / (end - start)
    return points[-1][1]
