"""A classifier as the rest of the project sees it: pixels in [0, 1] go in, logits come out."""

from __future__ import annotations

import torch
from torch import nn

from nofrost.config.base import Schema
from nofrost.config.model import MixtureInference
from nofrost.models.mixture import Mixture, Selector, has_mixture


class Signature(Schema):
    """What a classifier takes and gives, and how to build it again: the JSON beside a checkpoint.

    `mean` and `std` are those of the training pixels by channel, in [0, 1]; `classes` may be empty when unnamed. What
    the other fields mean, :class:`~nofrost.config.ModelSpec` says.
    """

    arch: str
    normaliser: str
    num_classes: int
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    affine: bool = True
    normaliser_eps: float | None = None
    groups: int = 32
    dropout: float = 0.0
    drop_path: float = 0.0
    mixture_weight: float = 0.5
    mixture_inference: MixtureInference = "logits"
    mixture_share: float = 0.5
    classes: tuple[str, ...] = ()


class Classifier(nn.Module):
    """Input normaliser and network in one module, so that attacks and budgets are always in pixels.

    A mixture-BN network answers with both branches, mixed as the signature says (wang2022 App. A), unless a
    :func:`~nofrost.models.branch` block names a branch or another mixture.

    Attributes:
        compute_dtype: what the network is run in by autocast, None for as it is; see :func:`~nofrost.models.precision`.
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
        self.compute_dtype: torch.dtype | None = None
        selector.deploy(Mixture(signature.mixture_weight, signature.mixture_inference, signature.mixture_share))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] in [0, 1] to logits [N, num_classes] of the images' dtype."""
        # convolutions are a fifth faster with channels last, on the CPU and on GPUs
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        mixture = self.selector.branch
        if not self.mixes or not isinstance(mixture, Mixture) or mixture.passes == 1:
            return self._run(normalised)
        with self.selector.two_passes():
            clean, adversarial = self._run(torch.cat([normalised, normalised])).chunk(2)
        return torch.lerp(clean, adversarial, mixture.weight)

    def _run(self, normalised: torch.Tensor) -> torch.Tensor:
        if self.compute_dtype is None:
            return self.network(normalised)  # type: ignore[no-any-return]
        # without its cache, which would outlive this block inside another autocast block and hold stale weights
        with torch.autocast(normalised.device.type, self.compute_dtype, cache_enabled=False):
            logits: torch.Tensor = self.network(normalised)
        return logits.to(normalised.dtype)
