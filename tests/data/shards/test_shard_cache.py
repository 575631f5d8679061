"""A cache of shards holds its limit, keeps what is needed, and survives whoever is killed beside it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.cache_contents import contents_of, pins
from nofrost.data.shards.shard_cache import ShardCache
from nofrost.errors import UnavailableError, UserError
from nofrost.lock import folder_lock
from tests.child_process import running

SIZE = 1000


class Source:
    """Shards by their md5, that counts how often each is fetched."""

    def __init__(self, count: int) -> None:
        self.contents = [bytes([number]) * SIZE for number in range(count)]
        self.shards = [
            ShardManifest(name=f"train-{number:06}.tar", records=1, size=SIZE, md5=md5(content))
            for number, content in enumerate(self.contents)
        ]
        self.fetched: list[int] = []

    def __call__(self, name: str) -> Iterator[bytes]:
        number = next(number for number, shard in enumerate(self.shards) if shard.md5 == name)
        self.fetched.append(number)
        content = self.contents[number]
        yield content[: SIZE // 2]
        yield content[SIZE // 2 :]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def present(folder: Path, source: Source) -> set[int]:
    return {number for number, shard in enumerate(source.shards) if (folder / shard.md5).exists()}


def wait_until(is_reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not is_reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_bytes_of_a_shard_come_from_one_fetch(tmp_path: Path) -> None:
    source = Source(2)
    cache = ShardCache(source, tmp_path / "cache", 10 * SIZE)
    assert [cache.read(source.shards[1], offset, 3) for offset in (0, 500, SIZE - 3)] == [b"\1\1\1"] * 3
    assert ShardCache(source, tmp_path / "cache", 10 * SIZE).read(source.shards[1], 0, SIZE) == source.contents[1]
    assert source.fetched == [1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=30), st.integers(1, 5))
def test_the_limit_holds_after_every_read(
    tmp_path_factory: pytest.TempPathFactory, reads: list[int], most: int
) -> None:
    source, folder = Source(8), tmp_path_factory.mktemp("cache")
    cache = ShardCache(source, folder, most * SIZE)
    for number in reads:
        assert cache.read(source.shards[number], 10, 5) == bytes([number]) * 5
        assert contents_of(folder).size <= most * SIZE
    assert number in present(folder, source)


def test_the_least_recently_used_shard_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nofrost.data.shards.shard_cache._NOTE_S", 0.0)
    source = Source(4)
    cache = ShardCache(source, tmp_path, 3 * SIZE)
    for number in (0, 1, 2, 0, 3):
        cache.read(source.shards[number], 0, 1)
        time.sleep(0.01)
    assert present(tmp_path, source) == {0, 2, 3}


def test_what_is_announced_is_fetched_ahead_as_far_as_the_limit_allows(tmp_path: Path) -> None:
    source = Source(6)
    cache = ShardCache(source, tmp_path, 3 * SIZE)
    cache.announce(source.shards[1:])
    wait_until(lambda: present(tmp_path, source) == {1, 2, 3})
    time.sleep(0.05)
    assert sorted(source.fetched) == [1, 2, 3]
    # The first one is done with: its place goes to the next.
    cache.announce(source.shards[2:])
    wait_until(lambda: present(tmp_path, source) == {2, 3, 4})
    cache.close()


def test_a_shard_that_is_needed_takes_the_place_of_the_one_that_is_announced_last(tmp_path: Path) -> None:
    source = Source(5)
    cache = ShardCache(source, tmp_path, 3 * SIZE)
    cache.announce(source.shards[:3])
    wait_until(lambda: present(tmp_path, source) == {0, 1, 2})
    assert cache.read(source.shards[4], 0, 1) == b"\4"
    assert present(tmp_path, source) == {0, 1, 4}
    cache.close()


def test_pinned_shards_stay_until_the_end_of_the_block(tmp_path: Path) -> None:
    source = Source(4)
    other = ShardCache(source, tmp_path, 2 * SIZE)
    done: list[int] = []
    with ShardCache(source, tmp_path, 2 * SIZE).pinned(source.shards[:2], "data/dataset", lambda: done.append(1)):
        assert done == [1, 1]
        assert present(tmp_path, source) == {0, 1}
        with pytest.raises(UnavailableError, match="all are in use by other tasks: raise NOFROST_CACHE_SIZE"):
            other.read(source.shards[3], 0, 1)
    assert other.read(source.shards[3], 0, 1) == b"\3"


def test_a_place_that_is_too_small_is_an_error_before_anything_is_fetched(tmp_path: Path) -> None:
    source = Source(3)
    cache = ShardCache(source, tmp_path, 2 * SIZE)
    with (
        pytest.raises(UserError, match=r"data/dataset has 3,000 bytes and the cache .* may have 2,000"),
        cache.pinned(source.shards, "data/dataset", lambda: None),
    ):
        pass
    with pytest.raises(UserError, match=r"train-000000\.tar has 1,000 bytes and the cache .* may have 999"):
        ShardCache(source, tmp_path, SIZE - 1).read(source.shards[0], 0, 1)
    assert not source.fetched


@pytest.mark.parametrize("change", [lambda all_: all_[:-1], lambda all_: all_ + b"x"])
def test_a_shard_that_arrives_with_another_size_twice_is_refused_and_leaves_nothing(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    source = Source(1)
    source.contents[0] = change(source.contents[0])
    with pytest.raises(UserError, match=r"shard train-000000\.tar \(object [0-9a-f]{32}\) is altered or cut off"):
        ShardCache(source, tmp_path, 2 * SIZE).read(source.shards[0], 0, 1)
    assert source.fetched == [0, 0]
    assert not list(tmp_path.iterdir())


def test_a_damaged_shard_is_renewed_once_and_verified(tmp_path: Path) -> None:
    source = Source(1)
    (shard,), whole = source.shards, source.contents[0]
    cache = ShardCache(source, tmp_path, SIZE)
    source.contents[0] = b"x" * SIZE
    assert cache.read(shard, 0, 1) == b"x", "whoever reads compares what it knows of it"
    source.contents[0] = whole
    for _ in range(2):
        cache.renew(shard)
        assert cache.read(shard, 0, SIZE) == whole
    assert source.fetched == [0, 0]


def test_a_shard_that_is_altered_where_it_is_stored_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = Source(1)
    source.contents[0] = b"x" * SIZE
    cache = ShardCache(source, tmp_path, SIZE)
    cache.read(source.shards[0], 0, 1)
    with pytest.raises(UserError, match=r"shard train-000000\.tar \(object [0-9a-f]{32}\) is altered or cut off"):
        cache.renew(source.shards[0])
    assert source.fetched == [0, 0, 0]
    assert not list(tmp_path.iterdir())


def test_a_shard_that_was_cut_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    source = Source(1)
    cache = ShardCache(source, tmp_path, 2 * SIZE)
    cache.read(source.shards[0], 0, 1)
    (tmp_path / source.shards[0].md5).write_bytes(b"short")
    assert cache.read(source.shards[0], SIZE - 2, 2) == b"\0\0"
    with pytest.raises(UserError, match="which its index names"):
        cache.read(source.shards[0], SIZE, 1)


def test_many_threads_that_need_a_shard_fetch_it_once(tmp_path: Path) -> None:
    source, contents = Source(3), []
    cache = ShardCache(source, tmp_path, 2 * SIZE)
    barrier = threading.Barrier(8)

    def read() -> None:
        barrier.wait()
        contents.append(cache.read(source.shards[1], 0, SIZE))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [source.contents[1]] * 8
    assert source.fetched == [1]


def test_foreign_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    source = Source(2)
    (tmp_path / "notes.txt").write_text("mine")
    cache = ShardCache(source, tmp_path, SIZE)
    for shard in source.shards:
        cache.read(shard, 0, 1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


HANGING = """
import sys, time
from pathlib import Path
from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.shard_cache import ShardCache

