"""From training images to DeepAugment images: distort, look at the result, and be milder where it is useless."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.augment.common import batches, correlation
from nofrost.augment.deepaugment.chance import Chance
from nofrost.augment.deepaugment.distorted import DistortedConvolution
from nofrost.augment.deepaugment.network import ReconstructionNetwork
from nofrost.data import from_tensor, to_tensor
from nofrost.seeds import derive_seed

LEVELS = (1.0, 0.5, 0.25)  # of strength; the next one for images that came out useless
STRENGTH = (0.3, 1.0)
LEAST_CORRELATION = 0.5  # of brightness with the original
LEAST_CONTRAST = 0.15  # of the original's


@dataclass
class Tally:
    """How many images needed a milder distortion, how many were left as they are, and the summed correlation."""

    milder: int = 0
    unchanged: int = 0
    correlation: float = 0.0


def generate(
    network: ReconstructionNetwork, images: NDArray[np.uint8], seed: int, device: torch.device, tally: Tally
) -> Iterator[NDArray[np.uint8]]:
    """Yield a DeepAugment version of every image, in order, batch by batch, and keep the tally.

    Args:
        network: on `device`.
        images: uint8 [N, H, W, C].
        seed: every batch draws from a generator of its own, derived from it.
    """
    for number, rows in enumerate(batches(len(images), *images.shape[1:3])):
        originals = to_tensor(images[rows]).to(device)
        distorted = _distort(network, originals, (seed, number), tally)
        tally.correlation += float(correlation(originals, distorted).sum())
        yield from_tensor(distorted)


@torch.no_grad()
def _distort(network: ReconstructionNetwork, originals: Tensor, seed: tuple[int, int], tally: Tally) -> Tensor:
    result = originals.clone()
    left = torch.arange(len(originals), device=originals.device)
    for attempt, level in enumerate(LEVELS):
        chance = Chance(derive_seed(*seed, "deepaugment", attempt), originals.device)
        strength = level * chance.strengths(len(left), *STRENGTH)
        outputs = network(originals[left], DistortedConvolution(strength, chance)).clamp(0, 1)
        good = usable(outputs, originals[left])
        result[left[good]] = outputs[good]
        left = left[~good]
        if not len(left):
            return result
        tally.milder += len(left) if attempt == 0 else 0
    tally.milder -= len(left)
    tally.unchanged += len(left)
    return result


def usable(outputs: Tensor, originals: Tensor) -> Tensor:
    """Return a bool [N]: the output is finite, keeps enough of the original's contrast and still looks like it."""
    finite = outputs.isfinite().flatten(1).all(dim=1)
    contrast = outputs.mean(dim=1).flatten(1).std(dim=1)
    enough = contrast >= LEAST_CONTRAST * originals.mean(dim=1).flatten(1).std(dim=1)
    return finite & enough & (correlation(outputs, originals) >= LEAST_CORRELATION)
