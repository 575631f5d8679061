"""What attacks maximise, one number per image from logits; and which wrong classes targeted attacks aim at."""

from collections.abc import Callable

import torch
from torch import Tensor

from nofrost.attacks.random import Noise
from nofrost.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of logits [N, C] and classes (int64, N rows) that an attack maximises, [N]."""


def error_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log((1 - p) / p) per image, p being the probability of the label: cross-entropy without its saturation.

    Cross-entropy (without label smoothing) is softplus of this, a rising function. So both have the same maxima, the
    same ranking and, up to a positive factor per image, the same gradient; attacks use only ranking and direction. But
    in float32 cross-entropy is exactly zero from a margin of about 17 between logits, its gradient from about 104,
    which makes a model look robust that is only confident (gradient masking). This form keeps its precision at any
    margin.

    Args:
        logits: [N, C], C at least 2.
        labels: [N] int64 in [0, C).

    Returns:
        [N], positive where the label has a probability under one half.
    """
    column = labels[:, None]
    others = logits.scatter(1, column, -torch.inf).logsumexp(1)
    return others - logits.gather(1, column).squeeze(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the largest other logit exceeds the label's, [N]: positive where the image is misclassified.

    Args:
        logits: [N, C], C at least 2.
        labels: [N] int64 in [0, C).
    """
    column = labels[:, None]
    return logits.scatter(1, column, -torch.inf).amax(1) - logits.gather(1, column).squeeze(1)


def targeted_margin(logits: Tensor, pairs: Tensor) -> Tensor:
    """Return by how much the logit of a target exceeds the label's, [N].

    Args:
        logits: [N, C], C at least 2.
        pairs: [N, 2] int64 in [0, C), label and target.
    """
    label, target = logits.gather(1, pairs).unbind(1)
    return target - label


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference-of-logits ratio, [N]: the margin in units of the largest less the third largest logit.

    It is the same for logits that are shifted or scaled (Croce & Hein 2020, section 4.1).

    Args:
        logits: [N, C], C at least 3.
        labels: [N] int64 in [0, C).

    Raises:
        UserError: there are fewer than 3 classes.
    """
    first, _, third = _largest(logits, 3, "DLR").unbind(1)
    return _ratio(margin(logits, labels), first - third)


def targeted_dlr(logits: Tensor, pairs: Tensor) -> Tensor:
    """Return the targeted difference-of-logits ratio, [N] (Croce & Hein 2020, section 4.3).

    The unit is the largest logit less the mean of the third and the fourth, so that two classes alone cannot fix it.

    Args:
        logits: [N, C], C at least 4.
        pairs: [N, 2] int64 in [0, C), label and target.

    Raises:
        UserError: there are fewer than 4 classes.
    """
    first, _, third, fourth = _largest(logits, 4, "targeted DLR").unbind(1)
    return _ratio(targeted_margin(logits, pairs), first - (third + fourth) / 2)


def _largest(logits: Tensor, count: int, loss: str) -> Tensor:
    if logits.shape[1] < count:
        raise UserError(
            f"the model has {logits.shape[1]} classes, but the loss {loss} needs at least {count}: "
            "use apgd-ce, or autoattack, which uses a margin instead"
        )
    return logits.topk(count, dim=1).values


def _ratio(lead: Tensor, spread: Tensor) -> Tensor:
    """Return `lead` / `spread`, also where logits are tied, or of any size, or -inf (classes that are ruled out)."""
    lead = lead.nan_to_num()
    # with too few finite logits for a spread, use the lead alone
    spread = torch.where(spread.isfinite(), spread, 1.0)
    # both in units of the larger, so that the paper's 1e-12 is small beside logits of every size
    unit = torch.maximum(lead.abs(), spread).detach()
    unit = torch.where(unit > torch.finfo(unit.dtype).tiny, unit, 1.0)
    return (lead / unit) / (spread / unit + 1e-12)


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
