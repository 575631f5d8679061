"""Further test sets of a study: images that a model never saw, of the classes that it knows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from nofrost.config.base import ImageCount, Name, Settings, without_those_left_out

_KINDS = ("subset", "outliers")
_SWITCHES = (*_KINDS, "optional")


class TestSetSpec(Settings):
    """A test set beside the dataset's own test split, with the source's own options as further keys.

    It is prepared with the image size or the view of the dataset, whose classes it must have, by name or by number
    (nofrost/prepare/test_set_stage.py). Of a source with a test split of its own that split is used, otherwise all of
    it.

    Attributes:
        of_place: keys that say where the images come from, and not what they are.
        source: the kind of source, such as ``npz`` or ``folder`` (docs/data.md).
        path: archive, file or folder that it reads.
        limit: keeps that many images in all, balanced over classes; of a corrupted set, of each of its conditions.
        subset: it may have only some of the dataset's classes, as some published sets have by themselves.
        outliers: its images are of no class of the dataset: a model is asked how sure it is, not what they are.
        optional: it is left out, and the study goes on without it, where its source is not there.
    """

    __test__ = False  # the name is no test class of pytest

    model_config = ConfigDict(extra="allow")

    of_place: ClassVar[tuple[str, ...]] = ("path", "download", "optional")

    source: str
    path: str = "data/source"
    limit: ImageCount | None = None
    subset: bool = False
    outliers: bool = False
    optional: bool = False

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key not in _SWITCHES or value}

    def of_source(self) -> dict[str, Any]:
        """Return the keys of the source, as JSON values."""
        return {key: value for key, value in self.as_json().items() if key not in _SWITCHES}

    def of_kind(self) -> dict[str, bool]:
        """Return which of `subset` and `outliers` are set."""
        return {key: True for key in _KINDS if getattr(self, key)}

    @model_validator(mode="after")
    def _images_have_one_kind(self) -> TestSetSpec:
        if self.subset and self.outliers:
            raise ValueError("subset and outliers exclude one another: outliers have none of the dataset's classes")
        return self

    @model_validator(mode="after")
    def _nothing_is_split(self) -> TestSetSpec:
        for key in ("test_share", "selection_share", "seed"):
            if key in (self.model_extra or {}):
                raise ValueError(f"{key} is for datasets, which are split: leave it out of a test set")
        return self


NamedTestSets = Annotated[dict[Name, TestSetSpec], without_those_left_out("test set")]
"""Test sets by name; null leaves out one that the base has, and no other."""


class TestSets(Settings):
    """The further test sets of a suite, by name: what is prepared beside a dataset."""

    __test__ = False  # the name is no test class of pytest

    test_sets: NamedTestSets = Field(default={})
