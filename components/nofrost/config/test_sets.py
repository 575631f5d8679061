"""Further test sets of a study: images that a model never saw, of the classes that it knows."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field, model_validator

from nofrost.config.base import ImageCount, Name, Settings


class TestSetSpec(Settings):
    """A test set beside the dataset's own test split, with the source's own options as further keys.

    It is prepared with the image size or the view of the dataset, whose classes it must have, by name or by number
    (nofrost/prepare/test_set_stage.py). Of a source with a test split of its own that split is used, otherwise all of
    it.

    Attributes:
        of_place: keys that say where the images come from, and not what they are.
        source: the kind of source, such as ``npz`` or ``folder`` (docs/data.md).
        path: archive, file or folder that it reads.
        limit: keeps that many images in all, balanced over classes.
    """

    __test__ = False  # the name is no test class of pytest

    model_config = ConfigDict(extra="allow")

    of_place: ClassVar[tuple[str, ...]] = ("path", "download")

    source: str
    path: str = "data/source"
    limit: ImageCount | None = None

    @model_validator(mode="after")
    def _nothing_is_split(self) -> TestSetSpec:
        for key in ("test_share", "selection_share", "seed"):
            if key in (self.model_extra or {}):
                raise ValueError(f"{key} is for datasets, which are split: leave it out of a test set")
        return self


class TestSets(Settings):
    """The further test sets of a suite, by name: what is prepared beside a dataset."""

    __test__ = False  # the name is no test class of pytest

    test_sets: dict[Name, TestSetSpec] = Field(default={})
