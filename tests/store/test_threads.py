"""A function applied to many items, in threads."""

from __future__ import annotations

import threading
import time

import pytest

from nofrost.store.threads import for_each


def test_every_item_is_processed_once_by_several_threads_and_reported_in_the_caller() -> None:
    worked: list[int] = []
    threads: set[int] = set()
    reported: list[tuple[int, int]] = []
    barrier = threading.Barrier(4, timeout=120)

    def work(item: int) -> None:
        if item < 4:
            barrier.wait()
        threads.add(threading.get_ident())
        worked.append(item)

    for_each(work, range(100), jobs=4, done=lambda item: reported.append((item, threading.get_ident())))
    assert sorted(worked) == list(range(100))
    assert sorted(reported) == [(item, threading.get_ident()) for item in range(100)]
    assert len(threads) == 4


def test_no_items_need_no_threads() -> None:
    for_each(lambda _: pytest.fail("there is nothing"), [], jobs=4, done=lambda _: None)


def test_the_first_error_ends_the_work_and_is_raised() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            raise ValueError("five")
        if item > 5:
            time.sleep(0.02)  # so that a thousand take seconds, however late the caller looks

    with pytest.raises(ValueError, match="five"):
        for_each(work, range(10_000), jobs=3, done=lambda _: None)
    assert len(begun) < 1000
    ended = len(begun)
    time.sleep(0.05)
    assert len(begun) == ended


def test_a_hanging_thread_does_not_delay_an_error() -> None:
    hang = threading.Event()

    def work(item: int) -> None:
        if item:
            raise ValueError("one")
        hang.wait(200)

    begin = time.monotonic()
    with pytest.raises(ValueError, match="one"):
        for_each(work, range(2), jobs=2, done=lambda _: None)
    assert time.monotonic() - begin < 100
    hang.set()
