"""Photographs in class folders, decoded when they are read."""

from itertools import chain
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from nofrost.errors import UserError
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Source, SourceData, missing, register
from nofrost.prepare.sources.class_folders import CHECKSUM, list_class_folders, names_and_sizes
from nofrost.prepare.sources.folders import folders_in
from nofrost.prepare.sources.layout import check_same_classes, find_layout
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part


@register("folder")
class Folder(Source):
    """Photographs in class folders: root/<class>/..., or root/train/<class>/... and root/test (or val)/<class>/...

    Attributes:
        splits: paths in the root of the training and the test split, or of the first alone, where their names do not
            say it; an empty list if all folders are classes.
    """

    holds_photographs: ClassVar[bool] = True

    splits: tuple[str, ...] | None = Field(default=None, max_length=2)

    def inputs(self, out: Path) -> list[Path]:
        """Return the whole folder, in which a dataset would be a class."""
        return [Path(self.path)]

    def open(self) -> SourceData:
        """Return the images of the class folders in `path`, in the order of their sorted paths.

        They are decoded when they are read, by a few threads. Files and folders whose name begins with a dot are left
        out; other files that do not end like an image are counted in a remark. Links are followed. All images are
        grey, or all are read as colour. They become shards if a `view` is set (or `storage`), else an array, for which
        they must have one size without `image_size`.

        Raises:
            UserError: there are no class folders, one is empty, splits may be taken for classes, or an image is damaged
                or of another size; the message names it.
        """
        path = Path(self.path)
        if path.is_file():
            raise UserError(f"dataset.path {path} is a file: unpack it if it is an archive, and name the folder")
        if not path.is_dir():
            raise missing(path, "a folder of class folders with images")
        layout = find_layout(path, self.splits)
        classes = tuple(folder.name for folder in folders_in(layout.train))
        if not classes:
            raise UserError(
                f"{layout.train} holds no class folders: put the images of each class into a folder of its own"
            )
        listing = Listing(layout.is_given)
        splits = [list_class_folders(listing, layout.train, classes)]
        if layout.test is not None:
            check_same_classes(classes, layout, path)
            splits.append(list_class_folders(listing, layout.test, classes))
        images = chain.from_iterable(split.images() for split in splits)
        shape = common_shape(self, images, sum(map(len, splits)))
        parts = [photograph_part(self, split.labels, split.image, shape) for split in splits]
        return SourceData(
            name=path.resolve().name,
            classes=classes,
            train=parts[0],
            test=parts[1] if layout.test else None,
            origin=f"class folders of {path.resolve().name}"
            + (f", test split {layout.test.name}" if layout.test else ""),
            licence=UNKNOWN_LICENCE,
            checksums={CHECKSUM: "sha256:" + names_and_sizes(splits)},
            remarks=(*layout.remarks(), *listing.remarks()),
        )
