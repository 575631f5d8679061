"""What all sources of photographs share: the shape of what is read, and its pixels row by row."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nofrost.data.parallel import threaded_map
from nofrost.errors import UserError
from nofrost.prepare.photo import ImageFile, decode, images_ahead, read_header, viewed
from nofrost.prepare.pixels import batch_length
from nofrost.prepare.sources.base import Part, Source
from nofrost.telemetry import progress


def common_shape(source: Source, images: Iterable[ImageFile], count: int) -> tuple[int, int, int]:
    """Return the (H, W, C) of all images as `source` reads them; looks at no more headers than needed.

    They are grey only if all of them are. Without a view and `image_size` they must have one size.

    Args:
        images: of all parts.
        count: how many.

    Raises:
        UserError: an image is damaged, or of another size; the message names it.
    """
    headers = threaded_map(lambda image: (image, read_header(image)), images)
    view, image_size = source.shard_view(), source.image_size
    if side := view.crop if view else image_size:
        # the first colour image decides, usually the very first
        return side, side, 1 if all(header.grey for _, header in headers) else 3
    first = next(headers)[1]
    grey = first.grey
    with progress("headers", total=count, done=1) as bar:
        for image, header in headers:
            _check_size(image, header.size, first.size)
            grey = grey and header.grey
            bar.advance()
    return *first.size, 1 if grey else 3


def photograph_part(
    source: Source, labels: NDArray[np.int64], image_of: Callable[[int], ImageFile], shape: tuple[int, int, int]
) -> Part:
    """Return photographs, one file each, as a part of a source.

    Args:
        labels: int64 [N].
        image_of: the file of a row; called by several threads.
        shape: as :func:`common_shape` gives it.
    """
    view = source.shard_view()

    def decode_row(row: np.int64) -> NDArray[np.uint8]:
        image = image_of(int(row))
        if view:
            return viewed(image, shape[2], view)
        pixels = decode(image, shape[2], source.image_size)
        _check_size(image, pixels.shape[:2], shape[:2])
        return pixels

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        images = threaded_map(decode_row, rows, images_ahead(int(np.prod(shape))))
        while group := list(islice(images, batch_length(shape))):
            yield np.stack(group)

    return Part(labels, shape, read, images=image_of)


def _check_size(image: ImageFile, size: tuple[int, int], expected: tuple[int, int]) -> None:
    if size != expected:
        raise UserError(
            f"{image} is {size[1]}x{size[0]} pixels, the images before it {expected[1]}x{expected[0]}: set "
            "dataset.image_size to make squares of one size, or dataset.view to keep the photographs as they are"
        )
