"""Training the network to give back the training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.augment.deepaugment.network import NetworkSpec, ReconstructionNetwork, new_network
from nofrost.config import DeepAugmentSpec
from nofrost.data import to_tensor
from nofrost.errors import UserError
from nofrost.models.device import single_thread
from nofrost.seeds import derive_seed
from nofrost.telemetry import progress

PATCH = 48  # pixels; the network is convolutional, so patches of this size teach it larger images too
_SAMPLE = 256


def train_network(
    images: NDArray[np.uint8], spec: DeepAugmentSpec, seed: int, device: torch.device
) -> ReconstructionNetwork:
    """Return a network trained on the images uint8 [N, H, W, C] with Adam on the mean absolute error.

    Images larger than 48 pixels are cut to a random patch for each batch. On the CPU all of it runs in one thread:
    several would split the sums of the gradients by their number and so change the last digits.

    Raises:
        UserError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "deepaugment", "training"))
    network = new_network(NetworkSpec(channels=images.shape[3], width=spec.width), generator).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=spec.lr)
    with single_thread(), progress("deepaugment: network", total=spec.epochs * len(images)) as bar:
        for _ in range(spec.epochs):
            order = torch.randperm(len(images), generator=generator).numpy()
            for start in range(0, len(order), spec.batch_size):
                rows = order[start : start + spec.batch_size]
                targets = _patches(images, rows, generator).to(device)
                loss = (network(targets) - targets).abs().mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                bar.advance(len(rows))
            if not bool(loss.isfinite()):
                raise UserError("the network of deepaugment diverged: lower augmentation.deepaugment.lr")
    return network.requires_grad_(False)


@torch.no_grad()
def reconstruction_psnr(network: ReconstructionNetwork, images: NDArray[np.uint8], device: torch.device) -> float:
    """Return the peak signal-to-noise ratio in dB of the reconstruction of up to 256 images spread over all."""
    rows = np.unique(np.linspace(0, len(images) - 1, _SAMPLE).astype(np.int64))
    errors = []
    for row in rows:
        original = to_tensor(images[row : row + 1]).to(device)
        errors.append((network(original).clamp(0, 1) - original).square().mean())
    return float(-10 * torch.stack(errors).mean().clamp(min=1e-10).log10())


def _patches(images: NDArray[np.uint8], rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
    height, width = images.shape[1:3]
    top = int(torch.randint(max(1, height - PATCH + 1), (), generator=generator))
    left = int(torch.randint(max(1, width - PATCH + 1), (), generator=generator))
    return to_tensor(images[rows, top : top + PATCH, left : left + PATCH])
