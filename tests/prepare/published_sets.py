"""Copies of the layouts of published test sets, with an image or two in each class, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nofrost.config import DatasetSpec, TestSetSpec
from nofrost.prepare.sources import Part, SourceData, open_source, resolve_source
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.test_set_classes import match_classes
from tests.prepare.jpegs import jpeg, write

PHOTO = jpeg(1)


def content(part: Part, row: int) -> bytes:
    assert part.images is not None
    with part.images(row).open() as stream:
        return stream.read()


def opened(source: str, path: Path, **options: Any) -> SourceData:
    values = {"source": source, "path": str(path), "view": {"resize": 16, "crop": 12}, **options}
    return open_source(resolve_source(DatasetSpec.model_validate(values), is_test_set=True))


def outputs(data: SourceData, classes: tuple[str, ...] | None = None) -> list[tuple[int, ...]]:
    """Outputs of a model of ImageNet, or of a dataset with `classes`, that mean each class of a set."""
    test_set = match_classes(data, TestSetSpec(source="folder"), classes or wordnet_ids()).test_set
    assert test_set is not None
    return list(test_set.outputs)


def make(folder: Path, names: list[str], file: str = "a.jpg") -> Path:
    for name in names:
        write(folder / name / file, PHOTO)
    return folder
