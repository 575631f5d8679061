"""Method tda: one texture-debiased version of every training image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.augment.common import SMALL_PIXELS, batches, correlation, reported
from nofrost.config import AugmentationSpec
from nofrost.data import Split, from_tensor, to_tensor, write_images
from nofrost.models.device import default_device, exact_float32, single_thread_if_small
from nofrost.seeds import derive_seed
from nofrost.transforms.texture_debiased import texture_debiased

PROVENANCE = "Hermann et al. 2020 (texture-debiased augmentation) with the settings of wang2022's code"


def make_tda(train: Split, config: AugmentationSpec, folder: Path) -> dict[str, Any]:
    """Write ``images.npy`` [N, H, W, C] into `folder` and return the metrics."""
    correlations: list[float] = []

    device, pixels = default_device(), train.images.shape[1] * train.images.shape[2]

    def generated() -> Iterator[NDArray[np.uint8]]:
        for number, rows in enumerate(batches(len(train), *train.images.shape[1:3])):
            originals = to_tensor(train.images[rows]).to(device)
            generator = torch.Generator().manual_seed(derive_seed(config.seed, "tda", number))
            debiased = texture_debiased(originals, config.tda, generator)
            correlations.append(float(correlation(originals, debiased).sum()))
            yield from_tensor(debiased)

    with exact_float32(device), single_thread_if_small(device, pixels, SMALL_PIXELS):
        write_images(folder / "images.npy", reported("tda", generated(), len(train)), train.images.shape)
    return {"mean_correlation": round(sum(correlations) / len(train), 4)}
