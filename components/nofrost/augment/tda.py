"""Method tda: one texture-debiased version of every training image."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nofrost.augment.base import Augmenter, ImageBlock, Method, Values, correlation, register
from nofrost.augment.originals import Originals, Pixels
from nofrost.data import from_tensor, to_tensor
from nofrost.models.device import default_device
from nofrost.seeds import derive_seed
from nofrost.transforms.texture_debiased import texture_debiased


@register("tda")
class TextureDebiased(Method):
    """Texture-debiased augmentation (Hermann et al. 2020): mild crops and colour distortion as in wang2022's code.

    Attributes:
        horizontal_flip: mirrors images at random; leave it off where a mirrored image is another class (digits,
            letters).
        noise, blur: whether to add those of the paper, which are off in that code.
    """

    horizontal_flip: bool = True
    noise: bool = False
    blur: bool = False

    provenance = "Hermann et al. 2020 (texture-debiased augmentation) with the settings of wang2022's code"

    def augmenter(self, originals: Originals, seed: int, folder: Path, unfinished: Path) -> Augmenter:
        """Return what makes the images; of photographs, which differ in size, each has a generator of its own."""
        device, settings = default_device(), self.as_json()

        def debiased(images: Tensor, number: int, values: Values) -> Pixels:
            images = images.to(device)
            made = texture_debiased(images, torch.Generator().manual_seed(derive_seed(seed, "tda", number)), **settings)
            values["correlation"] += float(correlation(images, made).sum())
            return from_tensor(made)

        def augment(block: ImageBlock) -> tuple[Pixels | list[Pixels], Values]:
            values = {"correlation": 0.0}
            if isinstance(block.images, np.ndarray):
                return debiased(to_tensor(block.images), block.number, values), values
            rows = enumerate(block.images, block.first)
            return [debiased(to_tensor(image[None]), row, values)[0] for row, image in rows], values

        return Augmenter(augment)

    def metrics(self, facts: Values, totals: Mapping[str, float], count: int) -> dict[str, int | float]:
        """Return how much the images look like theirs."""
        return {"mean_correlation": round(totals["correlation"] / count, 4)}
