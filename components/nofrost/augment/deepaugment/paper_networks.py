"""The networks of DeepAugment's paper: their settings, their weights, and the images that they make when distorted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.func import functional_call

from nofrost.augment.base import Augment, ImageBlock, Values, correlation
from nofrost.augment.deepaugment import cae_distortions, edsr_distortions
from nofrost.augment.deepaugment.cae import Cae, CaeSpec
from nofrost.augment.deepaugment.edsr import Edsr, EdsrSpec
from nofrost.augment.deepaugment.image_draws import ImageDraws
from nofrost.augment.deepaugment.networks import Network, load_network, save_network
from nofrost.augment.deepaugment.small_network import usable
from nofrost.augment.deepaugment.training import NetworkTraining, reconstruction
from nofrost.augment.originals import Originals, Pixels
from nofrost.config.base import Settings
from nofrost.data import from_tensor, to_tensor
from nofrost.errors import UserError
from nofrost.seeds import derive_seed

MOST_UNEXPLAINED = 0.5  # of the variance of the images, by an undistorted network


class NetworkSettings(Settings):
    """Where the weights of a network come from.

    Attributes:
        weights: a safetensors file of a network that was trained before, or that `nofrost models convert` wrote; None
            trains one on the dataset.
        width: channels of the network to train; the paper's have 64.
        steps, batch_size, patch, lr: of its training with Adam: steps of `batch_size` patches of `patch` x `patch`
            pixels, at a rate that falls from `lr` to 0 along a cosine.
    """

    architecture: ClassVar[Literal["edsr", "cae"]]

    weights: str | None = None
    width: int = Field(default=64, ge=4)
    steps: int = Field(default=20_000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    patch: int = Field(default=128, ge=16, le=1024)
    lr: float = Field(default=5e-4, gt=0)

    @model_validator(mode="after")
    def _weights_are_not_trained(self) -> "NetworkSettings":
        check_untrained(self, ("width", "steps", "batch_size", "patch", "lr"))
        return self

    def network(
        self, key: str, originals: Originals, seed: int, device: torch.device, folder: Path, unfinished: Path
    ) -> Network:
        """Return the network, loaded or trained, and write it into `folder`; a killed training goes on.

        Args:
            key: where the settings stand, such as ``deepaugment-edsr``.

        Raises:
            UserError: the weights are damaged or of another network, or it does not give the images back.
        """
        channels = originals.channels
        file = folder / f"{self.architecture}.safetensors"
        if file.exists() and file.with_suffix(".json").exists():
            return load_network(file).eval().requires_grad_(False).to(device)
        if self.weights is not None:
            network = load_network(Path(self.weights)).eval().requires_grad_(False).to(device)
            if network.spec.architecture != self.architecture:
                raise UserError(
                    f"augmentation.{key}.weights {self.weights} is a network of the architecture "
                    f"{network.spec.architecture}, {self.architecture} is needed: choose another, or null to train one"
                )
            check_channels(network, channels, f"augmentation.{key}.weights {self.weights}")
        else:
            spec = (EdsrSpec if self.architecture == "edsr" else CaeSpec)(channels=channels, width=self.width)
            training = NetworkTraining(key, self.steps, self.batch_size, self.patch, self.lr)
            state = unfinished / f"{key}-{self.architecture}.safetensors"
            network = training.network(originals, spec, seed, device, state)
        folder.mkdir(parents=True, exist_ok=True)
        save_network(network, file)
        return network


class EdsrSettings(NetworkSettings):
    """Those of EDSR."""

    architecture = "edsr"


class CaeSettings(NetworkSettings):
    """Those of the compressive auto-encoder."""

    architecture = "cae"


def check_untrained(settings: Settings, names: tuple[str, ...]) -> None:
    """Check that no setting of the training is given beside weights.

    Raises:
        ValueError: one is.
    """
    fields = type(settings).model_fields
    ignored = [name for name in names if getattr(settings, name) != fields[name].default]
    if getattr(settings, "weights", None) is not None and ignored:
        raise ValueError(f"weights are loaded and not trained, so that {ignored[0]} has no effect: leave out one")


def check_channels(network: Network, channels: int, what: str) -> None:
    """Check that a network takes images of so many channels.

    Raises:
        UserError: it does not; `what` names where it comes from.
    """
    if network.spec.channels != channels:
        raise UserError(
            f"{what} is a network for {network.spec.channels}-channel images, the dataset has {channels}: choose "
            "another, or null to train one"
        )


def facts(network: Network, originals: Originals, device: torch.device, key: str) -> Values:
    """Return how well a network gives the images back when nothing is distorted.

    Raises:
        UserError: badly, so that what it makes would not show the images.
    """
    psnr, unexplained = reconstruction(network, originals, device)
    if not unexplained <= MOST_UNEXPLAINED:
        raise UserError(
            f"the network {network.spec.architecture} of {key} gives images back at {psnr:.1f} dB only, with "
            f"{unexplained:.0%} of their variance lost: train it with more steps, or for images of few pixels use "
            "deepaugment with its own small network"
        )
    return {f"{network.spec.architecture}_psnr_db": round(psnr, 2)}


def paper_networks_augment(networks: Mapping[str, Network], seed: int, device: torch.device) -> Augment:
    """Return what makes images with networks that are on `device`; each image is made by one that is drawn.

    It measures the summed correlation with the originals and how many images no longer look like theirs; these are
    kept, as the paper keeps them. An image depends on `seed`, its row and its pixels alone.
    """

    @torch.no_grad()
    def augment(block: ImageBlock) -> tuple[list[Pixels], Values]:
        made, values = [], {"correlation": 0.0, "unlike": 0.0}
        for row, image in enumerate(block.images, block.first):
            draws = ImageDraws(derive_seed(seed, "deepaugment", "image", row))
            original = to_tensor(image[None]).to(device)
            network = networks[draws.choice(list(networks))]
            output = distorted(network, original, draws).nan_to_num(0, 1, 0).clamp(0, 1)
            values["correlation"] += float(correlation(original, output)[0])
            values["unlike"] += float(not usable(output, original)[0])
            made.append(from_tensor(output)[0])
        return made, values

    return augment


def distorted(network: Network, image: Tensor, draws: ImageDraws) -> Tensor:
    """Return what `network` makes of an image [1, C, H, W] with distorted weights and features; it may be anything."""
    changed: dict[str, Tensor]
    arguments: dict[str, Any]
    if isinstance(network, Edsr):
        changed = edsr_distortions.distorted_weights(network, draws)
        arguments = edsr_distortions.distorted_features(network, draws)
    else:
        assert isinstance(network, Cae)
        changed = cae_distortions.distorted_weights(network, draws)
        arguments = cae_distortions.distorted_code(network, draws, *image.shape[2:])
    output: Tensor = functional_call(network, changed, (image,), arguments)
    return output
