"""Images of the small network: each batch is passed through a network that is distorted apart for every image.

If the output is not usable, the image is passed again with a milder distortion.
"""

import numpy as np
import torch
from torch import Tensor

from nofrost.augment.base import Augment, ImageBlock, Values, correlation
from nofrost.augment.deepaugment.distortions import BatchDraws, DistortedConvolution
from nofrost.augment.deepaugment.encoder_decoder import ReconstructionNetwork
from nofrost.augment.originals import Pixels
from nofrost.data import from_tensor, to_tensor
from nofrost.seeds import derive_seed

# Each is for images whose output at the one before was not usable
STRENGTH_FACTORS = (1.0, 0.5, 0.25)
STRENGTH = (0.3, 1.0)
LEAST_CORRELATION = 0.5  # of brightness with the original
LEAST_CONTRAST = 0.15  # of the original's


def small_network_augment(network: ReconstructionNetwork, seed: int, device: torch.device) -> Augment:
    """Return what makes images with a network that is on `device`.

    It measures the summed correlation with the originals, and how many images needed a milder distortion or were left
    as they are. Every block draws from generators of its own; of photographs, which differ in size, every image does.
    """

    def augment(block: ImageBlock) -> tuple[Pixels | list[Pixels], Values]:
        values = {"correlation": 0.0, "milder": 0.0, "unchanged": 0.0}
        if isinstance(block.images, np.ndarray):
            return _distorted(network, to_tensor(block.images).to(device), (seed, block.number), values), values
        made = [
            _distorted(network, to_tensor(image[None]).to(device), (seed, row), values)[0]
            for row, image in enumerate(block.images, block.first)
        ]
        return made, values

    return augment


def _distorted(network: ReconstructionNetwork, originals: Tensor, seed: tuple[int, int], values: Values) -> Pixels:
    distorted = _distort(network, originals, seed, values)
    values["correlation"] += float(correlation(originals, distorted).sum())
    return from_tensor(distorted)


@torch.no_grad()
def _distort(network: ReconstructionNetwork, originals: Tensor, seed: tuple[int, int], values: Values) -> Tensor:
    result = originals.clone()
    rows = torch.arange(len(originals), device=originals.device)
    for attempt, factor in enumerate(STRENGTH_FACTORS):
        draws = BatchDraws(derive_seed(*seed, "deepaugment", attempt), originals.device)
        strength = factor * draws.strengths(len(rows), *STRENGTH)
        outputs = network(originals[rows], DistortedConvolution(strength, draws)).clamp(0, 1)
        good = usable(outputs, originals[rows])
        result[rows[good]] = outputs[good]
        rows = rows[~good]
        if not len(rows):
            return result
        values["milder"] += len(rows) if attempt == 0 else 0
    values["milder"] -= len(rows)
    values["unchanged"] += len(rows)
    return result


def usable(outputs: Tensor, originals: Tensor) -> Tensor:
    """Return a bool [N]: the output is finite, keeps enough of the original's contrast and still looks like it."""
    finite = outputs.isfinite().flatten(1).all(dim=1)
    contrast = outputs.mean(dim=1).flatten(1).std(dim=1)
    enough = contrast >= LEAST_CONTRAST * originals.mean(dim=1).flatten(1).std(dim=1)
    return finite & enough & (correlation(outputs, originals) >= LEAST_CORRELATION)
