"""What attacks maximise: one number per image, from logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits [N, C] and the classes it is about ([N] int64) to what an attack maximises, [N]."""


def error_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log((1 - p) / p) per image, p being the probability of the label: cross-entropy without its saturation.

    Cross-entropy (without label smoothing) is softplus of this, a rising function. So both have the same maxima, the
    same ranking and, up to a positive factor per image, the same gradient; attacks use only ranking and direction. But
    in float32 cross-entropy is exactly zero from a margin of about 17 between logits, its gradient from about 104,
    which makes a model look robust that is only confident (gradient masking). This form is as good at any margin.

    Args:
        logits: [N, C], C at least 2.
        labels: [N] int64 in [0, C).

    Returns:
        [N], positive where the label has a probability under one half.
    """
    chosen = labels[:, None]
    others = logits.scatter(1, chosen, -torch.inf).logsumexp(1)
    return others - logits.gather(1, chosen).squeeze(1)
