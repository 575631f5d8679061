"""A classifier as the rest of the project sees it: pixels in [0, 1] go in, logits come out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nofrost.config.base import Schema
from nofrost.models.mixture import Selector, has_mixture


class Signature(Schema):
    """What a classifier takes and gives, and how to build it again: the JSON beside a checkpoint.

    `mean` and `std` are those of the training pixels by channel, in [0, 1]; `classes` may be empty when unnamed.
    """

    arch: str
    normaliser: str
    num_classes: int
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float = 0.0
    drop_path: float = 0.0
    mixture_weight: float = 0.5
    classes: tuple[str, ...] = ()


class Classifier(nn.Module):
    """Input normaliser and network in one module, so that attacks and budgets are always in pixels.

    A mixture-BN network answers with both branches, their logits weighted by γ = ``signature.mixture_weight``
    (001 App. A), unless a :func:`~nofrost.models.domain` block names a branch or another weight.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, signature: Signature, selector: Selector) -> None:
        super().__init__()
        self.network = network
        self.signature = signature
        self.register_buffer("mean", torch.tensor(signature.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(signature.std).view(1, -1, 1, 1))
        self.selector = selector
        self.mixes = has_mixture(network)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] in [0, 1] to logits [N, num_classes]."""
        normalised = (images - self.mean) / self.std
        weight = self.selector.domain
        if not self.mixes or not isinstance(weight, int | float):
            return self.network(normalised)  # type: ignore[no-any-return]
        return self._mixture(normalised, float(weight))

    def _mixture(self, normalised: torch.Tensor, weight: float) -> torch.Tensor:
        try:
            logits: Any = 0.0
            for branch, share in (("clean", 1 - weight), ("adversarial", weight)):
                if share:
                    self.selector.domain = branch  # type: ignore[assignment]
                    logits = logits + share * self.network(normalised)
        finally:
            self.selector.domain = weight
        return logits  # type: ignore[no-any-return]
