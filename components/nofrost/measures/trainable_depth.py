"""How deep a batch-normalised network can be trained before its gradient explodes (Yang et al. 2019; galloway2019)."""

import math

from nofrost.errors import UserError

# How far the gradient's norm may grow from the last layer to the first: what float32 resolves beside 1. Ours:
# galloway2019 draws the line, and does not say where Yang et al. set it.
FLOAT32_RANGE = 2.0**23

LEAST_BATCH = 4
"""Images of a batch with which the growth of a gradient is finite."""


def gradient_growth(batch_size: int) -> float:
    """Return the factor by which the squared norm of the gradient grows from a layer to the one before it.

    It is that of a wide fully connected network at initialisation with batch norm (γ 1, β 0, c 0) before each ReLU, and
    no shortcuts (Yang et al. 2019, theorem 3.10), whatever the variance of its weights. It falls with the batch size
    towards π/(π - 1) = 1.467, which is still above 1.

    Args:
        batch_size: at least 4.

    Raises:
        UserError: it is smaller.
    """
    if batch_size < LEAST_BATCH:
        raise UserError(f"a batch of {batch_size} images has no finite gradient growth: write at least {LEAST_BATCH}")
    # Images of a batch, less their mean, have this correlation with each other in every layer.
    correlation = -1 / (batch_size - 1)
    angle = math.pi - math.acos(correlation)
    kernel = (math.sqrt(1 - correlation**2) + angle * correlation) / math.pi
    slope = angle / math.pi
    return ((batch_size - 1 + slope) / (1 - kernel) - 1) / (batch_size - 3)


def largest_trainable_depth(batch_size: int, dynamic_range: float = FLOAT32_RANGE) -> float:
    """Return the number of layers over which the norm of the gradient grows by `dynamic_range`, more than 0.

    Args:
        batch_size: at least 4.
        dynamic_range: the largest growth at which a network is still trained, more than 1.

    Raises:
        UserError: one of them is smaller.
    """
    if not dynamic_range > 1:
        raise UserError(f"dynamic_range {dynamic_range:g} is no growth: write more than 1")
    return 2 * math.log(dynamic_range) / math.log(gradient_growth(batch_size))
