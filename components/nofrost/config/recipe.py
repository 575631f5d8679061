"""Recipe: how one model is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from nofrost.config.attack import AttackSpec, Threat
from nofrost.config.base import Name, Sparse, merge
from nofrost.config.model import ModelSpec
from nofrost.config.objective import ObjectiveSpec
from nofrost.config.optimisation import OptimiserSpec, ScheduleSpec

TRAINABLE = ("all", "bn", "rest", "bn-not-first", "bn-not-last", "two-per-channel")
PHASE_KEYS = (
    "objective",
    "threat",
    "attack",
    "views",
    "optimiser",
    "schedule",
    "precision",
    "trainable",
    "reset",
)


class ViewSpec(Sparse):
    """What is done to training images: resized to `image_size`, cut (`random_resized_crop` is the least share of the
    area that is kept), cropped with padding, flipped. `augmentation_sets` (by method) are trained on besides."""

    image_size: int | None = Field(default=None, ge=4)
    random_resized_crop: float | None = Field(default=None, gt=0, le=1)
    crop_padding: int = Field(default=0, ge=0)
    horizontal_flip: bool = False
    augmentation_sets: tuple[str, ...] = ()


class SelectionSpec(Sparse):
    """How the best checkpoint is chosen on the selection split: by clean and attacked accuracy, weighted as the
    objective says. `every_epochs` epochs and after the last. `guard` ends the training when attacked accuracy falls by
    more than this share from one measurement to the next (catastrophic overfitting of Fast, Wong et al. 2020)."""

    attack: AttackSpec = AttackSpec(name="pgd", steps=10)
    every_epochs: int = Field(default=1, ge=1)
    guard: float | None = Field(default=None, gt=0, le=1)


class Recipe(Sparse):
    """How one model is trained: model, objective, threat, attack, views, optimiser, schedule.

    `trainable` says which parameters move: `all`, the affine ones of batch norms (`bn`), all others (`rest`), all batch
    norms but the first or the last, two random weights per output channel, or one layer (``layer:conv1``); batch
    statistics always move (zeise2025 §3). `reset` puts what trains, or batch statistics alone, back to a new start.
    `phases` follow one another on the same model, each with its changes to these keys; without any there is one.
    """

    title: str
    citation: str
    model: ModelSpec = ModelSpec()
    objective: ObjectiveSpec
    threat: Threat = Threat()
    attack: AttackSpec = AttackSpec(name="pgd", steps=10, keep="last")
    views: ViewSpec = ViewSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    selection: SelectionSpec = SelectionSpec()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    trainable: str = "all"
    reset: Literal["none", "statistics", "all"] = "none"
    phases: dict[Name, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("trainable")
    @classmethod
    def _trainable_is_known(cls, value: str) -> str:
        if value not in TRAINABLE and not re.fullmatch(r"layer:[\w.]+", value):
            raise ValueError(f"{value!r} is none of {', '.join(TRAINABLE)} and layer:NAME, such as layer:conv1")
        return value

    @field_validator("phases")
    @classmethod
    def _phases_are_recipes(cls, phases: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        if {
            "title",
            "citation",
            "objective",
        } <= info.data.keys():  # else the recipe itself has a fault, to be told first
            own = cls.model_construct(**info.data).as_json()
            for name, changes in phases.items():
                _phase(own, name, changes)
        return phases

    @model_validator(mode="after")
    def _lengths_mean_something(self) -> Recipe:
        average, schedule = self.optimiser.averaging, self.schedule
        if self.phases:  # each of which is held against this itself
            return self
        if average and average.start_epoch >= schedule.epochs:
            raise ValueError(
                f"optimiser.averaging.start_epoch {average.start_epoch:g} lies behind the {schedule.epochs} epochs of "
                "the training: lower it, or set averaging: null"
            )
        if schedule.running_statistics_epochs and self.model.normaliser not in ("bn", "mbn"):
            raise ValueError(
                f"schedule.running_statistics_epochs is for batch norm, not for normaliser {self.model.normaliser!r}: "
                "set it to 0"
            )
        return self

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield each key with its value; for `phases` the whole recipe of each, not its changes."""
        for key, value in super().parts():
            yield key, self.in_phases() if key == "phases" and value else value

    def in_phases(self) -> dict[str, Recipe]:
        """Return the recipe of each phase by its name, in order; of one called ``train`` when there are no phases."""
        own = {key: value for key, value in self.as_json().items() if key != "phases"}
        return {name: _phase(own, name, changes) for name, changes in self.phases.items()} or {"train": self}

    def spelled_out(self) -> dict[str, Any]:
        """Return the JSON form with each phase in full, not as its changes; read again, it trains the same."""
        own = self.as_json()
        for name, recipe in self.in_phases().items() if self.phases else ():
            values = recipe.as_json()
            own["phases"][name] = {key: _over(values[key], own[key], getattr(recipe, key)) for key in PHASE_KEYS}
        return own


def _over(values: Any, own: Any, part: Any) -> Any:
    """Return the JSON `values` of a `part` with what they leave out as empty, but which lies below in `own`."""
    if not isinstance(values, dict) or ("name" in values and values["name"] != own["name"]):
        return values
    empty = {key: getattr(part, key, None) for key in own if key not in values}
    return {**values, **{key: [] if value == () else value for key, value in empty.items()}}


def _phase(own: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe `own` with the changes of one phase; a fault bears the name of the phase and its own place."""
    for key in changes:
        if key not in PHASE_KEYS:
            fault = PydanticCustomError("phase_key", "a phase may set " + ", ".join(PHASE_KEYS))
            raise _faults([InitErrorDetails(type=fault, loc=(name, key), input=changes[key])])
    try:
        return Recipe.model_validate(merge(own, changes))
    except ValidationError as error:
        raise _faults(
            [
                InitErrorDetails(
                    type=PydanticCustomError(fault["type"], "{message}", {"message": fault["msg"]}),
                    loc=(name, *fault["loc"]),
                    input=fault["input"],
                )
                for fault in error.errors(include_url=False)
            ]
        ) from None


def _faults(faults: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("phases", faults)
