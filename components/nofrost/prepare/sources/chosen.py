"""Some of a source's classes: their images, with new labels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nofrost.config.base import first_duplicate
from nofrost.errors import UserError, shortened, unknown
from nofrost.prepare.sources.base import Part, SourceData


def with_chosen_classes(data: SourceData, classes: Sequence[str]) -> SourceData:
    """Return the images of `classes` alone, labelled by their position in it.

    Raises:
        UserError: a name is none of a class, or stands there twice.
    """
    if (twice := first_duplicate(classes)) is not None:
        raise UserError(f"dataset.classes names {shortened(twice)} twice: name each class once")
    for name in classes:
        if name not in data.classes:
            raise UserError(f"dataset.classes: {unknown('class', name, data.classes)}")
    chosen = np.array([data.classes.index(name) for name in classes])
    labels = np.full(len(data.classes), -1, np.int64)
    labels[chosen] = np.arange(len(chosen))
    test = None if data.test is None else _chosen(data.test, labels)
    return replace(data, classes=tuple(classes), train=_chosen(data.train, labels), test=test)


def _chosen(part: Part, new_labels: NDArray[np.int64]) -> Part:
    labels = new_labels[part.labels]
    kept = np.flatnonzero(labels >= 0)

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return part.read(kept[rows])

    images = part.images
    chosen = None if images is None else lambda row: images(int(kept[row]))
    return replace(part, labels=labels[kept], read=read, positions=part.indices(kept), images=chosen)
