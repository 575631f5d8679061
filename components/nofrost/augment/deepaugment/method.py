"""Method deepaugment: train or load the network, then make one image for every training image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nofrost.augment.common import SMALL_PIXELS, reported
from nofrost.augment.deepaugment.generate import Tally, generate
from nofrost.augment.deepaugment.storage import load_network, save_network
from nofrost.augment.deepaugment.training import reconstruction_psnr, train_network
from nofrost.config import AugmentationSpec
from nofrost.data import Split, write_images
from nofrost.errors import UserError
from nofrost.models.device import default_device, exact_float32, single_thread_if_small

PROVENANCE = (
    "Hendrycks et al. 2021 (DeepAugment): outputs of an image-to-image network with distorted weights and activations; "
    "one residual encoder-decoder at the images' own size stands for their two networks (EDSR and CAE)"
)


def make_deepaugment(train: Split, config: AugmentationSpec, folder: Path) -> dict[str, Any]:
    """Write ``images.npy`` [N, H, W, C] and the network into `folder` and return the metrics.

    Raises:
        UserError: the network of `config.deepaugment.weights` is damaged or made for other images, or the network
            leaves most images useless.
    """
    spec = config.deepaugment
    count, channels = len(train), train.images.shape[3]
    device, pixels = default_device(), train.images.shape[1] * train.images.shape[2]
    with exact_float32(device), single_thread_if_small(device, pixels, SMALL_PIXELS):
        if spec.weights is None:
            network = train_network(train.images, spec, config.seed, device)
        else:
            network = load_network(Path(spec.weights)).requires_grad_(False).to(device)
        if network.spec.channels != channels:
            raise UserError(
                f"augmentation.deepaugment.weights {spec.weights} is a network for {network.spec.channels}-channel "
                f"images, the dataset has {channels}: name another, or null to train one"
            )
        folder.mkdir(parents=True, exist_ok=True)
        save_network(network, folder / "network.safetensors")
        psnr = reconstruction_psnr(network, train.images, device)
        tally = Tally()
        images = reported("deepaugment", generate(network, train.images, config.seed, device, tally), count)
        write_images(folder / "images.npy", images, train.images.shape)
    if 2 * tally.unchanged > count:
        raise UserError(
            f"deepaugment could not change {tally.unchanged} of {count} images usefully, as its network does not know "
            f"such images (it gives them back at {psnr:.1f} dB): train one with more augmentation.deepaugment.epochs"
        )
    return {
        "reconstruction_psnr_db": round(psnr, 2),
        "mean_correlation": round(tally.correlation / count, 4),
        "milder_images": tally.milder,
        "unchanged_images": tally.unchanged,
    }
