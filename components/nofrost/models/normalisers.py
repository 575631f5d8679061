"""Exchange the batch norms of any network for another normaliser, keeping every other weight as it is."""

from __future__ import annotations

from math import gcd
from typing import Any

from torch import nn

from nofrost.models.mixture import MixtureBatchNorm2d, Selector

GROUPS = 32  # Wu & He 2018's default; 004 does not state its own


def replace_batch_norm(network: nn.Module, normaliser: str, selector: Selector) -> nn.Module:
    """Replace every ``BatchNorm2d`` in `network`, in place, and return the network.

    Args:
        network: any module; timm's batch norms with a built-in activation keep that activation.
        normaliser: ``"bn"`` (no change), ``"mbn"``, ``"gn"``, ``"in"`` (affine) or ``"none"``.
        selector: shared by all mixture layers.
    """
    if normaliser == "bn":
        return network
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, _replacement(child, normaliser, selector))
        else:
            replace_batch_norm(child, normaliser, selector)
    return network


def _replacement(batch_norm: nn.BatchNorm2d, normaliser: str, selector: Selector) -> nn.Module:
    channels, eps = batch_norm.num_features, batch_norm.eps
    layer: nn.Module
    branches: list[Any]
    if normaliser == "mbn":
        layer = MixtureBatchNorm2d(channels, selector, eps=eps, momentum=batch_norm.momentum)
        branches = [layer.clean, layer.adversarial]
    elif normaliser == "gn":
        layer = nn.GroupNorm(gcd(GROUPS, channels), channels, eps=eps)
        branches = [layer]
    elif normaliser == "in":
        layer = nn.InstanceNorm2d(channels, eps=eps, affine=True)
        branches = [layer]
    else:
        layer, branches = nn.Identity(), []
    for branch in branches:  # keeps initial values such as a zero gain at the end of a residual branch
        branch.weight.data.copy_(batch_norm.weight.data)
        branch.bias.data.copy_(batch_norm.bias.data)
    extras = [
        getattr(batch_norm, extra)
        for extra in ("drop", "act")
        if isinstance(getattr(batch_norm, extra, None), nn.Module)
    ]
    return nn.Sequential(layer, *extras) if extras else layer
