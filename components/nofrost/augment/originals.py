"""The training images as augmentation methods read them: arrays of one size, or photographs each of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.data import Images, Photographs
from nofrost.data.central_square import resize_shorter_side
from nofrost.data.parallel import threaded_map

Pixels = NDArray[np.uint8]
SMALL_PIXELS = 64 * 64  # of an image; smaller ones are worked on in one thread
_BLOCK_PIXELS = 1 << 20
_BLOCK = 64
_PHOTOGRAPHS = 16  # of a block


class Originals:
    """The training images in the size in which they are augmented.

    Args:
        images: an array uint8 [N, H, W, C], whose images are augmented as they are, or photographs.
        shorter_side: of photographs, in pixels; None for that of their view.
    """

    def __init__(self, images: Images, shorter_side: int | None = None) -> None:
        self.images = images
        self._shorter_side = shorter_side

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return int(self.images.shape[3])

    @property
    def are_photographs(self) -> bool:
        """Whether the images are photographs, each of its own size."""
        return isinstance(self.images, Photographs)

    @property
    def pixels(self) -> int:
        """Pixels of an image; of photographs, those of the evaluation view."""
        height, width = self.images.shape[1:3]
        return int(height * width)

    def blocks(self) -> list[slice]:
        """Return consecutive slices of all rows: up to 64 images, fewer when they are large."""
        if self.are_photographs:
            length = _PHOTOGRAPHS
        else:
            height, width = self.images.shape[1:3]
            length = max(1, min(_BLOCK, _BLOCK_PIXELS // (height * width)))
        return [slice(start, min(start + length, len(self))) for start in range(0, len(self), length)]

    def image(self, row: int) -> Pixels:
        """Return one image, uint8 [H, W, C]."""
        if not isinstance(self.images, Photographs):
            image: Pixels = self.images[row]
            return image
        pixels = np.asarray(
            resize_shorter_side(self.images.decoded(row), self._shorter_side or self.images.view.resize)
        )
        return pixels.reshape(*pixels.shape[:2], self.channels)

    def read(self, rows: slice) -> Pixels | Sequence[Pixels]:
        """Return consecutive images: uint8 [n, H, W, C], or for photographs a list of [H, W, C]."""
        if not isinstance(self.images, Photographs):
            return self.images[rows]
        return list(threaded_map(self.image, range(rows.start, rows.stop)))

    def patches(self, rows: NDArray[np.int64], size: int, generator: torch.Generator) -> Pixels:
        """Return a random patch of each image of `rows`, uint8 [n, h, w, C], whole images where they are not larger.

        Patches of an array lie in one place, which is drawn; each photograph has a place of its own.
        """
        if not isinstance(self.images, Photographs):
            height, width = self.images.shape[1:3]
            top, left = (_offset(length - size, generator) for length in (height, width))
            return self.images[rows, top : top + size, left : left + size]
        places = torch.rand(len(rows), 2, generator=generator).tolist()
        return np.stack(list(threaded_map(self._patch, zip(rows.tolist(), places, [size] * len(rows), strict=True))))

    def _patch(self, patch: tuple[int, list[float], int]) -> Pixels:
        row, place, size = patch
        image = self.image(row)
        size = min(size, *image.shape[:2])
        top, left = (int(share * (length - size + 1)) for share, length in zip(place, image.shape[:2], strict=True))
        return image[top : top + size, left : left + size]


def _offset(room: int, generator: torch.Generator) -> int:
    return int(torch.randint(max(1, room + 1), (), generator=generator))
