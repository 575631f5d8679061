"""The images of a study: where they come from, how they are split, and which sets are made of them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from nofrost.config.base import ImageCount, Seed, Settings, first_duplicate
from nofrost.config.evaluation_view import LARGEST_SIDE, EvaluationView
from nofrost.errors import shortened

LEAST_SHARE = 0.001  # of the images, for a split


class DatasetSpec(Settings):
    """Where images come from and how they are split, with the source's own options as further keys.

    The source checks all of it (nofrost/prepare/sources/).

    Attributes:
        source: the kind of source, such as ``digits`` or ``folder`` (docs/data.md).
        path: archive, file or folder that it reads.
        storage: ``array`` keeps images of one size in one array, ``shards`` keeps photographs as JPEGs in tar shards;
            ``auto`` is shards for photographs that have a `view`, and for sources that say so (docs/data.md).
        image_size: resizes to squares of so many pixels, in an array.
        view: of the photographs in shards, unless a suite has one of its own.
        shorter_side: larger photographs are reduced to a shorter side of so many pixels before they are stored; null
            stores them as they were published.
        limit: keeps that many images in all, balanced over classes.
        test_share: share of the images that become the test split, for sources without one.
        selection_share: of the training images, cut off to choose checkpoints on; with 0 all are trained on, and the
            last checkpoint is kept.
        seed: of the split.
    """

    model_config = ConfigDict(extra="allow")

    source: str = "digits"
    path: str = "data/source"
    storage: Literal["auto", "array", "shards"] = "auto"
    image_size: int | None = Field(default=None, ge=4, le=1024)
    view: EvaluationView | None = None
    shorter_side: int | None = Field(default=None, ge=4, le=LARGEST_SIDE)
    limit: ImageCount | None = None
    test_share: float = Field(default=0.2, ge=LEAST_SHARE, le=0.999)
    selection_share: float = Field(default=0.1, ge=0, le=0.999)
    seed: Seed = 0

    @field_validator("selection_share")
    @classmethod
    def _share_is_some_or_none(cls, value: float) -> float:
        if 0 < value < LEAST_SHARE:
            raise ValueError(f"{value:g} is less than {LEAST_SHARE:g}: write 0 for no selection split")
        return value

    @model_validator(mode="after")
    def _storage_fits(self) -> Self:
        is_array = self.storage == "array" or self.image_size is not None
        for key in ("view", "shorter_side"):
            if is_array and getattr(self, key) is not None:
                by = "storage: array" if self.storage == "array" else f"image_size {self.image_size}"
                raise ValueError(f"{key} is for photographs in shards, and {by} makes an array: leave out one of them")
        if self.storage == "shards" and self.image_size is not None:
            raise ValueError(f"image_size {self.image_size} makes an array, not shards: set view, or storage: array")
        resize = (self.view or EvaluationView()).resize
        if self.shorter_side and self.shorter_side < resize:
            raise ValueError(
                f"shorter_side {self.shorter_side} is smaller than view.resize {resize}: photographs would "
                "be enlarged again; raise it, or leave it out"
            )
        return self


class AugmentationSpec(Settings):
    """The augmentation sets made offline from the training images, one image for each original and method.

    Settings of a method stand under its name; the method checks them (nofrost/augment/).

    Attributes:
        methods: of which sets are made, such as ``deepaugment``, ``tda`` or ``corruptions`` (docs/training.md).
        seed: of all of them.
    """

    model_config = ConfigDict(extra="allow")

    methods: tuple[str, ...] = ("deepaugment", "tda")
    seed: Seed = 0

    @model_validator(mode="after")
    def _methods_are_named_once(self) -> AugmentationSpec:
        if (twice := first_duplicate(self.methods)) is not None:
            raise ValueError(f"methods names {shortened(twice)} twice: name each once")
        return self
