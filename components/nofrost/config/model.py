"""Model: architecture, normaliser and where its first weights come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nofrost.config.base import Sparse

Normaliser = Literal["bn", "mbn", "gn", "in", "ln", "nf", "fixup", "none"]
MixtureInference = Literal["logits", "all", "random"]


class ModelSpec(Sparse):
    """Architecture and normaliser.

    `affine` gives normalisers a learnt scale and shift; `normaliser_eps` is the constant c in their denominator (galloway2019),
    null keeps the architecture's; `groups` is for ``gn``. A deployed mixture BN answers with share `mixture_weight` of
    its adversarial branch, mixed in the `logits`, in `all` its layers, or in a `random` share `mixture_share` of them
    (wang2022 App. A). `weights` are pre-trained ones: a file, a folder of `nofrost train`, or a ref; with `new_head` the
    last layer starts anew, for other classes.
    """

    arch: str = "resnet26"
    normaliser: Normaliser = "bn"
    affine: bool = True
    normaliser_eps: float | None = Field(default=None, gt=0)
    groups: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    mixture_weight: float = Field(default=0.5, ge=0, le=1)
    mixture_inference: MixtureInference = "logits"
    mixture_share: float = Field(default=0.5, ge=0, le=1)
    weights: str | None = None
    new_head: bool = False
