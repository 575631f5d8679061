"""Assign the images of a source to splits: stratified by class, seeded, disjoint.

Every class is shuffled once and all selections are prefixes of that order, so a smaller `limit` selects a subset of
what a larger one selects.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nofrost.config import DatasetSpec
from nofrost.data import SPLITS
from nofrost.errors import UserError
from nofrost.prepare.sources import Part, SourceData

Integers = NDArray[np.int64]
SplitRows = dict[str, tuple[Part, Integers]]

# The images that `limit` keeps of a source's own test split do not depend on the seed, so that two splits of the
# training images are compared on the same test images.
_OWN_TEST_SEED = 0


def split_rows(source: SourceData, config: DatasetSpec, class_limit: int | None = None) -> SplitRows:
    """Return for "train", "selection" and "test" the part of the source they are read from and the rows, ascending.

    A source's own test split is kept as it is; otherwise `test_share` of every class becomes the test split. Then
    `selection_share` of what is left of every class becomes the selection split. Every split gets at least one image
    of every class, except that a `selection_share` of 0 leaves the selection split empty. `limit` keeps so many images
    in all, as evenly over classes as their sizes allow, and shared between a source's own splits in proportion to their
    sizes.

    Args:
        class_limit: keeps at most so many images of each class; those of the source's own test split do not count.

    Raises:
        UserError: a class has too few images, or `limit` or `class_limit` is too small for every class to be in every
            split.
    """
    # the splits that are cut from the training images
    cut = ["train", *(["selection"] if config.selection_share else []), *(["test"] if source.test is None else [])]
    n_classes, whole = len(source.classes), sorted({*cut, "test"}, key=SPLITS.index)
    _check_limit("limit", config.limit, n_classes * len(whole), f"with {n_classes} classes ", whole)
    _check_limit("class_limit", class_limit, len(cut), "", cut)
    train = source.train
    ranks = _ranks(train.labels, config.seed)
    counts = _class_counts(train, source.classes, len(cut), f"one each for {_listed(cut)}" if cut[1:] else "for train")
    if class_limit is not None:
        counts = np.minimum(counts, class_limit)
    if source.test is None:
        quota = _balanced(counts, config.limit)
        n_test = _share(quota, config.test_share, reserve=len(cut) - 1)
        test_part, test = train, ranks < n_test[train.labels]
    else:
        test_counts = _class_counts(source.test, source.classes, 1, "in the test split")
        train_limit, test_limit = _shared_limit(config.limit, counts, test_counts, len(cut))
        quota = _balanced(counts, train_limit)
        n_test = np.zeros_like(quota)
        test_ranks = _ranks(source.test.labels, _OWN_TEST_SEED)
        test_part, test = source.test, test_ranks < _balanced(test_counts, test_limit)[source.test.labels]
    n_selection = _share(quota - n_test, config.selection_share, reserve=1) if config.selection_share else 0 * quota
    first, second, last = (n[train.labels] for n in (n_test, n_test + n_selection, quota))
    return {
        "train": (train, np.flatnonzero((ranks >= second) & (ranks < last))),
        "selection": (train, np.flatnonzero((ranks >= first) & (ranks < second))),
        "test": (test_part, np.flatnonzero(test)),
    }


def mixed_rows(rows: Integers, seed: int) -> Integers:
    """Return rows in a seeded order of their own: a source may be sorted by class."""
    order: Integers = np.random.default_rng((seed, len(rows))).permutation(rows)
    return order


def rows_of_test_set(part: Part, classes: Sequence[str], limit: int | None) -> Integers:
    """Return the rows of a test set, ascending: all, or `limit` of them as evenly over classes as their sizes allow.

    Raises:
        UserError: a class has no image, or `limit` is too small for every class to have one.
    """
    counts = _class_counts(part, classes, 1, "in the test set")
    if limit is not None and limit < len(classes):
        raise UserError(
            f"dataset.limit is {limit}: with {len(classes)} classes it must be at least {len(classes)}, so that every "
            "class is in the test set"
        )
    ranks = _ranks(part.labels, _OWN_TEST_SEED)
    return np.flatnonzero(ranks < _balanced(counts, limit)[part.labels])


def _ranks(labels: Integers, seed: int) -> Integers:
    """Return the rank of every image in the seeded order of its class, from 0."""
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def _class_counts(part: Part, classes: Sequence[str], least: int, purpose: str) -> Integers:
    counts = np.bincount(part.labels, minlength=len(classes))
    short = np.flatnonzero(counts < least)
    if len(short):
        name, count = classes[short[0]], counts[short[0]]
        raise UserError(
            f"class {name!r} has {count} image{'' if count == 1 else 's'}: it needs at least {least}, {purpose}; "
            "add images or remove the class"
        )
    return counts


def _check_limit(key: str, limit: int | None, least: int, with_classes: str, splits: Sequence[str]) -> None:
    if limit is not None and limit < least:
        raise UserError(
            f"dataset.{key} is {limit}: {with_classes}it must be at least {least}, so that every class is in "
            f"{_listed(splits)}"
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)


def _share(counts: Integers, share: float, reserve: int) -> Integers:
    """Return `share` of the counts, rounded, at least 1, leaving at least `reserve`."""
    rounded: Integers = np.floor(counts * share + 0.5).astype(np.int64)
    return np.clip(rounded, 1, counts - reserve)


def _balanced(counts: Integers, limit: int | None) -> Integers:
    """Return how many images of each class to keep, `limit` in all and as evenly as the counts allow.

    The number of every class grows with `limit`.
    """
    if limit is None or limit >= counts.sum():
        return counts
    low, high = 0, int(counts.max())  # the largest level that all classes can be filled to lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= limit else (low, middle)
    quota = np.minimum(counts, low)
    quota[np.flatnonzero(counts > low)[: limit - quota.sum()]] += 1
    return quota


def _shared_limit(
    limit: int | None, train_counts: Integers, test_counts: Integers, least: int
) -> tuple[int | None, int | None]:
    """Return `limit` shared between train and test in proportion to their sizes.

    Args:
        least: images of each class that train needs; test needs one.
    """
    n_train, n_test, n_classes = int(train_counts.sum()), int(test_counts.sum()), len(train_counts)
    if limit is None or limit >= n_train + n_test:
        return None, None
    test = min(max(limit * n_test // (n_train + n_test), n_classes), limit - least * n_classes)
    return limit - test, test
