"""Recipe: how one model is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, field_serializer, field_validator, model_validator

from nofrost.config.attack import AttackSpec, Threat
from nofrost.config.base import Cited, Name, OmitEmpty, Schema, Settings, Share, difference, merge
from nofrost.config.model import ModelSpec
from nofrost.config.objective import ObjectiveSpec
from nofrost.config.optimisation import OptimiserSpec, ScheduleSpec
from nofrost.errors import shortened

TRAINABLE = ("all", "bn", "rest", "bn-not-first", "bn-not-last", "two-per-channel")


class TextureDebiasedSpec(Settings):
    """The texture-debiased view (Hermann et al. 2020): its own crop, which keeps at least the share
    `random_resized_crop` of the area, and colour distortion as in wang2022's code; in Hermann et al. also `noise` and
    `blur`."""

    random_resized_crop: float = Field(default=0.64, gt=0, le=1)
    noise: bool = False
    blur: bool = False


class RandAugmentSpec(Settings):
    """RandAugment (Cubuk et al. 2020): so many `operations`, drawn for each image, of one `magnitude` from 0 to 30.

    The scale is torchvision's; the paper's ends at 10, so that its 9, the default, is 27 here.
    """

    operations: int = Field(default=2, ge=1, le=20)
    magnitude: int = Field(default=27, ge=0, le=30)


class RandomErasingSpec(Settings):
    """Random erasing (Zhong et al. 2020): with this `probability` a rectangle of an image is filled with random levels,
    or with black. `area` is the least and the most that it has of the image's, `ratio` that of its height to its
    width."""

    probability: Share = 0.5
    area: tuple[Share, Share] = (0.02, 0.4)
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.3, 3.33)
    fill: Literal["random", "black"] = "random"

    @field_validator("area", "ratio")
    @classmethod
    def _least_comes_first(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"{list(bounds)} has the larger one first: write the least, then the most")
        return bounds


class AugMixSpec(Settings):
    """AugMix (Hendrycks et al. 2020, §3): each image is mixed with `width` chains of operations on it.

    Attributes:
        severity: the largest magnitude of an operation, 1 to 10.
        width: chains.
        depth: operations of a chain; None draws 1 to 3 for each.
        alpha: of the distributions (Dirichlet, Beta) of the weights of the mixture.
        all_operations: also brightness, contrast, colour and sharpness, which the authors leave out, as they are too
            much like corruptions of ImageNet-C.
    """

    severity: int = Field(default=3, ge=1, le=10)
    width: int = Field(default=3, ge=1, le=20)
    depth: int | None = Field(default=None, ge=1, le=20)
    alpha: PositiveFloat = 1.0
    all_operations: bool = False


class ViewSpec(OmitEmpty, Settings):
    """What is done to training images: resized to `image_size`, cut (`random_resized_crop` is the least share of the
    area that is kept), cropped with padding, flipped, changed by `randaugment`, and in part erased (`random_erasing`).
    `augmentation_sets` (by method) are further training images.

    With `texture_debiased` the clean images have a further view, drawn anew at each step, whose only crop is its own,
    and with `augmix` up to two, which mix the clean one.
    """

    image_size: int | None = Field(default=None, ge=4)
    random_resized_crop: float | None = Field(default=None, gt=0, le=1)
    crop_padding: int = Field(default=0, ge=0)
    horizontal_flip: bool = False
    augmentation_sets: tuple[str, ...] = ()
    texture_debiased: TextureDebiasedSpec | None = None
    randaugment: RandAugmentSpec | None = None
    random_erasing: RandomErasingSpec | None = None
    augmix: AugMixSpec | None = None


class SelectionSpec(OmitEmpty, Settings):
    """Which checkpoint is kept, and evaluated: the one that is best on the selection split by clean and attacked
    accuracy, weighted as the objective says, or the last one, as papers that select nothing do.

    The two accuracies are measured every `every_epochs` epochs and after the last. `guard` ends the training when
    attacked accuracy falls by more than this share from one measurement to the next (catastrophic overfitting of Fast,
    Wong et al. 2020); the checkpoint from before the fall is kept.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("keep",)

    keep: Literal["best", "last"] = "best"
    attack: AttackSpec = AttackSpec(name="pgd", steps=10)
    every_epochs: int = Field(default=1, ge=1)
    guard: float | None = Field(default=None, gt=0, le=1)


