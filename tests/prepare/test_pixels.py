from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from nofrost.prepare.pixels import resize_batch, to_levels


@given(arrays(np.uint8, (2, 3, 3, 1)))
def test_levels_survive_the_way_through_floats(images: np.ndarray) -> None:
    np.testing.assert_array_equal(to_levels(images / 255), images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "size"), [(7, 7, 4), (5, 9, 4), (9, 5, 13), (100, 3, 6)])
def test_any_shape_becomes_a_square_of_the_size(channels: int, height: int, width: int, size: int) -> None:
    images = np.full((2, height, width, channels), 77, dtype=np.uint8)
    resized = resize_batch(images, size)
    assert resized.shape == (2, size, size, channels)
    assert (resized == 77).all()
