"""The first lines of a JPEG are those of the whole."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from nofrost.data.jpeg import decode_photograph, first_lines
from tests.train.photographs_in_shards import picture

SIZE = (131, 75)


def encoded(**settings: Any) -> bytes:
    stream = io.BytesIO()
    picture(1, SIZE).save(stream, "JPEG", **settings)
    return stream.getvalue()


@pytest.mark.parametrize("lines", [1, 16, 33, 100, 130, 131])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"quality": 30, "restart_marker_rows": 1},
        {"restart_marker_blocks": 3, "comment": b"\xff\xc0 is no frame here"},
        {"exif": b"Exif\0\0" + encoded(quality=20)},
    ],
)
def test_lines_are_those_of_the_whole_up_to_the_last(settings: dict[str, Any], lines: int) -> None:
    content = encoded(**settings)
    part, whole = (np.asarray(decode_photograph(bytes(each), 3)) for each in (first_lines(content, lines), content))
    assert part.shape == (lines, SIZE[1], 3)
    assert np.array_equal(part[:-1], whole[: lines - 1])


@pytest.mark.parametrize(
    "content",
    [encoded(progressive=True), b"", b"\xff\xd8", b"no JPEG at all", encoded()[:100], b"\xff\xd8\xff\xe0\0\0" * 9],
    ids=["progressive", "empty", "its beginning", "other", "cut off", "segments without a length"],
)
def test_what_is_not_sequential_stays(content: bytes) -> None:
    assert first_lines(content, 5) == content
