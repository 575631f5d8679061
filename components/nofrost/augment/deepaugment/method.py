"""The methods deepaugment, deepaugment-edsr and deepaugment-cae (Hendrycks et al. 2021): outputs of image-to-image
networks that are distorted at random."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nofrost.augment.base import Augmenter, Method, Values, register
from nofrost.augment.deepaugment.encoder_decoder import ReconstructionNetwork
from nofrost.augment.deepaugment.networks import Network, load_network, save_network
from nofrost.augment.deepaugment.paper_networks import (
    CaeSettings,
    EdsrSettings,
    NetworkSettings,
    check_channels,
    check_untrained,
    facts,
    paper_networks_augment,
)
from nofrost.augment.deepaugment.small_network import small_network_augment
from nofrost.augment.deepaugment.training import reconstruction, train_small_network
from nofrost.augment.originals import Originals
from nofrost.config.base import first_duplicate
from nofrost.errors import UserError
from nofrost.models.device import default_device

SMALL: Literal["residual-encoder-decoder"] = "residual-encoder-decoder"
_OF_THE_SMALL = ("weights", "width", "epochs", "batch_size", "lr")
_PAPER = (
    "Hendrycks et al. 2021 (DeepAugment): outputs of an image-to-image network with distorted weights and activations"
)


class _PaperMethod(Method):
    """What the sets of the paper's networks share."""

    shorter_side: int | None = Field(default=None, ge=16, le=4096)

    def side(self) -> int | None:
        """Return to how many pixels the shorter side of photographs is resized; None for that of the dataset's view."""
        return self.shorter_side

    def _networks(self) -> dict[str, NetworkSettings]:
        """Return the settings of the networks in use by the key under which they stand."""
        raise NotImplementedError

    def augmenter(self, originals: Originals, seed: int, folder: Path, unfinished: Path) -> Augmenter:
        """Return what makes the images with the networks, which are loaded or trained first."""
        device = default_device()
        networks: dict[str, Network] = {}
        measured: Values = {}
        for key, settings in self._networks().items():
            network = settings.network(key, originals, seed, device, folder, unfinished)
            measured |= facts(network, originals, device, key)
            networks[settings.architecture] = network
        return Augmenter(paper_networks_augment(networks, seed, device), measured)

    def files(self) -> dict[str, Path]:
        """Return the files of the weights."""
        return {
            "weights" if key == self.name else f"{key.removeprefix(f'{self.name}.')}.weights": Path(settings.weights)
            for key, settings in self._networks().items()
            if settings.weights is not None
        }

    def metrics(self, facts: Values, totals: Mapping[str, float], count: int) -> dict[str, int | float]:
        """Return how well the networks give images back, and how much the images that they made look like theirs."""
        return {
            **facts,
            "mean_correlation": round(totals["correlation"] / count, 4),
            "unlike_images": int(totals["unlike"]),
        }


