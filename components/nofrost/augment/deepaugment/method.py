"""Method deepaugment (Hendrycks et al. 2021): outputs of an image-to-image network that is distorted at random.

The network is trained or loaded, then applied to each training image. If the output is not usable, the image is passed
again with a milder distortion.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from nofrost.augment.base import SMALL_PIXELS, Method, batches, correlation, register, reported
from nofrost.augment.deepaugment.distortions import Chance, DistortedConvolution
from nofrost.augment.deepaugment.network import (
    ReconstructionNetwork,
    load_network,
    reconstruction_psnr,
    save_network,
    train_network,
)
from nofrost.data import Images, Split, from_tensor, to_tensor, write_images
from nofrost.errors import UserError
from nofrost.models.device import default_device, exact_float32, single_thread_if_small
from nofrost.seeds import derive_seed

LEVELS = (1.0, 0.5, 0.25)  # of strength; each next one is for images whose output was not usable
STRENGTH = (0.3, 1.0)
LEAST_CORRELATION = 0.5  # of brightness with the original
LEAST_CONTRAST = 0.15  # of the original's


@register("deepaugment")
class DeepAugment(Method):
    """DeepAugment (Hendrycks et al. 2021).

    Attributes:
        weights: a safetensors file of a network trained before; None trains a small one on the dataset.
        width: channels of the network to train.
        epochs, batch_size, lr: of its training with Adam.
    """

    weights: str | None = None
    width: int = Field(default=16, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=2e-3, gt=0)

    @model_validator(mode="after")
    def _weights_are_not_trained(self) -> Self:
        fields = type(self).model_fields
        ignored = [
            name for name in ("width", "epochs", "batch_size", "lr") if getattr(self, name) != fields[name].default
        ]
        if self.weights is not None and ignored:
            raise ValueError(f"weights are loaded and not trained, so that {ignored[0]} has no effect: leave out one")
        return self

    provenance = (
        "Hendrycks et al. 2021 (DeepAugment): outputs of an image-to-image network with distorted weights and "
        "activations; one residual encoder-decoder at the images' own size stands for their two networks (EDSR and CAE)"
    )

    def files(self) -> dict[str, Path]:
        """Return the file of the weights."""
        return {} if self.weights is None else {"weights": Path(self.weights)}

    def make(self, train: Split, seed: int, folder: Path) -> dict[str, Any]:
        """Write ``images.npy`` [N, H, W, C] and the network into `folder` and return the metrics.

        Raises:
            UserError: the network of `weights` is damaged or made for other images, or most outputs are not usable.
        """
        count, height, width, channels = train.images.shape
        device = default_device()
        with exact_float32(device), single_thread_if_small(device, height * width, SMALL_PIXELS):
            if self.weights is None:
                settings = self.as_json()
                del settings["weights"]
                network = train_network(train.images, seed, device, **settings)
            else:
                network = load_network(Path(self.weights)).requires_grad_(False).to(device)
            if network.spec.channels != channels:
                raise UserError(
                    f"augmentation.deepaugment.weights {self.weights} is a network for {network.spec.channels}-channel "
                    f"images, the dataset has {channels}: choose another, or null to train one"
                )
            folder.mkdir(parents=True, exist_ok=True)
            save_network(network, folder / "network.safetensors")
            psnr = reconstruction_psnr(network, train.images, device)
            tally = Tally()
            images = reported("deepaugment", generate(network, train.images, seed, device, tally), count)
            write_images(folder / "images.npy", images, train.images.shape)
        if 2 * tally.unchanged > count:
            raise UserError(
                f"deepaugment could not change {tally.unchanged} of {count} images usefully, as its network does not "
                f"know such images (it gives them back at {psnr:.1f} dB): train one with more "
                "augmentation.deepaugment.epochs"
            )
        return {
            "reconstruction_psnr_db": round(psnr, 2),
            "mean_correlation": round(tally.correlation / count, 4),
            "milder_images": tally.milder,
            "unchanged_images": tally.unchanged,
        }


@dataclass
class Tally:
    """How many images needed a milder distortion, how many were left as they are, and the summed correlation."""

    milder: int = 0
    unchanged: int = 0
    correlation: float = 0.0


def generate(
    network: ReconstructionNetwork, images: Images, seed: int, device: torch.device, tally: Tally
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
    rows = torch.arange(len(originals), device=originals.device)
    for attempt, level in enumerate(LEVELS):
        chance = Chance(derive_seed(*seed, "deepaugment", attempt), originals.device)
        strength = level * chance.strengths(len(rows), *STRENGTH)
        outputs = network(originals[rows], DistortedConvolution(strength, chance)).clamp(0, 1)
        good = usable(outputs, originals[rows])
        result[rows[good]] = outputs[good]
        rows = rows[~good]
        if not len(rows):
            return result
        tally.milder += len(rows) if attempt == 0 else 0
    tally.milder -= len(rows)
    tally.unchanged += len(rows)
    return result


def usable(outputs: Tensor, originals: Tensor) -> Tensor:
    """Return a bool [N]: the output is finite, keeps enough of the original's contrast and still looks like it."""
    finite = outputs.isfinite().flatten(1).all(dim=1)
    contrast = outputs.mean(dim=1).flatten(1).std(dim=1)
    enough = contrast >= LEAST_CONTRAST * originals.mean(dim=1).flatten(1).std(dim=1)
    return finite & enough & (correlation(outputs, originals) >= LEAST_CORRELATION)