def fetch(md5):
    yield b"x"
    print("fetching", flush=True)
    time.sleep(60)

shard = ShardManifest(name="train-000000.tar", records=1, size=1000, md5=sys.argv[2])
ShardCache(fetch, Path(sys.argv[1]), 2000).read(shard, 0, 1)
"""


def test_what_a_killed_process_was_fetching_does_not_count(tmp_path: Path) -> None:
    source = Source(3)
    command = [sys.executable, "-c", HANGING, str(tmp_path), source.shards[0].md5]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "fetching\n"
        assert contents_of(tmp_path).size == SIZE
        process.kill()
        process.wait()
    cache = ShardCache(source, tmp_path, 2 * SIZE)
    for number in (1, 2):
        cache.read(source.shards[number], 0, 1)
    assert present(tmp_path, source) == {1, 2}
    assert contents_of(tmp_path).size == 2 * SIZE
    assert cache.read(source.shards[0], 0, SIZE) == source.contents[0]


def test_the_fetching_of_others_counts_and_is_waited_for(tmp_path: Path) -> None:
    source, contents = Source(2), []
    cache = ShardCache(source, tmp_path, SIZE)
    reader = threading.Thread(target=lambda: contents.append(cache.read(source.shards[1], 0, 1)))
    with folder_lock(tmp_path / source.shards[0].md5):
        unfinished = tmp_path / f".{source.shards[0].md5}.nofrost-tmp"
        unfinished.write_bytes(bytes(SIZE))
        reader.start()
        time.sleep(0.1)
        assert not contents
        unfinished.rename(tmp_path / source.shards[0].md5)
    reader.join(120)
    assert contents == [b"\1"]
    assert present(tmp_path, source) == {1}


def test_what_others_fetch_to_keep_is_not_waited_for(tmp_path: Path) -> None:
    source = Source(2)
    cache = ShardCache(source, tmp_path, SIZE)
    pinned = pins(tmp_path, [source.shards[0].md5], folder_lock(tmp_path / "space"))
    with pinned, folder_lock(tmp_path / source.shards[0].md5):
        (tmp_path / f".{source.shards[0].md5}.nofrost-tmp").write_bytes(bytes(SIZE))
        with pytest.raises(UnavailableError, match="in use by other tasks"):
            cache.read(source.shards[1], 0, 1)


SHARING = """
import hashlib, random, sys
from pathlib import Path
from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.shard_cache import ShardCache

