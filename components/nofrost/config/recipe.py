"""Recipe: how one model is trained."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from nofrost.config.attack import AttackSpec, Threat
from nofrost.config.base import Name, Schema, merge
from nofrost.config.model import ModelSpec
from nofrost.config.objective import ObjectiveSpec
from nofrost.config.optimisation import OptimiserSpec, ScheduleSpec

TRAINS = ("all", "bn", "rest", "bn-not-first", "bn-not-last", "two-per-channel")
PHASE_KEYS = (
    "objective",
    "threat",
    "attack",
    "views",
    "optimiser",
    "schedule",
    "precision",
    "trains",
    "reinitialise",
)


class ViewSpec(Schema):
    """What is done to training images: resized to `image_size`, cut (`random_resized_crop` is the least share of the
    area that is kept), cropped with padding, flipped. `augmentation_sets` (by method) are trained on besides."""

    image_size: int | None = Field(default=None, ge=4)
    random_resized_crop: float | None = Field(default=None, gt=0, le=1)
    crop_padding: int = Field(default=0, ge=0)
    horizontal_flip: bool = False
    augmentation_sets: tuple[str, ...] = ()


class SelectionSpec(Schema):
    """How the best checkpoint is chosen on the selection split: by clean and attacked accuracy, weighted as the
    objective says. `every_epochs` epochs and after the last. `guard` ends the training when attacked accuracy falls by
    more than this share from one measurement to the next (catastrophic overfitting of Fast, Wong et al. 2020)."""

    attack: AttackSpec = AttackSpec(name="pgd", steps=10)
    every_epochs: int = Field(default=1, ge=1)
    guard: float | None = Field(default=None, gt=0, le=1)


class Recipe(Schema):
    """How one model is trained: model, objective, threat, attack, views, optimiser, schedule.

    `trains` says which parameters move: `all`, the affine ones of batch norms (`bn`), all others (`rest`), all batch
    norms but the first or the last, two random weights per output channel, or one layer (``layer:conv1``); batch
    statistics always move (002 §3). `reinitialise` puts what trains, or batch statistics alone, back to a new start.
    `phases` follow one another on the same model, each with its changes to these keys; without any there is one.
    """

    title: str
    source: str
    model: ModelSpec = ModelSpec()
    objective: ObjectiveSpec
    threat: Threat = Threat()
    attack: AttackSpec = AttackSpec(name="pgd", steps=10, keep="last")
    views: ViewSpec = ViewSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    selection: SelectionSpec = SelectionSpec()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    trains: str = "all"
    reinitialise: Literal["none", "statistics", "all"] = "none"
    phases: dict[Name, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("trains")
    @classmethod
    def _trains_is_known(cls, value: str) -> str:
        if value not in TRAINS and not re.fullmatch(r"layer:[\w.]+", value):
            raise ValueError(f"{value!r} is none of {', '.join(TRAINS)} and layer:NAME, such as layer:conv1")
        return value

    @model_validator(mode="after")
    def _phases_are_recipes(self) -> Recipe:
        for name, changes in self.phases.items():
            for key in changes:
                if key not in PHASE_KEYS:
                    raise ValueError(f"phases.{name} cannot change {key}: it may set {', '.join(PHASE_KEYS)}")
        self.in_phases()
        return self

    def in_phases(self) -> dict[str, Recipe]:
        """Return the recipe of each phase by its name, in order; of one called ``train`` when there are no phases."""
        if not self.phases:
            return {"train": self}
        own = {key: value for key, value in self.as_json().items() if key != "phases"}
        recipes = {}
        for name, changes in self.phases.items():
            try:
                recipes[name] = Recipe.model_validate(merge(own, changes))
            except ValidationError as error:
                fault = error.errors()[0]
                raise ValueError(f"phases.{name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
        return recipes
