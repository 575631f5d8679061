"""The sources of images by name. A source describes its content and reads the images of rows, batch by batch."""

import nofrost.prepare.sources.cifar10
import nofrost.prepare.sources.folder

# ruff: noqa: F401  importing a source registers it
import nofrost.prepare.sources.in_memory
from nofrost.errors import UserError
from nofrost.prepare.sources.base import SOURCES, Part, Source, SourceData, list_sources, register, resolve_source

__all__ = ["SOURCES", "Part", "Source", "SourceData", "list_sources", "open_source", "register", "resolve_source"]


def open_source(source: Source) -> SourceData:
    """Return what a source holds, checked.

    Raises:
        UserError: there is nothing at `source.path`, or not what the source expects there.
    """
    data = source.open()
    if len(data.classes) < 2:
        raise UserError(f"dataset.path {source.path} holds one class: a classifier needs at least 2")
    if len(set(data.classes)) < len(data.classes):
        raise UserError(f"dataset.path {source.path} names a class twice: give every class a name of its own")
    if data.test is not None and data.test.shape != data.train.shape:
        raise UserError(
            f"dataset.path {source.path}: training images are {data.train.shape}, test images {data.test.shape} "
            "(height, width, channels): make them alike; dataset.image_size can only make their sizes equal"
        )
    return data