contents = {hashlib.md5(bytes([n]) * 1000).hexdigest(): bytes([n]) * 1000 for n in range(8)}
shards = [ShardManifest(name=f"train-{n}.tar", records=1, size=1000, md5=md5) for n, md5 in enumerate(contents)]
cache = ShardCache(lambda md5: [contents[md5]], Path(sys.argv[1]), 4000)
draw = random.Random(sys.argv[2])
cache.announce(draw.sample(shards, 8))
for _ in range(100):
    shard = draw.choice(shards)
    assert cache.read(shard, 7, 900) == contents[shard.md5][:900]
"""


def test_processes_that_share_a_folder_hold_its_limit_together(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    commands = [[sys.executable, "-c", SHARING, str(folder), seed] for seed in ("a", "b", "c")]
    largest = 0
    with running(commands[0]) as first, running(commands[1]) as second, running(commands[2]) as third:
        processes = (first, second, third)
        while any(process.poll() is None for process in processes):
            # Nothing comes or goes while it is counted.
            with folder_lock(folder / "space", wait=True, quiet=True):
                largest = max(largest, contents_of(folder).size)
            time.sleep(0.002)
        assert [process.wait() for process in processes] == [0, 0, 0]
    assert 0 < largest <= 4 * SIZE
    assert contents_of(folder).size <= 4 * SIZE
