"""The named sources of images. A source says what it holds and reads the images of given rows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare.sources.base import Part, Source
from nofrost.prepare.sources.cifar10 import open_cifar10
from nofrost.prepare.sources.digits import open_digits
from nofrost.prepare.sources.folder import open_folder
from nofrost.prepare.sources.idx import open_idx
from nofrost.prepare.sources.npz import open_npz

__all__ = ["SOURCES", "Part", "Source", "open_source"]

SOURCES: dict[str, Callable[[Path, int | None], Source]] = {
    "digits": open_digits,
    "cifar10": open_cifar10,
    "folder": open_folder,
    "npz": open_npz,
    "idx": open_idx,
}


def open_source(config: DatasetSpec) -> Source:
    """Return the source that `config` names, its images resized to `config.image_size` when that is set.

    Raises:
        UserError: there is nothing at `config.path`, or not what the source expects there.
    """
    source = SOURCES[config.source](Path(config.path), config.image_size)
    if len(source.classes) < 2:
        raise UserError(f"dataset.path {config.path} holds one class: a classifier needs at least 2")
    if len(set(source.classes)) < len(source.classes):
        raise UserError(f"dataset.path {config.path} names a class twice: give every class a name of its own")
    if source.test is not None and source.test.shape != source.train.shape:
        raise UserError(
            f"dataset.path {config.path}: training images are {source.train.shape}, test images {source.test.shape} "
            "(height, width, channels): make them alike; dataset.image_size can only make their sizes equal"
        )
    return source
