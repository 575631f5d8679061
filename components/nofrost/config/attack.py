"""Threat and attack: what perturbations are allowed, and how they are searched for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from nofrost.config.base import NamedSettings, Settings
from nofrost.config.fraction import PixelFraction

# Settings of every attack that a configuration states elsewhere
_ELSEWHERE = {"norm": "threat.norm", "eps": "threat.eps", "seed": "seed"}


class Threat(Settings):
    """Norm and budget of the perturbations that a model is trained against or attacked with."""

    norm: Literal["linf", "l2"] = "linf"
    eps: PixelFraction = PixelFraction("8/255")

    @model_validator(mode="after")
    def _linf_budget_is_a_pixel_range(self) -> Threat:
        if self.norm == "linf" and self.eps.value > 1:
            raise ValueError(f"eps {self.eps} is larger than the whole pixel range: with norm linf write at most 1")
        return self


class AttackSpec(NamedSettings):
    """An attack by name, with settings of its class in `nofrost.attacks`; `nofrost attacks list` prints them.

    Norm, budget and seed are not among them: the threat and the suite or recipe state those.
    """

    name: str = "pgd"

    @model_validator(mode="before")
    @classmethod
    def _threat_and_seed_are_stated_once(cls, values: Any) -> Any:
        for key, location in _ELSEWHERE.items():
            if isinstance(values, dict) and key in values:
                raise ValueError(f"{key} is not set for one attack: set {location} instead")
        return values
