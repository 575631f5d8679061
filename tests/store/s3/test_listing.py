"""Sizes of objects: the same answer by list and by HEAD request, and few requests."""

from __future__ import annotations

import hashlib
import random
from itertools import product
from typing import Any

import pytest

from nofrost.store import open_store, s3
from nofrost.store.base import object_name


@pytest.fixture
def stored(line: Any, moto: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The sizes of 120 objects in a store whose list has pages of 10; one question costs a third of a page."""
    monkeypatch.setattr(s3, "_PAGE", 10)
    monkeypatch.setattr(s3, "_HEADS_PER_PAGE", 3)
    store = open_store(moto)
    sizes = {}
    for number in range(120):
        digest = hashlib.md5(f"{number}".encode()).hexdigest()
        md5 = f"{number % 4:02x}{digest[2:]}"  # few folders, so that some hold more than a page
        store.put(object_name(md5), b"x" * number)
        sizes[md5] = number
    line.seen.clear()
    return sizes


def test_sizes_are_right_for_any_mix_of_present_and_absent_objects(
    stored: dict[str, int], moto: str, line: Any
) -> None:
    nowhere = [hashlib.md5(f"absent {number}".encode()).hexdigest() for number in range(20)]
    for asked, absent in product((0, 2, 10, 119), (0, 20)):
        line.seen.clear()
        present = random.Random(asked).sample(sorted(stored), asked)
        wanted = [*present, *nowhere[:absent]]
        assert open_store(moto).sizes(wanted) == {md5: stored[md5] for md5 in present}
        pages = [path for _, path, _ in line.seen if "list-type" in path]
        assert len(pages) <= 2 + len(wanted) / 10 + len(wanted) / 3
        assert len(line.seen) <= 2 + len(wanted) * 4 / 3


def test_a_small_bucket_takes_one_page(
    stored: dict[str, int], moto: str, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PAGE", 1000)
    assert open_store(moto).sizes(stored) == stored
    assert len(line.seen) == 2  # the first answer, and the page
