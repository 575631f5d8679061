"""CIFAR-10.1, a second test set for CIFAR-10, in its published arrays."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nofrost.data.arrays import read_array
from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UserError
from nofrost.prepare.sources.base import SourceData, missing, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.in_memory import array_part
from nofrost.prepare.sources.published_source import Published


@register("cifar10.1")
class Cifar101(Published):
    """The folder `path` with ``cifar10.1_v6_data.npy`` and its labels (or v4): 2,000 (or 2,021) images in all.

    Attributes:
        version: of the set.
    """

    test_only: ClassVar[bool] = True

    version: Literal["v4", "v6"] = "v6"

    def files(self) -> tuple[PublishedFile, ...]:
        """Return images and labels of the version."""
        return tuple(file for file in self.card.files if f"_{self.version}_" in file.name)

    def open(self) -> SourceData:
        """Return the images, without a split.

        Raises:
            UserError: a file is missing or damaged, or is not the published one (by its checksum).
        """
        self.fetch()
        path = Path(self.path)
        if not path.is_dir():
            raise missing(path, f"a folder with {' and '.join(file.name for file in self.files())}")
        checksums: dict[str, str] = {}
        for file in self.files():
            checksums |= check_file(path / file.name, file)
        images, labels = (read_array(path / file.name) for file in self.files())
        is_labelled = labels.shape == images.shape[:1] and labels.dtype.kind in "iu"
        if images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8 or not is_labelled:
            raise UserError(f"{path} holds no images of 32x32 pixels with labels: download its files again")
        return self.data(array_part(images, labels.astype(np.int64), self.image_size), None, checksums)
