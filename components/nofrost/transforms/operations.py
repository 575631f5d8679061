"""RandAugment and AugMix, which torchvision makes, with the random numbers of each image from a seed of its own.

torchvision draws from torch's global generator. Here each image has a generator, so that what is drawn for it depends
neither on other images nor on the thread that works on it, and the global generator stays as it is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nofrost.config.recipe import AugMixSpec, RandAugmentSpec

Change = Callable[[Tensor, int], Tensor]
"""Return an image (uint8 [C, H, W], C being 1 or 3) changed as a seed says, of the same shape."""

# What torchvision's transforms draw with.
_RANDOM = frozenset({torch.rand, torch.randint, torch._sample_dirichlet})


class _DrawnFrom(TorchFunctionMode):
    """Inside of it, what this thread draws with torch comes from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        drawn = {"generator": self._generator} if function in _RANDOM else {}
        return function(*args, **drawn, **(kwargs or {}))


def randaugment(spec: RandAugmentSpec) -> Change:
    """Return RandAugment (Cubuk et al. 2020, §3): operations of one magnitude, drawn for each image."""
    from torchvision.transforms.v2 import RandAugment

    transform = RandAugment(num_ops=spec.operations, magnitude=spec.magnitude)

    def of_pillow(image: Tensor) -> Tensor:
        # Pillow's operations, which torchvision takes for its images, need a third of the time of those on tensors.
        pixels = np.array(transform(Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())))
        return torch.from_numpy(pixels.reshape(*image.shape[1:], len(image)).transpose(2, 0, 1))

    return _seeded(of_pillow)


def augmix(spec: AugMixSpec) -> Change:
    """Return AugMix (Hendrycks et al. 2020, §3): a mixture of the image and chains of operations on it."""
    from torchvision.transforms.v2 import AugMix

    return _seeded(
        AugMix(
            severity=spec.severity,
            mixture_width=spec.width,
            chain_depth=spec.depth or -1,
            alpha=spec.alpha,
            all_ops=spec.all_operations,
        )
    )


def levels(images: Tensor) -> Tensor:
    """Return the nearest of the 256 levels, uint8, of images in [0, 1]; images of levels as they are."""
    return images if images.dtype == torch.uint8 else images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def _seeded(transform: Callable[[Tensor], Tensor]) -> Change:
    def change(image: Tensor, seed: int) -> Tensor:
        with _DrawnFrom(torch.Generator().manual_seed(seed)):
            return transform(image)

    return change
