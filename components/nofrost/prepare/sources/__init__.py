"""The sources of images by name. A source describes its content and reads the images of rows, batch by batch."""

import nofrost.prepare.sources.cifar10
import nofrost.prepare.sources.folder

# ruff: noqa: F401  importing a source registers it
import nofrost.prepare.sources.in_memory
from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare.sources.base import SOURCES, Part, Source, SourceData, list_sources, register, resolve_source

__all__ = ["SOURCES", "Part", "Source", "SourceData", "list_sources", "open_source", "register", "resolve_source"]


def open_source(config: DatasetSpec) -> SourceData:
    """Return what the source that `config` names holds.

    Raises:
        UserError: there is no such source, or nothing at `config.path`, or not what the source expects there.
    """
    data = resolve_source(config).open()
    if len(data.classes) < 2:
        raise UserError(f"dataset.path {config.path} holds one class: a classifier needs at least 2")
    if len(set(data.classes)) < len(data.classes):
        raise UserError(f"dataset.path {config.path} names a class twice: give every class a name of its own")
    if data.test is not None and data.test.shape != data.train.shape:
        raise UserError(
            f"dataset.path {config.path}: training images are {data.train.shape}, test images {data.test.shape} "
            "(height, width, channels): make them alike; dataset.image_size can only make their sizes equal"
        )
    return data
