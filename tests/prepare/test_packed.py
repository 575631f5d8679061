from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.prepare.sources.packed import PackedPaths


@given(st.lists(st.binary(max_size=20).filter(lambda name: b"\0" not in name)))
def test_paths_of_any_bytes_come_back_by_row(names: list[bytes]) -> None:
    paths = list(map(os.fsdecode, names))
    packed = PackedPaths(paths[:1])
    packed.extend(paths[1:])
    assert len(packed) == len(paths)
    assert [packed[row] for row in range(len(packed))] == paths
    with pytest.raises(IndexError):
        packed[len(paths)]
