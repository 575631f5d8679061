"""Objective: the training loss by name, with its settings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nofrost.config.base import Sparse


class ObjectiveSpec(Sparse):
    """The training loss by name with its settings; null means the objective's own default (`nofrost recipes list
    --objectives` shows which objective has which).

    `adversarial_weight` is the λ of wang2022 Eq. 1; `batching` says whether clean and adversarial images share one forward
    pass (xie2020 §4.2) or have one each (wang2022's code); `clean_share` is how many of a batch's clean images are kept (xie2020
    Fig. 1). `beta` weighs the divergence of TRADES, `pairing_weight` that of ALP. `tau` is how many steps FAT goes on
    after an image is misclassified, one more from each epoch of `tau_milestones`; `step_noise` is its ω. `replays` is
    the m of Free. `views` are the views in a multi-view loss.
    """

    name: str
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    adversarial_weight: float | None = Field(default=None, ge=0, le=1)
    batching: Literal["joint", "separate"] | None = None
    clean_share: float | None = Field(default=None, ge=0, le=1)
    beta: float | None = Field(default=None, ge=0)
    pairing_weight: float | None = Field(default=None, ge=0)
    tau: int | None = Field(default=None, ge=0)
    tau_milestones: tuple[float, ...] | None = None
    step_noise: float | None = Field(default=None, ge=0)
    replays: int | None = Field(default=None, ge=1)
    views: tuple[str, ...] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as keyword arguments of ``create_objective``."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "name"}
        return {name: value for name, value in given.items() if value is not None}
