"""What a source is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError


@dataclass(frozen=True)
class Part:
    """Images of a source that belong together: all of them, or one of the source's own splits.

    Attributes:
        labels: int64 [N], a class index for each image, in the source's own order.
        shape: (H, W, C) of the images that are read.
        read: from rows int64 [n] (ascending) to their images, as batches uint8 [m, H, W, C] in that order.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    read: Callable[[NDArray[np.int64]], Iterator[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Source:
    """Classes and images of a source, and where they come from.

    Attributes:
        test: the source's own test split; None when it has none.
        origin: a sentence on where the images come from, without any path.
        checksums: file name and checksum of what was read, such as ``{"digits.npz": "sha256:..."}``.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part | None
    origin: str
    licence: str
    checksums: Mapping[str, str]


UNKNOWN_LICENCE = "not stated; ask the owner of the images"


def missing(path: Path, expected: str) -> UserError:
    """Return the error for a path at which there is nothing, or not what was expected."""
    state = "holds no such thing" if path.exists() else "does not exist"
    return UserError(f"dataset.path {path} {state}: expected there is {expected}")
