"""Stochastic depth (Huang et al. 2016): residual branches that are left out at random, in training."""

from __future__ import annotations

from torch import nn


def drop_path(rate: float) -> nn.Module:
    """Return the layer that drops a branch [N, ...] of an image with probability `rate` and scales the others up."""
    if rate == 0:
        return nn.Identity()  # and timm, which takes seconds to import, is left alone
    from timm.layers import DropPath  # type: ignore[attr-defined]

    return DropPath(rate)


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Return the rate of each block: from 0 at the first to `last` at the last, in equal steps."""
    return [last * index / max(1, blocks - 1) for index in range(blocks)]
