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
    test = None if data.test is None else relabelled(data.test, labels)
    conditions = {name: relabelled(part, labels) for name, part in data.conditions.items()}
    return replace(data, classes=tuple(classes), train=relabelled(data.train, labels), test=test, conditions=conditions)


def relabelled(part: Part, new_labels: NDArray[np.int64]) -> Part:
    """Return the images of a part with new labels; those whose label is -1 then are left out.

    Args:
        new_labels: int64 [K], for each old label the new one. An image is also left out if its texture, or each of its
            accepted classes, becomes -1.
    """
    if not len(new_labels) or np.array_equal(new_labels, np.arange(len(new_labels))):
        return part
    labels = new_labels[part.labels]
    # an index of -1 is the padding, and takes the -1 at the end
    accepted, textures = (
        None if each is None else np.append(new_labels, -1)[each] for each in (part.accepted, part.textures)
    )
    is_kept = labels >= 0
    if accepted is not None:
        is_kept &= (accepted >= 0).any(1)
    if textures is not None:
        is_kept &= textures >= 0
    return rows_of(replace(part, labels=labels, accepted=accepted, textures=textures), np.flatnonzero(is_kept))


def rows_of(part: Part, kept: NDArray[np.int64], **arrays: NDArray[np.int64]) -> Part:
    """Return the rows `kept` (ascending) of a part.

    Args:
        arrays: `accepted` or `textures` of these rows, where the part has none.
    """

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return part.read(kept[rows])

    images = part.images
    chosen = None if images is None else lambda row: images(int(kept[row]))
    accepted, textures = (
        arrays.get(key, None if old is None else old[kept])
        for key, old in (("accepted", part.accepted), ("textures", part.textures))
    )
    return replace(
        part,
        labels=part.labels[kept],
        read=read,
        positions=part.indices(kept),
        images=chosen,
        accepted=accepted,
        textures=textures,
    )
