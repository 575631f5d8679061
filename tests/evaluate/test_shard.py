"""A shard: how it is written, and which images belong to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.evaluate import Shard
from nofrost.evaluate.measuring.sample import batches


@pytest.mark.parametrize("text", ["0/1", "0/3", "2/3", "11/12"])
def test_a_shard_is_written_as_it_is_read(text: str) -> None:
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3/3", "there is no shard 3/3: of 3 the first is 0/3 and the last 2/3"),
        ("-1/3", "there is no shard -1/3: of 3 the first is 0/3"),
        ("1/1", "there is no shard 1/1"),
        ("0/0", "shard 0/0: the number of shards must be at least 1"),
        ("0/-2", "shard 0/-2: the number of shards must be at least 1"),
        ("", "shard '' is not of the form index/count: write 0/3 for the first of three"),
        ("3", "shard '3' is not of the form"),
        ("1.0/3", "shard '1.0/3' is not of the form"),
        ("1/3/4", "is not of the form"),
        ("a/b", "is not of the form"),
        ("٠/٣", "is not of the form"),
        ("9" * 5000 + "/3", "is not of the form"),
    ],
)
def test_an_invalid_shard_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        Shard.parse(text)
    assert message in str(refused.value)


@given(total=st.integers(0, 200), size=st.integers(1, 60), count=st.integers(1, 30))
def test_the_batches_of_all_shards_are_the_batches_of_the_whole(total: int, size: int, count: int) -> None:
    whole = [tuple(rows) for rows in batches(np.arange(total), size)]
    shards = [Shard(index, count).rows(total, size) for index in range(count)]
    dealt = [[tuple(rows[part]) for part in batches(np.arange(len(rows)), size)] for rows in shards]
    assert sorted(batch for shard in dealt for batch in shard) == whole
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