@register("deepaugment")
class DeepAugment(_PaperMethod):
    """DeepAugment in one set.

    Attributes:
        networks: ``[residual-encoder-decoder]``, a small network of our own for images of few pixels, or the paper's:
            ``[edsr, cae]`` makes each image with one of both, or one of them.
        weights: a safetensors file of a small network trained before; None trains one on the dataset.
        width: channels of the small network to train.
        epochs, batch_size, lr: of its training with Adam.
        edsr, cae: settings of the paper's networks, as those of `deepaugment-edsr` and `deepaugment-cae`.
        shorter_side: to which photographs are resized before the paper's networks see them; None for that of the
            dataset's view. The paper has 512.
    """

    networks: tuple[Literal["residual-encoder-decoder", "edsr", "cae"], ...] = Field(default=(SMALL,), min_length=1)
    weights: str | None = None
    width: int = Field(default=16, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    edsr: EdsrSettings = EdsrSettings()
    cae: CaeSettings = CaeSettings()

    provenance = (
        f"{_PAPER}; one residual encoder-decoder at the images' own size stands for their two networks (EDSR and CAE), "
        "unless networks names these"
    )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        check_untrained(self, _OF_THE_SMALL[1:])
        if (twice := first_duplicate(self.networks)) is not None:
            raise ValueError(f"networks names {twice} twice: name each once")
        if self._is_small and len(self.networks) > 1:
            raise ValueError(f"networks: {SMALL} goes with no other: name it alone, or edsr and cae")
        unused = (
            ("edsr", "cae", "shorter_side")
            if self._is_small
            else (*_OF_THE_SMALL, *{"edsr", "cae"}.difference(self.networks))
        )
        fields = type(self).model_fields
        given = [name for name in unused if getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(f"{given[0]} has no effect with networks {list(self.networks)}: leave out one")
        return self

    @property
    def _is_small(self) -> bool:
        return SMALL in self.networks

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, without those of networks that are not used."""
        hidden = ("edsr", "cae", "shorter_side") if self._is_small else _OF_THE_SMALL
        values = super().as_json()
        shown = {"edsr", "cae"}.intersection(self.networks)
        return {
            name: value
            for name, value in values.items()
            if name not in hidden and (name not in ("edsr", "cae") or name in shown)
        }

    def _networks(self) -> dict[str, NetworkSettings]:
        settings: dict[str, NetworkSettings] = {"edsr": self.edsr, "cae": self.cae}
        return {f"{self.name}.{name}": settings[name] for name in self.networks if name in settings}

    def files(self) -> dict[str, Path]:
        """Return the files of the weights."""
        return super().files() | ({"weights": Path(self.weights)} if self.weights is not None else {})

    def augmenter(self, originals: Originals, seed: int, folder: Path, unfinished: Path) -> Augmenter:
        """Return what makes the images with the network or networks, which are loaded or trained first."""
        if not self._is_small:
            return super().augmenter(originals, seed, folder, unfinished)
        device = default_device()
        network = self._small_network(originals, seed, folder).to(device)
        psnr = reconstruction(network, originals, device).psnr
        return Augmenter(small_network_augment(network, seed, device), {"reconstruction_psnr_db": round(psnr, 2)})

    def metrics(self, facts: Values, totals: Mapping[str, float], count: int) -> dict[str, int | float]:
        """Return how well the network gives images back, and how useful the images are that it made.

        Raises:
            UserError: most outputs of the small network are not usable.
        """
        if not self._is_small:
            return super().metrics(facts, totals, count)
        unchanged = int(totals["unchanged"])
        if 2 * unchanged > count:
            raise UserError(
                f"deepaugment could not change {unchanged} of {count} images usefully, as its network does not know "
                f"such images (it gives them back at {facts['reconstruction_psnr_db']:.1f} dB): train one with more "
                "augmentation.deepaugment.epochs"
            )
        return {
            **facts,
            "mean_correlation": round(totals["correlation"] / count, 4),
            "milder_images": int(totals["milder"]),
            "unchanged_images": unchanged,
        }

    def _small_network(self, originals: Originals, seed: int, folder: Path) -> ReconstructionNetwork:
        file = folder / "network.safetensors"
        if file.exists() and file.with_suffix(".json").exists():
            network = load_network(file).requires_grad_(False)
        elif self.weights is not None:
            network = load_network(Path(self.weights)).requires_grad_(False)
            check_channels(network, originals.channels, f"augmentation.deepaugment.weights {self.weights}")
        else:
            settings = {name: getattr(self, name) for name in _OF_THE_SMALL[1:]}
            network = train_small_network(originals, seed, default_device(), **settings)
        if not isinstance(network, ReconstructionNetwork):
            raise UserError(
                f"augmentation.deepaugment.weights {self.weights} is a network of the architecture "
                f"{network.spec.architecture}: name it in augmentation.deepaugment.networks and give its weights there"
            )
        folder.mkdir(parents=True, exist_ok=True)
        save_network(network, file)
        return network


class _OfOneNetwork(_PaperMethod, NetworkSettings):
    """A set of one network of the paper.

    Attributes:
        shorter_side: to which photographs are resized before the network sees them; None for that of the dataset's
            view. The paper has 512.
    """

    def _networks(self) -> dict[str, NetworkSettings]:
        return {self.name: self}


@register("deepaugment-edsr")
class DeepAugmentEdsr(_OfOneNetwork, EdsrSettings):
    """DeepAugment's first set: of EDSR, a network for super-resolution by four."""

    provenance = f"{_PAPER}; EDSR (Lim et al. 2017)"


@register("deepaugment-cae")
class DeepAugmentCae(_OfOneNetwork, CaeSettings):
    """DeepAugment's second set: of a compressive auto-encoder."""

    provenance = f"{_PAPER}; a compressive auto-encoder (Theis et al. 2017)"
