"""The handwritten digits that come with scikit-learn: real images without a download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from nofrost.prepare.sources.arrays import array_part
from nofrost.prepare.sources.base import Source


def open_digits(path: Path, image_size: int | None) -> Source:
    """Return the 1,797 digits of 8x8 pixels, their 17 levels (0 to 16) spread over 0 to 255. `path` is not used."""
    from sklearn.datasets import load_digits  # slow to import, and only this source needs it

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Source(
        name="digits",
        classes=tuple("0123456789"),
        train=array_part(images, labels.astype(np.int64), image_size),
        test=None,
        origin="Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998), UCI Machine Learning "
        "Repository: its test set of 1,797 digits by 13 writers, as it comes with scikit-learn",
        licence="CC BY 4.0",
        checksums={"digits": "sha256:" + hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()},
    )
