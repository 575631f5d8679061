from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare.sources import SourceData
from nofrost.prepare.splitting import SplitRows, split_rows

class_counts = st.lists(st.integers(3, 40), min_size=2, max_size=6)


def interleaved(counts: list[int]) -> list[int]:
    """Return labels with these class counts, in a mixed but fixed order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(5).permutation(labels).tolist()  # type: ignore[no-any-return]


def rows_of(splits: SplitRows) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, (_, rows) in splits.items()}


@given(class_counts, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_splits_cover_the_source_once_and_hold_every_class(
    labelled: Callable[..., SourceData], counts: list[int], test_share: float, selection_share: float, seed: int
) -> None:
    labels = interleaved(counts)
    config = DatasetSpec(test_share=test_share, selection_share=selection_share, seed=seed)
    rows = rows_of(split_rows(labelled(labels), config))
    assert sorted(rows["train"] + rows["selection"] + rows["test"]) == list(range(len(labels)))
    for part in rows.values():
        assert part == sorted(part)
        assert {labels[row] for row in part} == set(range(len(counts)))


def test_each_split_takes_its_share_of_every_class(labelled: Callable[..., SourceData]) -> None:
    labels = interleaved([100, 40, 20])
    splits = split_rows(labelled(labels), DatasetSpec(test_share=0.25, selection_share=0.1))
    counts = {name: np.bincount(part.labels[rows]).tolist() for name, (part, rows) in splits.items()}
    assert counts == {"test": [25, 10, 5], "selection": [8, 3, 2], "train": [67, 27, 13]}


@given(class_counts, st.booleans(), st.integers(0, 100))
def test_a_selection_share_of_zero_leaves_all_to_the_training(
    labelled: Callable[..., SourceData], counts: list[int], own_test: bool, seed: int
) -> None:
    labels = interleaved(counts)
    source = labelled(labels, labels if own_test else None)
    config = DatasetSpec(selection_share=0, seed=seed)
    rows, some = rows_of(split_rows(source, config)), rows_of(split_rows(source, DatasetSpec(seed=seed)))
    assert rows["selection"] == []
    assert rows["test"] == some["test"]
    assert rows["train"] == sorted(some["train"] + some["selection"])


@given(class_counts, st.integers(3, 50), st.booleans())
def test_a_class_limit_keeps_so_many_training_images_of_each_class(
    labelled: Callable[..., SourceData], counts: list[int], limit: int, own_test: bool
) -> None:
    source = labelled(interleaved(counts), interleaved(counts) if own_test else None)
    splits = split_rows(source, DatasetSpec(), limit)
    kept = {name: np.bincount(part.labels[rows], minlength=len(counts)) for name, (part, rows) in splits.items()}
    expected = np.minimum(counts, limit)
    if own_test:
        assert kept["test"].tolist() == counts
        np.testing.assert_array_equal(kept["train"] + kept["selection"], expected)
    else:
        np.testing.assert_array_equal(sum(kept.values()), expected)


@pytest.mark.parametrize(
    ("share", "own_test", "limit", "message"),
    [
        (0.1, False, 2, "class_limit is 2: it must be at least 3, so that every class is in train, selection and test"),
        (0.1, True, 1, "class_limit is 1: it must be at least 2, so that every class is in train and selection"),
        (0, False, 1, "class_limit is 1: it must be at least 2, so that every class is in train and test"),
    ],
)
def test_a_class_limit_too_small_for_every_split_is_refused(
    labelled: Callable[..., SourceData], share: float, own_test: bool, limit: int, message: str
) -> None:
    labels = interleaved([10, 10])
    source = labelled(labels, labels if own_test else None)
    with pytest.raises(UserError, match=message):
        split_rows(source, DatasetSpec(selection_share=share), limit)
    split_rows(source, DatasetSpec(selection_share=share), limit + 1)


@pytest.mark.parametrize("share", [1e-300, 0.0009, -0.1, 1.0])
def test_a_selection_share_is_zero_or_not_too_small(share: float) -> None:
    with pytest.raises(ValueError, match="selection_share"):
        DatasetSpec(selection_share=share)


def test_another_seed_makes_another_split(labelled: Callable[..., SourceData]) -> None:
    source = labelled(interleaved([30, 30]))
    first, again, other = (rows_of(split_rows(source, DatasetSpec(seed=seed))) for seed in (0, 0, 1))
    assert first == again
    assert first["test"] != other["test"]


@pytest.mark.parametrize("limit", [None, 30])
def test_the_test_split_of_a_source_does_not_depend_on_the_seed(
    labelled: Callable[..., SourceData], limit: int | None
) -> None:
    source = labelled(interleaved([40, 40]), interleaved([12, 8]))
    first, other = (split_rows(source, DatasetSpec(seed=seed, limit=limit)) for seed in (0, 1))
    assert rows_of(first)["test"] == rows_of(other)["test"]
    assert rows_of(first)["train"] != rows_of(other)["train"]
    assert first["test"][0] is source.test
    assert first["train"][0] is first["selection"][0] is source.train
    if limit is None:
        assert rows_of(first)["test"] == list(range(20))
        assert sorted(rows_of(first)["train"] + rows_of(first)["selection"]) == list(range(80))


@given(class_counts, st.data())
def test_a_limit_is_kept_exactly_and_balanced_over_classes(
    labelled: Callable[..., SourceData], counts: list[int], data: st.DataObject
) -> None:
    limit = data.draw(st.integers(3 * len(counts), sum(counts)))
    splits = split_rows(labelled(interleaved(counts)), DatasetSpec(limit=limit))
    kept = sum(np.bincount(part.labels[rows], minlength=len(counts)) for part, rows in splits.values())
    assert kept.sum() == limit
    unfilled = [int(n) for n, available in zip(kept, counts, strict=True) if n < available]
    assert not unfilled or max(kept) - min(unfilled) <= 1


@given(class_counts, class_counts, st.booleans(), st.data())
def test_a_smaller_limit_keeps_a_subset_of_a_larger_one(
    labelled: Callable[..., SourceData], counts: list[int], test_counts: list[int], own_test: bool, data: st.DataObject
) -> None:
    n_classes = min(len(counts), len(test_counts))
    test = interleaved(test_counts[:n_classes]) if own_test else None
    source = labelled(interleaved(counts[:n_classes]), test)
    larger = data.draw(st.integers(3 * n_classes, sum(counts) + sum(test_counts)))
    smaller = data.draw(st.integers(3 * n_classes, larger))
    kept = []
    for limit in (smaller, larger):
        splits = split_rows(source, DatasetSpec(limit=limit))
        kept.append({(part is source.test, int(row)) for part, rows in splits.values() for row in rows})
    assert len(kept[0]) <= smaller
    assert kept[0] <= kept[1]


def test_a_limit_is_shared_between_splits_of_the_source_in_proportion(labelled: Callable[..., SourceData]) -> None:
    splits = split_rows(labelled(interleaved([50, 50]), interleaved([10, 10])), DatasetSpec(limit=60))
    sizes = {name: len(rows) for name, (_, rows) in splits.items()}
    assert sizes["test"] == 10
    assert sizes["train"] + sizes["selection"] == 50


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 0, 0, 1, 1], None, "class 'class 1' has 2 images: it needs at least 3"),
        ([0, 0, 0, 2, 2, 2], None, "class 'class 1' has 0 images"),
        ([0, 0, 1], [0, 1], "class 'class 1' has 1 image: it needs at least 2"),
        ([0, 0, 1, 1], [0, 0], "class 'class 1' has 0 images: it needs at least 1, in the test split"),
    ],
)
def test_a_class_with_too_few_images_is_named(
    labelled: Callable[..., SourceData], train: list[int], test: list[int] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        split_rows(labelled(train, test), DatasetSpec())


@pytest.mark.parametrize("test", [None, [0, 1]])
def test_a_limit_too_small_for_every_class_is_refused(
    labelled: Callable[..., SourceData], test: list[int] | None
) -> None:
    source = labelled(interleaved([10, 10]), test)
    with pytest.raises(UserError, match=r"dataset\.limit is 5: with 2 classes it must be at least 6"):
        split_rows(source, DatasetSpec(limit=5))
    split_rows(source, DatasetSpec(limit=6))
