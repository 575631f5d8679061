"""ObjectNet: photographs of things in unusual places, those whose class ImageNet has too."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from PIL import Image

from nofrost.errors import UserError
from nofrost.prepare.photo import ImageFile, opened
from nofrost.prepare.sources.base import OwnClasses, SourceData, missing, register
from nofrost.prepare.sources.class_folders import CHECKSUM
from nofrost.prepare.sources.class_groups import class_groups
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.sources.trees import FolderTree

_BORDER = 1  # pixels
_INSIDE = ("", "images", "objectnet-1.0/images")


@register("objectnet")
class ObjectNet(Published):
    """The unpacked folder of ObjectNet at `path`, or one that holds it, with a folder for each of its 313 classes.

    The archive needs a password and is unpacked by whoever has accepted its terms.
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True

    def open(self) -> SourceData:
        """Return the photographs of the 113 classes that ImageNet has too, without their red border.

        Raises:
            UserError: there are none, or one of the 113 folders is missing.
        """
        groups, listing, path = class_groups("objectnet"), Listing(splits_are_given=True), Path(self.path)
        trees = (FolderTree(path / inside, listing) for inside in _INSIDE)
        tree = next((tree for tree in trees if not groups.keys().isdisjoint(tree.folders())), None)
        if tree is None:
            raise missing(
                path,
                "the unpacked folder of ObjectNet with folders such as alarm_clock (its archive needs the password of "
                f"{self.card.url}: unpack it yourself)",
            )
        names = tree.folders()
        if absent := sorted(groups.keys() - set(names)):
            raise UserError(
                f"{tree.root} lacks the class folder {first_names(absent)} ({len(absent):,} in all) of ObjectNet: "
                "unpack it again"
            )
        found = tree.listed("", list(groups))
        images = found.files
        shape = common_shape(self, map(WithoutBorder, images.images()), len(images))
        part = photograph_part(self, images.labels, lambda row: WithoutBorder(images.image(row)), shape)
        others = len(names) - len(groups)
        left_out = f"{others:,} folders are left out, of things that are no class of ImageNet"
        return self.data(
            part,
            None,
            {CHECKSUM: f"sha256:{found.digest}"},
            tuple(groups),
            own_classes=OwnClasses(meanings=groups),
            remarks=(*listing.remarks(), *([left_out] if others else [])),
        )


@dataclass(frozen=True)
class WithoutBorder:
    """A photograph whose outermost pixels on each side are cut off."""

    image: ImageFile

    def open(self) -> IO[bytes]:
        """Return the photograph without its border, as PNG.

        Raises:
            UserError: it is damaged, or nothing is left of it.
        """
        content = io.BytesIO()
        with opened(self.image) as stored:
            width, height = stored.size
            if min(width, height) <= 2 * _BORDER:
                raise UserError(f"{self.image} is {width}x{height} pixels, nothing but a border: unpack it again")
            inner: Image.Image = stored.crop((_BORDER, _BORDER, width - _BORDER, height - _BORDER))
            inner.save(content, "PNG", compress_level=1)
        content.seek(0)
        return content

    def __str__(self) -> str:
        return str(self.image)
