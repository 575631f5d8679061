"""Method corruptions: one version of every training image with a corruption and a severity that are drawn for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from nofrost.augment.base import Augmenter, ImageBlock, Method, Values, correlation, register
from nofrost.augment.originals import Originals, Pixels
from nofrost.config.base import first_duplicate
from nofrost.config.corruption_families import SEVERITIES, ParameterSet
from nofrost.data import from_tensor, to_tensor
from nofrost.errors import UserError, unknown
from nofrost.models.device import default_device
from nofrost.seeds import derive_seed
from nofrost.transforms.corruptions import CORRUPTIONS, FAMILIES, check_corruption, corrupt
from nofrost.transforms.corruptions.draws import Draws

_CPU = torch.device("cpu")


@register("corruptions")
class Corrupted(Method):
    """Training images with the corruptions of ImageNet-C and ImageNet-C-bar.

    Attributes:
        names: of the corruptions, each of them as likely. None takes the four extra ones of ImageNet-C, which Hendrycks
            & Dietterich 2019 set apart for tuning: a noise, a blur, one of weather and one of colour (not for grey
            images), so that the 15 others and C-bar stay unseen until a model is evaluated.
        severities: of them, each as likely.
        parameter_set: whose parameters, ``cifar``, ``tiny-imagenet`` or ``imagenet``; None: those of an image's size.
    """

    names: tuple[str, ...] | None = Field(default=None, min_length=1)
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(default=SEVERITIES, min_length=1)
    parameter_set: ParameterSet | None = None

    provenance = "corruptions of Hendrycks & Dietterich 2019 and Mintun et al. 2021, as nofrost-c makes them"

    @field_validator("names")
    @classmethod
    def _names_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in CORRUPTIONS:
                raise ValueError(str(unknown("corruption", name, CORRUPTIONS)))
        return names

    @field_validator("names", "severities")
    @classmethod
    def _each_once(cls, values: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
        if (twice := first_duplicate(values or ())) is not None:
            raise ValueError(f"it names {twice} twice: name each once")
        return values

    def augmenter(self, originals: Originals, seed: int, folder: Path, unfinished: Path) -> Augmenter:
        """Return what makes the images; what is drawn for one is a function of the seed and its row alone."""
        device, names = default_device(), self._names(originals.channels)
        # Another seed than those of evaluations, so that no test image has the noise of a training image.
        seed = derive_seed(seed, "corruptions")
        choices = [(name, severity) for name in names for severity in self.severities]

        def corrupted(images: Tensor, rows: NDArray[np.int64], values: Values) -> Pixels:
            images, made = images.to(device), torch.empty_like(images, device=device)
            drawn = Draws(seed, "choice", 0, rows, _CPU).integers(low=0, high=len(choices)).numpy()
            for choice in np.unique(drawn).tolist():
                name, severity = choices[choice]
                of_choice = np.flatnonzero(drawn == choice)
                made[of_choice] = corrupt(
                    images[of_choice],
                    name,
                    severity,
                    seed=seed,
                    indices=rows[of_choice],
                    parameter_set=self.parameter_set,
                )
                values[name] = values.get(name, 0) + len(of_choice)
            values["correlation"] += float(correlation(images, made).sum())
            return from_tensor(made)

        def augment(block: ImageBlock) -> tuple[Pixels | list[Pixels], Values]:
            values = {"correlation": 0.0}
            rows = np.arange(block.first, block.first + len(block.images))
            if isinstance(block.images, np.ndarray):
                return corrupted(to_tensor(block.images), rows, values), values
            made = [
                corrupted(to_tensor(image[None]), rows[number : number + 1], values)[0]
                for number, image in enumerate(block.images)
            ]
            return made, values

        return Augmenter(augment)

    def metrics(self, facts: Values, totals: Mapping[str, float], count: int) -> dict[str, int | float]:
        """Return how much the images look like theirs, and how many have each of the corruptions."""
        images = {name: int(total) for name, total in totals.items() if name in CORRUPTIONS}
        return {"mean_correlation": round(totals["correlation"] / count, 4), **dict(sorted(images.items()))}

    def _names(self, channels: int) -> list[str]:
        """Return the corruptions that are drawn from for images of so many channels."""
        if self.names is None:
            return [name for name, each in FAMILIES["extra"].items() if channels > 1 or not each.colour_only]
        for name in self.names:
            try:
                check_corruption(name, 1, channels=channels)
            except UserError as error:
                raise UserError(f"augmentation.corruptions.names: {error}") from None
        return list(self.names)
