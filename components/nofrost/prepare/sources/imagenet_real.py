"""ImageNet ReaL: ImageNet's validation photographs with better labels, several for some of them."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError, shortened
from nofrost.prepare.sources.base import OwnClasses, Source, SourceData, register
from nofrost.prepare.sources.chosen import rows_of
from nofrost.prepare.sources.imagenet import validation_images, wordnet_ids
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part

_NUMBER = re.compile(r"ILSVRC2012_val_([0-9]{8})\.[A-Za-z]+$")


@register("imagenet-real")
class ImageNetReal(Source):
    """ImageNet's validation photographs at `path`, in any way that source ``imagenet`` reads, and the labels of timm.

    The label of an image is that of ImageNet; the classes that count as right are `Part.accepted`.
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "pillow", "scipy", "timm")

    def open(self) -> SourceData:
        """Return the photographs that have a label, by ImageNet's class and then by name.

        Raises:
            UserError: as of source ``imagenet``; or a photograph is not called as it is published.
        """
        card, classes, listing = load_card("imagenet-real"), wordnet_ids(), Listing(splits_are_given=True)
        images, checksums = validation_images(Path(self.path), classes, listing)
        real = real_labels()
        accepted = [_labels_of(str(image), real) for image in images.images()]
        most = max(map(len, accepted), default=1)
        padded = np.array([[*each, *[-1] * (most - len(each))] for each in accepted], dtype=np.int64)
        shape = common_shape(self, images.images(), len(images))
        part = photograph_part(self, images.labels, images.image, shape)
        kept = np.flatnonzero([bool(each) for each in accepted])
        return SourceData(
            name="imagenet-real",
            classes=classes,
            train=rows_of(part, kept, accepted=padded[kept]),
            test=None,
            origin=f"{card.title} ({card.citation}), photographs of ImageNet's validation split",
            licence=card.licence,
            checksums=checksums,
            remarks=(
                *listing.remarks(),
                f"{len(images) - len(kept):,} of {len(images):,} photographs are left out, which have no ReaL label",
            ),
            url=card.url,
            own_classes=OwnClasses(),
        )


def real_labels() -> list[list[int]]:
    """Return the labels of all validation photographs in the order of their names, as timm has them."""
    text = (files("timm") / "data" / "_info" / "imagenet_real_labels.json").read_text(encoding="utf-8")
    labels: list[list[int]] = json.loads(text)
    return labels


def _labels_of(name: str, real: Sequence[list[int]]) -> list[int]:
    match = _NUMBER.search(name)
    if match is None or not 1 <= int(match[1]) <= len(real):
        raise UserError(
            f"{shortened(name.rpartition('/')[2])} is not called as ImageNet's validation photographs are "
            "(ILSVRC2012_val_00000001.JPEG): ReaL labels are known by these names, give the photographs theirs back"
        )
    return real[int(match[1]) - 1]
