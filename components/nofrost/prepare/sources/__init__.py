"""The sources of images by name. A source describes its content and reads the images of rows, batch by batch."""

import nofrost.prepare.sources.cifar
import nofrost.prepare.sources.cifar10_1
import nofrost.prepare.sources.corrupted_arrays
import nofrost.prepare.sources.corrupted_folders
import nofrost.prepare.sources.cue_conflict
import nofrost.prepare.sources.folder
import nofrost.prepare.sources.gaussians
import nofrost.prepare.sources.idx
import nofrost.prepare.sources.imagenet
import nofrost.prepare.sources.imagenet9
import nofrost.prepare.sources.imagenet_real
import nofrost.prepare.sources.imagenet_v2

# ruff: noqa: F401  importing a source registers it
import nofrost.prepare.sources.in_memory
import nofrost.prepare.sources.mnist
import nofrost.prepare.sources.npz
import nofrost.prepare.sources.objectnet
import nofrost.prepare.sources.stl10
import nofrost.prepare.sources.svhn
import nofrost.prepare.sources.tiny_imagenet
import nofrost.prepare.sources.webdataset
import nofrost.prepare.sources.wordnet_sets
from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare.sources.base import (
    SOURCES,
    OwnClasses,
    Part,
    Source,
    SourceData,
    list_sources,
    register,
    resolve_source,
)
from nofrost.prepare.sources.chosen import with_chosen_classes
from nofrost.system_errors import cannot_read

__all__ = [
    "SOURCES",
    "OwnClasses",
    "Part",
    "Source",
    "SourceData",
    "list_sources",
    "open_source",
    "register",
    "resolve_source",
]


def open_source(source: Source, least_classes: int = 2) -> SourceData:
    """Return what a source holds, checked.

    Args:
        least_classes: that it must have: one, if its images are not to be told apart.

    Raises:
        UserError: there is nothing at `source.path`, or not what the source expects there.
    """
    try:
        data = source.open()
    except OSError as error:
        # of a path that the file system does not take, or whose folder cannot be searched
        raise cannot_read(error, f"dataset.path {source.path}") from None
    _check_text(data)
    _check_shares(source, data)
    if source.classes is not None:
        data = with_chosen_classes(data, source.classes)
    if len(data.classes) < least_classes:
        raise UserError(
            f"dataset.path {source.path} holds one class ({data.classes[0]}): a classifier needs at least 2"
        )
    if len(set(data.classes)) < len(data.classes):
        raise UserError(f"dataset.path {source.path} names a class twice: give every class a name of its own")
    if data.test is not None and data.test.shape != data.train.shape:
        raise UserError(
            f"dataset.path {source.path}: training images are {data.train.shape}, test images {data.test.shape} "
            "(height, width, channels): make them alike; dataset.image_size can only make their sizes equal"
        )
    return data


def _check_text(data: SourceData) -> None:
    """Check that all names are Unicode: a manifest with others could be written, but not shown in a report."""
    for name in (*data.classes, data.name, data.origin, *data.checksums):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"the name '{name.encode(errors='backslashreplace').decode()}' of a class or file is not UTF-8: rename "
                "it (a zip file from another system is unpacked rightly with the encoding of that system)"
            ) from None


def _check_shares(source: Source, data: SourceData) -> None:
    default = DatasetSpec().test_share
    if data.test is not None and source.test_share != default:
        raise UserError(
            f"dataset.test_share is {source.test_share:g}, but the source has a test split of its own: leave "
            f"test_share at {default:g}"
        )
