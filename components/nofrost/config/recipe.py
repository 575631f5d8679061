"""Recipe: how one model is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nofrost.config.base import Schema
from nofrost.config.fraction import PixelFraction

Normaliser = Literal["bn", "mbn", "gn", "in", "nf", "none"]


class Threat(Schema):
    """Norm and budget of the perturbations that a model is trained against or attacked with."""

    norm: Literal["linf", "l2"] = "linf"
    eps: PixelFraction = PixelFraction("8/255")

    @model_validator(mode="after")
    def _linf_budget_is_a_pixel_range(self) -> Threat:
        if self.norm == "linf" and self.eps.value > 1:
            raise ValueError(f"eps {self.eps} is larger than the whole pixel range: with norm linf write at most 1")
        return self


class AttackSpec(Schema):
    """An attack by name with its settings; null means the attack's own default (`nofrost attacks list` shows which
    attack has which). `keep` says which iterate a gradient attack gives back: the `last` one (as in training) or the
    `best` (as evaluation wants)."""

    name: str = "pgd"
    steps: int | None = Field(default=None, ge=1)
    step_size: PixelFraction | None = None
    restarts: int | None = Field(default=None, ge=1)
    keep: Literal["last", "best"] | None = None
    eot: int | None = Field(default=None, ge=1)
    decay: float | None = Field(default=None, ge=0)
    confidence: float | None = Field(default=None, ge=0)
    rho: float | None = Field(default=None, ge=0, le=1)
    targets: int | None = Field(default=None, ge=1)
    alpha_max: float | None = Field(default=None, ge=0, le=1)
    overshoot: float | None = Field(default=None, ge=1)
    backward_step: float | None = Field(default=None, gt=0, le=1)
    queries: int | None = Field(default=None, ge=1)
    initial_share: float | None = Field(default=None, gt=0, le=1)
    rescale_schedule: bool | None = None
    sigma: PixelFraction | None = None
    draws: int | None = Field(default=None, ge=1)
    version: str | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as keyword arguments of ``create_attack``."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "name"}
        return {name: value for name, value in given.items() if value is not None}


class ModelSpec(Schema):
    """Architecture and normaliser; `mixture_weight` is the share of the adversarial branch in a deployed mixture BN."""

    arch: str = "resnet26"
    normaliser: Normaliser = "bn"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    mixture_weight: float = Field(default=0.5, ge=0, le=1)


class ObjectiveSpec(Schema):
    """The training loss by name. `adversarial_weight` is the λ of 001 Eq. 1; `batching` says whether clean and
    adversarial images share one forward pass (004 §4.2) or have one each (001's code)."""

    name: str
    adversarial_weight: float = Field(default=0.5, ge=0, le=1)
    batching: Literal["joint", "separate"] = "separate"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class ViewSpec(Schema):
    """What is done to training images: random crop with padding, horizontal flip, and the augmentation sets (by
    method) that are trained on as a third view (001 Eq. 2), each drawn with equal chance."""

    crop_padding: int = Field(default=0, ge=0)
    horizontal_flip: bool = False
    augmentation_sets: tuple[str, ...] = ()


class GradientClipping(Schema):
    """Adaptive gradient clipping (Brock et al. 2021b). Gains, biases and the last layer are never clipped: at a gain
    of zero the rule would allow no movement."""

    factor: float = Field(default=0.01, gt=0)
    eps: float = Field(default=1e-3, gt=0)


class OptimiserSpec(Schema):
    """SGD. `decay_gains_and_biases` extends weight decay from weights to gains, biases and normaliser parameters."""

    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-5, ge=0)
    decay_gains_and_biases: bool = False
    adaptive_clipping: GradientClipping | None = None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> OptimiserSpec:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0: set momentum, or nesterov: false")
        return self


class ScheduleSpec(Schema):
    """Length of the training. The learning rate warms up linearly, then falls along a cosine to zero; during
    `threat_warmup_epochs` the training budget grows linearly from zero."""

    epochs: int = Field(default=90, ge=1)
    batch_size: int = Field(default=256, ge=2)
    lr_warmup_epochs: float = Field(default=0.0, ge=0)
    threat_warmup_epochs: float = Field(default=0.0, ge=0)


class SelectionSpec(Schema):
    """How the best checkpoint is chosen on the selection split: by clean and attacked accuracy, averaged with the
    objective's adversarial weight. `every_epochs` epochs and after the last."""

    attack: AttackSpec = AttackSpec(name="pgd", steps=10)
    every_epochs: int = Field(default=1, ge=1)


class Recipe(Schema):
    """How one model is trained: model, objective, threat, attack, augmentation, optimiser, schedule."""

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
