"""SVHN's cropped digits in their published MATLAB files."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from nofrost.errors import UserError
from nofrost.prepare.sources.base import Part, SourceData, explain_damage, missing, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.in_memory import array_part
from nofrost.prepare.sources.published_source import Published

_FILES = ("train_32x32.mat", "test_32x32.mat")
_CLASSES = 10


@register("svhn")
class Svhn(Published):
    """The folder `path` with ``train_32x32.mat`` and ``test_32x32.mat``: 73,257 and 26,032 colour images."""

    libraries = ("numpy", "pillow", "scipy")

    def open(self) -> SourceData:
        """Return the images; the label of the digit 0, which is 10 in the files, is 0.

        Raises:
            UserError: a file is missing or damaged, or is not the published one (by its MD5).
        """
        self.fetch()
        path = Path(self.path)
        if not any((path / name).is_file() for name in _FILES):
            raise missing(path, f"a folder with {' and '.join(_FILES)}")
        checksums: dict[str, str] = {}
        for name in _FILES:
            checksums |= check_file(path / name, self.card.file(name))
        train, test = (self._part(path / name) for name in _FILES)
        return self.data(train, test, checksums)

    def _part(self, file: Path) -> Part:
        content = _read(file)
        images = np.transpose(content["X"], (3, 0, 1, 2))  # a view, in which the values of an image lie together
        labels = content["y"].reshape(-1).astype(np.int64) % _CLASSES
        if images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8 or len(images) != len(labels):
            raise UserError(f"{file} holds no images of 32x32 pixels with labels: download it again")
        return array_part(images, labels, self.image_size)


def _read(file: Path) -> dict[str, Any]:
    # slow to import, and only this source needs it
    from scipy.io import loadmat

    with explain_damage(file, "not a MATLAB file", "download it again"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content: dict[str, Any] = loadmat(file, variable_names=("X", "y"))
        return {name: np.asarray(content[name]) for name in ("X", "y")}
