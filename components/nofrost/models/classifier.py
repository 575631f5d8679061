"""The classifier that the rest of the project uses: a network with its input normaliser, from pixels to logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from nofrost.config.model import Architecture
from nofrost.models.mixture import Mixture, Selector, has_mixture

Side = Annotated[int, Field(ge=1, le=16_384)]
"""Height or width of an image in pixels."""


class Signature(Architecture):
    """Architecture, input and output of a classifier: all that is needed to build it, as in the JSON of a checkpoint.

    Attributes:
        num_classes: length of the logits.
        image_size: height and width in pixels.
        channels: 1 for grey, 3 for colour.
        mean, std: of the training pixels by channel, in [0, 1].
        classes: their names; empty when unnamed.
    """

    num_classes: Annotated[int, Field(le=1_000_000)]
    image_size: tuple[Side, Side]
    channels: Annotated[int, Field(ge=1, le=4096)]
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...]
    std: tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...]
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count != self.channels:
                raise ValueError(f"{name} has {count} numbers for {self.channels} channels: give one for each")
        if self.classes and len(self.classes) != self.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names for {self.num_classes} classes: give all or none")
        return self


class Classifier(nn.Module):
    """Input normaliser and network in one module, so that attacks and budgets are always in pixels.

    A mixture-BN network combines both branches as the signature says (wang2022 App. A), unless a
    :func:`~nofrost.models.branch` block sets one branch or another mixture.

    Attributes:
        compute_dtype: autocast's type for the network, None for no autocast; see :func:`precision`.
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

    def extra_repr(self) -> str:
        """Show the activation, which is no layer, unless it is the architecture's own."""
        return f"activation={self.signature.activation}" if self.signature.activation else ""

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


@contextmanager
def precision(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let the network inside `model` compute under autocast in `dtype`; float32 means without autocast.

    Only the network: the input normaliser before it, the logits after it and the gradient of the images are of the
    images' dtype. Above 0.5 the values of bfloat16 lie a whole pixel apart: were images cast, a perturbation's steps
    would vanish or double. The model itself enters autocast, so that this also holds inside an attack, which switches
    the caller's autocast off. For training; evaluation computes in float32.

    Args:
        model: a :class:`Classifier`, wrapped or not.
        dtype: ``torch.bfloat16``, ``torch.float16`` or ``torch.float32``.

    Raises:
        ValueError: there is no Classifier in `model`, which alone knows where its network begins.
    """
    classifiers = [module for module in model.modules() if isinstance(module, Classifier)]
    if not classifiers:
        raise ValueError(f"{type(model).__name__} holds no nofrost.models.Classifier: build one with create_model")
    before = [classifier.compute_dtype for classifier in classifiers]
    try:
        for classifier in classifiers:
            classifier.compute_dtype = None if dtype == torch.float32 else dtype
        yield
    finally:
        for classifier, earlier in zip(classifiers, before, strict=True):
            classifier.compute_dtype = earlier
