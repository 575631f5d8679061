"""How the classes of a test set relate to those of the dataset that it belongs to, which a model has outputs for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nofrost.config import TestSetSpec
from nofrost.data import TestSetManifest
from nofrost.data.dataset_card import find_card
from nofrost.errors import UserError, shortened
from nofrost.prepare.sources import SourceData
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.sources.layout import first_names

OUTLIER = "outlier"
"""The one class of a set of outliers."""


@dataclass(frozen=True)
class ClassMatch:
    """What becomes of the classes of a source.

    Attributes:
        labels: int64 [K], for each of them its label in the test set; -1 where its images are left out.
        test_set: the classes of the test set; None if they are those of the dataset, all of them.
        remark: what is left out, a sentence; empty if nothing is.
    """

    labels: NDArray[np.int64]
    test_set: TestSetManifest | None = None
    remark: str = ""


def match_classes(data: SourceData, spec: TestSetSpec, classes: Sequence[str], dataset: str = "") -> ClassMatch:
    """Return how the classes of the source `data` relate to the `classes` of the dataset.

    Of a published set that has some classes of its dataset, or groups of them, and of one with ``subset: true``, the
    classes that the dataset has too are kept, in the order of the source.

    Args:
        dataset: its name; a published one says whether numbers are the names of its classes.

    Raises:
        UserError: the dataset has none or one of them, a class is missing, or outliers have a class of the dataset.
    """
    own = data.own_classes
    if spec.outliers or (own and own.outliers):
        return _outliers(data, classes, dataset)
    if own is None and not spec.subset:
        return ClassMatch(class_indices(data.classes, classes))
    index = _index(data, classes)
    meanings = (own and own.meanings) or {name: (name,) for name in data.classes}
    outputs = {name: tuple(index[each] for each in meanings[name] if each in index) for name in data.classes}
    kept = [name for name in data.classes if outputs[name]]
    if len(kept) < 2:
        has = f"only {shortened(kept[0])} of the classes" if kept else "none of the classes"
        raise UserError(
            f"the dataset has {has} of dataset.path ({first_names(data.classes)}): a test set has at least two of its "
            "classes, by name"
        )
    number = {name: row for row, name in enumerate(kept)}
    labels = np.array([number.get(name, -1) for name in data.classes], dtype=np.int64)
    absent = len(data.classes) - len(kept)
    remark = f"{absent:,} of its {len(data.classes):,} classes are left out: the dataset does not have them"
    if (own is None or own.meanings is None) and len(kept) == len(classes):
        # all classes of the dataset, whose numbers serve
        labels = np.array([outputs[name][0] if outputs[name] else -1 for name in data.classes], dtype=np.int64)
        return ClassMatch(labels, None, remark if absent else "")
    partial = [name for name in kept if len(outputs[name]) < len(meanings[name])]
    if partial and not absent:
        remark = f"the dataset lacks some of the classes that mean {first_names(partial)}: those that it has are used"
    test_set = TestSetManifest(
        classes=tuple(kept), outputs=tuple(outputs[name] for name in kept), answer=own.answer if own else "largest"
    )
    return ClassMatch(labels, test_set, remark if absent or partial else "")


def _outliers(data: SourceData, classes: Sequence[str], dataset: str) -> ClassMatch:
    own, index = data.own_classes, _index(data, classes)
    labels = np.zeros(len(data.classes), dtype=np.int64)
    if own and own.outliers:
        # their folders say which class of the dataset each image was taken for
        outputs = tuple(index[name] for name in data.classes if name in index)
        if len(outputs) < 2:
            raise UserError(
                f"the dataset has {len(outputs)} of the {len(data.classes)} classes that are asked for the images of "
                f"dataset.path ({first_names(data.classes)}): it must have at least two"
            )
        return ClassMatch(labels, TestSetManifest(classes=(OUTLIER,), outputs=(outputs,), outliers=True))
    remark = ""
    if None not in (_numbers(data.classes), _numbers(classes)) and not _are_digits(data.name, dataset):
        remark = (
            "its classes are numbers, as those of the dataset are, so that nobody can tell whether they are the same: "
            "outliers must be of none of the dataset's classes"
        )
    else:
        _check_none_is_shared(data, index)
    outputs = tuple(range(len(classes)))
    return ClassMatch(labels, TestSetManifest(classes=(OUTLIER,), outputs=(outputs,), outliers=True), remark)


def _check_none_is_shared(data: SourceData, index: Mapping[str, int]) -> None:
    """Check that no class of a source is one of the dataset's, in whatever way its name is written.

    Raises:
        UserError: one is.
    """
    known = set(map(_plain, index))
    meanings = (data.own_classes and data.own_classes.meanings) or {}
    for name in data.classes:
        if not known.isdisjoint(map(_plain, meanings.get(name, (name,)))):
            raise UserError(
                f"dataset.path has class {shortened(name)}, which the dataset has too: outliers are of none of its "
                "classes, choose the others with dataset.classes"
            )


def _plain(name: str) -> str:
    """Return the name of a class without case and with spaces alone between its words."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _are_digits(*datasets: str) -> bool:
    """Return whether the classes of all these published datasets are digits, whose names are their numbers."""
    cards = map(find_card, datasets)
    return all(card is not None and card.class_names and _numbers(card.class_names) is not None for card in cards)


def _index(data: SourceData, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of each class of the dataset by the name that the source has for it."""
    numbers = _numbers(classes) if data.own_classes is not None else None
    if numbers is not None and len(classes) == len(names := wordnet_ids()):
        # such as of WebDataset shards of ImageNet without a list of names, or of class folders called 0 to 999
        return {names[number]: label for label, number in enumerate(numbers)}
    return {name: label for label, name in enumerate(classes)}


def _numbers(names: Sequence[str]) -> list[int] | None:
    """Return the number that each name is, if they are 0 to K - 1 in some order, such as 0, 1, 10, 2; None if not."""
    if not all(name.isascii() and name.isdecimal() for name in names):
        return None
    numbers = list(map(int, names))
    return numbers if sorted(numbers) == list(range(len(names))) else None


def class_indices(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return for each class of a test set its index among the classes of the dataset, int64 [K].

    Classes are matched by name, or by number where those of the test set are called 0 to K - 1, in whatever order.

    Raises:
        UserError: a class is missing, or unknown to the dataset.
    """
    index = {name: number for number, name in enumerate(classes)}
    numbers = _numbers(names)
    if numbers is not None and not index.keys() >= set(names):
        if len(names) != len(classes):
            raise UserError(
                f"dataset.path has {len(names)} numbered classes, the dataset {len(classes)}: a test set has the "
                "classes of the dataset, all of them"
            )
        return np.array(numbers, dtype=np.int64)
    for name in names:
        if name not in index:
            raise UserError(
                f"dataset.path has class {shortened(name)}, which the dataset does not have: name its classes as the "
                "dataset does, or number them from 0 in the dataset's order"
            )
    for name in classes:
        if name not in names:
            raise UserError(
                f"dataset.path has no class {shortened(name)}: a test set has the classes of the dataset, all of them; "
                "subset: true allows some of them"
            )
    return np.array([index[name] for name in names], dtype=np.int64)