class PhaseSpec(OmitEmpty, Settings):
    """What one phase of a training does to the model: objective, threat, attack, views, optimiser, schedule.

    `trainable` says which parameters are trained: `all`, the affine ones of batch norms (`bn`), all others (`rest`),
    all batch norms but the first or the last, two random weights per output channel, or one layer (``layer:conv1``);
    batch statistics are always updated (zeise2025 §3). `reset` reinitialises what is trainable, or only these.
    """

    objective: ObjectiveSpec
    threat: Threat = Threat()
    attack: AttackSpec = AttackSpec(name="pgd", steps=10, keep="last")
    views: ViewSpec = ViewSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    trainable: str = "all"
    reset: Literal["none", "statistics", "all"] = "none"

    @field_validator("trainable")
    @classmethod
    def _trainable_is_known(cls, value: str) -> str:
        if value not in TRAINABLE and not re.fullmatch(r"layer:[\w.]+", value):
            raise ValueError(
                f"{shortened(value)} is none of {', '.join(TRAINABLE)} and layer:NAME, such as layer:conv1"
            )
        return value

    @model_validator(mode="after")
    def _average_begins_in_time(self) -> Self:
        average = self.optimiser.averaging
        # Where there are phases, the recipe's own keys are only defaults of theirs, and each phase is checked itself.
        if average and average.start_epoch >= self.schedule.epochs and not getattr(self, "phases", None):
            raise ValueError(
                f"optimiser.averaging.start_epoch {average.start_epoch:g} is not before the end of the "
                f"{self.schedule.epochs} epochs of the training: lower it, or set averaging: null"
            )
        return self


PHASE_KEYS = tuple(PhaseSpec.model_fields)


class Heading(OmitEmpty, Cited):
    """Title, citation and model of a recipe."""

    title: str
    citation: str
    model: ModelSpec = ModelSpec()


class Recipe(PhaseSpec, Heading):
    """How one model is trained.

    `phases` follow one another on the same model. In a file each states its changes to the keys of the recipe, which
    are the phase's defaults; here each has all of its keys. Without phases the recipe is the only one.
    """

    selection: SelectionSpec = SelectionSpec()
    phases: dict[Name, PhaseSpec] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete_phases(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("phases"), Mapping):
            return values
        defaults = {
            key: value.as_json() if isinstance(value, Schema) else value
            for key, value in values.items()
            if key in PHASE_KEYS
        }
        phases = {
            name: merge(defaults, changes) if isinstance(changes, Mapping) else changes
            for name, changes in values["phases"].items()
        }
        return {**values, "phases": phases}

    @model_validator(mode="after")
    def _statistics_need_batch_norm(self) -> Self:
        normaliser = self.model.normaliser
        if normaliser in ("bn", "mbn"):
            return self
        if any(phase.schedule.running_statistics_epochs for phase in self.in_phases().values()):
            raise ValueError(
                f"schedule.running_statistics_epochs is for batch norm, not for normaliser {normaliser!r}: set it to 0"
            )
        if self.model.batch_norm_momentum is not None:
            raise ValueError(
                f"model.batch_norm_momentum is for batch norm, not for normaliser {normaliser!r}: leave it out"
            )
        if self.model.batch_statistics != "process":
            raise ValueError(
                f"model.batch_statistics is for batch norm, not for normaliser {normaliser!r}: leave it at process"
            )
        return self

    @field_serializer("phases")
    def _as_changes(self, phases: dict[str, PhaseSpec]) -> dict[str, Any]:
        """Write each phase as in a file, as its changes, so that a key of the recipe can be changed for all phases."""
        defaults = PhaseSpec.model_construct(**{key: getattr(self, key) for key in PHASE_KEYS}).as_json()
        return {name: difference(defaults, phase.as_json()) for name, phase in phases.items()}

    def in_phases(self) -> dict[str, Recipe]:
        """Return the recipe of each phase by its name, in order; of one called ``train`` when there are no phases."""
        if not self.phases:
            return {"train": self}
        return {name: self.model_copy(update={**dict(phase), "phases": {}}) for name, phase in self.phases.items()}

    def spelled_out(self) -> dict[str, Any]:
        """Return the JSON form with all keys of each phase, not its changes; read again, it trains the same."""
        values = self.as_json()
        for name, phase in self.phases.items():
            # The changes add what the phase leaves empty although the recipe does not.
            values["phases"][name] = merge(phase.as_json(), values["phases"][name])
        return values
