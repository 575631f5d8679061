"""Threat and attack: what perturbations are allowed, and how they are searched for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nofrost.config.base import Schema, Sparse
from nofrost.config.fraction import PixelFraction


class Threat(Schema):
    """Norm and budget of the perturbations that a model is trained against or attacked with."""

    norm: Literal["linf", "l2"] = "linf"
    eps: PixelFraction = PixelFraction("8/255")

    @model_validator(mode="after")
    def _linf_budget_is_a_pixel_range(self) -> Threat:
        if self.norm == "linf" and self.eps.value > 1:
            raise ValueError(f"eps {self.eps} is larger than the whole pixel range: with norm linf write at most 1")
        return self


class AttackSpec(Sparse):
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
    clean_start: float | None = Field(default=None, ge=0, le=1)

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as keyword arguments of ``create_attack``."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "name"}
        return {name: value for name, value in given.items() if value is not None}
