from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nofrost.data.pixel_statistics import PixelStatistics


@given(arrays(np.uint8, (7, 3, 2, 3)), st.integers(1, 7))
def test_statistics_are_exact_however_the_images_are_batched(images: np.ndarray, step: int) -> None:
    statistics = PixelStatistics(3)
    batches = [images[start : start + step] for start in range(0, 7, step)]
    passed = list(statistics.watch(iter(batches)))
    np.testing.assert_array_equal(np.concatenate(passed), images)
    mean, std = statistics.mean_and_std()
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), abs=1e-12)
    assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-7)
