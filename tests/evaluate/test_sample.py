"""Which images are evaluated, and what is refused."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.evaluate.measuring.sample import batches, sample_of_tensors, spaced_rows


@given(total=st.integers(0, 300), wanted=st.integers(1, 400))
def test_spaced_rows_are_distinct_sorted_inside_and_even(total: int, wanted: int) -> None:
    rows = spaced_rows(total, wanted)
    assert len(rows) == min(total, wanted)
    assert np.all(np.diff(rows) > 0)
    if len(rows):
        assert rows[0] == 0
        assert rows[-1] < total
        assert np.ptp(np.diff([*rows, total])) <= 1


def test_no_limit_takes_all_rows() -> None:
    assert spaced_rows(5, None).tolist() == [0, 1, 2, 3, 4]


@given(total=st.integers(0, 50), size=st.integers(1, 60))
def test_batches_cover_every_row_once_in_order(total: int, size: int) -> None:
    parts = list(batches(np.arange(total), size))
    assert all(0 < len(part) <= size for part in parts)
    assert [row for part in parts for row in part] == list(range(total))


def test_a_sample_takes_the_spaced_images_with_their_labels_and_indices() -> None:
    images = torch.arange(10).view(10, 1, 1, 1).expand(10, 1, 4, 4) / 10
    sample = sample_of_tensors(images, torch.arange(10), torch.arange(10) * 7, 5)
    assert sample.labels.tolist() == [0, 2, 4, 6, 8]
    assert sample.indices.tolist() == [0, 14, 28, 42, 56]
    pixels, labels, indices = sample.batch(np.array([1, 4]), torch.device("cpu"))
    assert torch.allclose(pixels[:, 0, 0, 0], torch.tensor([0.2, 0.8]))
    assert labels.tolist() == [2, 8]
    assert indices.tolist() == [14, 56]


def test_the_checksum_of_indices_is_that_of_64_bit_little_endian_integers() -> None:
    sample = sample_of_tensors(
        torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.int32), torch.tensor([5, 1, 9]), None
    )
    assert sample.indices_sha256() == hashlib.sha256(struct.pack("<3q", 5, 1, 9)).hexdigest()


def test_double_precision_images_are_evaluated_in_single_precision() -> None:
    sample = sample_of_tensors(torch.zeros(3, 1, 4, 4).double(), torch.zeros(3).long(), None, None)
    assert sample.read(np.array([0])).dtype == torch.float32


IMAGES, LABELS = torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("images", "labels", "indices", "message"),
    [
        (np.zeros((3, 1, 4, 4)), LABELS, None, "images must be a float tensor"),
        (IMAGES.byte(), LABELS, None, "images must be a float tensor"),
        (IMAGES[0], LABELS, None, "images must be a float tensor"),
        (IMAGES[:0], LABELS[:0], None, "N at least 1"),
        (IMAGES + 255, LABELS, None, "255 to 255: scale them"),
        (IMAGES - 0.1, LABELS, None, r"must lie in \[0, 1\]"),
        (IMAGES + torch.nan, LABELS, None, r"must lie in \[0, 1\]"),
        (IMAGES, LABELS[:2], None, "labels must be 3 integers"),
        (IMAGES, LABELS.float(), None, "labels must be 3 integers"),
        (IMAGES, torch.zeros(3, 10), None, "labels must be 3 integers"),
        (IMAGES, LABELS.bool(), None, "labels must be 3 integers"),
        (IMAGES, "abc", None, "labels must be 3 integers"),
        (IMAGES, LABELS, LABELS[:2], "indices must be 3 integers"),
    ],
)
def test_invalid_images_or_labels_are_refused(
    images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sample_of_tensors(images, labels, indices, None)
