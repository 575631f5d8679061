"""Method tda: one texture-debiased version of every training image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.augment.base import SMALL_PIXELS, Method, batches, correlation, register, reported
from nofrost.data import Split, from_tensor, to_tensor, write_images
from nofrost.models.device import default_device, exact_float32, single_thread_if_small
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

    def make(self, train: Split, seed: int, folder: Path) -> dict[str, Any]:
        """Write ``images.npy`` [N, H, W, C] into `folder` and return the metrics."""
        correlations: list[float] = []
        device, (height, width) = default_device(), train.images.shape[1:3]

        def generated() -> Iterator[NDArray[np.uint8]]:
            for number, rows in enumerate(batches(len(train), height, width)):
                originals = to_tensor(train.images[rows]).to(device)
                generator = torch.Generator().manual_seed(derive_seed(seed, "tda", number))
                debiased = texture_debiased(originals, generator, **self.as_json())
                correlations.append(float(correlation(originals, debiased).sum()))
                yield from_tensor(debiased)

        with exact_float32(device), single_thread_if_small(device, height * width, SMALL_PIXELS):
            write_images(folder / "images.npy", reported("tda", generated(), len(train)), train.images.shape)
        return {"mean_correlation": round(sum(correlations) / len(train), 4)}
