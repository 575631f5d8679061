import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nofrost.data.order import block_order, epoch_order, first_window

SHARDS = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(
    lambda sizes: np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
)


@given(SHARDS, st.integers(0, 5), st.integers(0, 3), st.integers(1, 14))
def test_a_block_order_has_every_row_once(shards, seed, epoch, window):
    assert sorted(block_order(shards, seed, epoch, window)) == list(range(len(shards)))


@given(SHARDS, st.integers(1, 14))
def test_a_block_order_finishes_a_window_before_the_next_one(shards, window):
    visited = shards[block_order(shards, 0, 0, window)]
    windows = []
    while len(visited):
        members = list(dict.fromkeys(visited))[:window]
        size = np.isin(shards, members).sum()
        windows.append(set(visited[:size]))
        visited = visited[size:]
    assert all(len(each) <= window for each in windows)
    assert sum(map(len, windows)) == len(set(shards))


@given(SHARDS, st.integers(1, 14))
def test_the_first_window_has_all_rows_of_the_first_shards_and_no_others(shards, window):
    order = block_order(shards, 0, 0, window)
    rows = first_window(shards, order, window)
    assert np.array_equal(rows, order[: len(rows)])
    assert len(set(shards[rows])) == min(window, len(set(shards)))
    assert len(rows) == np.isin(shards, shards[rows]).sum()


def test_orders_depend_on_seed_and_epoch_alone():
    shards = np.repeat(np.arange(8), 10)
    for order in (lambda *at: epoch_order(80, *at), lambda *at: block_order(shards, *at, 2)):
        assert np.array_equal(order(1, 2), order(1, 2))
        assert not np.array_equal(order(1, 2), order(1, 3))
        assert not np.array_equal(order(1, 2), order(2, 2))


def test_a_window_of_all_shards_mixes_all_rows():
    shards = np.repeat(np.arange(10), 100)
    order = block_order(shards, 0, 0, 10)
    # in the first tenth there are rows of every shard
    assert len(set(shards[order[:100]])) == 10
