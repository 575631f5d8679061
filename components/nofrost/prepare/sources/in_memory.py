"""Sources whose images are in memory; the digits of scikit-learn are one."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.prepare.pixels import batch_length, resize_batch, to_levels
from nofrost.prepare.sources.base import Part, Source, SourceData, register


@register("digits")
class Digits(Source):
    """The handwritten digits that come with scikit-learn: real images without a download. `path` is not used."""

    needs_path = False
    libraries = ("numpy", "pillow", "scikit-learn")

    def open(self) -> SourceData:
        """Return the 1,797 digits of 8x8 pixels, their 17 levels (0 to 16) spread over 0 to 255."""
        # slow to import, and only this source needs it
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        images = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        return SourceData(
            name="digits",
            classes=tuple("0123456789"),
            train=array_part(images, labels.astype(np.int64), self.image_size),
            test=None,
            origin="Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998), UCI Machine Learning "
            "Repository: its test set of 1,797 digits by 13 writers, as it comes with scikit-learn",
            licence="CC BY 4.0",
            checksums={
                "digits": "sha256:" + hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
            },
        )


def array_part(images: NDArray[Any], labels: NDArray[np.int64], image_size: int | None) -> Part:
    """Return images [N, H, W] or [N, H, W, C] (uint8, or float in [0, 1]) and their labels as a part of a source."""
    pixels = images[..., None] if images.ndim == 3 else images
    native = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    shape = native if image_size is None else (image_size, image_size, native[2])

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        step = min(batch_length(native), batch_length(shape))
        for start in range(0, len(rows), step):
            yield resize_batch(to_levels(pixels[rows[start : start + step]]), image_size)

    return Part(labels, shape, read)
