"""Which objects are there: the same answer by every way of asking, and few questions."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from nofrost.store import Store, open_store, s3_listing
from nofrost.store.base import object_name


@pytest.fixture
def there(line: Any, moto: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The sizes of 120 objects in a store whose list has pages of 10; one question costs a third of a page."""
    monkeypatch.setattr(s3_listing, "_PER_PAGE", 10)
    monkeypatch.setattr(s3_listing, "_QUESTIONS_PER_PAGE", 3)
    store = open_store(moto)
    sizes = {}
    for number in range(120):
        digest = hashlib.md5(f"{number}".encode()).hexdigest()
        md5 = f"{number % 4:02x}{digest[2:]}"  # few folders, so that some hold more than a page
        store.put(object_name(md5), b"x" * number)
        sizes[md5] = number
    line.seen.clear()
    return sizes


@pytest.mark.parametrize("asked", [0, 1, 2, 3, 5, 10, 30, 60, 119, 120])
@pytest.mark.parametrize("absent", [0, 1, 20])
def test_sizes_are_those_of_what_is_there(asked: int, absent: int, there: dict[str, int], moto: str, line: Any) -> None:
    store: Store = open_store(moto)
    chosen = random.Random(asked).sample(sorted(there), asked)
    nowhere = [hashlib.md5(f"absent {number}".encode()).hexdigest() for number in range(absent)]
    assert store.sizes([*chosen, *nowhere]) == {md5: there[md5] for md5 in chosen}
    if asked + absent:
        asked_by_list = [path for _, path, _ in line.seen if "list-type" in path and "max-keys=1&" not in path]
        assert len(line.seen) <= 2 + (asked + absent) * 4 / 3
        assert len(asked_by_list) <= 1 + (asked + absent) / 10 + (asked + absent) / 3


def test_a_small_bucket_is_known_after_one_page(there: dict[str, int], moto: str, line: Any) -> None:
    s3_listing._PER_PAGE = 1000
    assert open_store(moto).sizes(there) == there
    assert len(line.seen) == 2  # the first answer, and the page
