"""Pointers: whatever is killed or overtaken, a pointer is at its old position or at the new one, whole."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.store import Pointer, Store, SwapError, claims, open_store
from nofrost.store.claims import swap_by_claim

NAME = "nofrost/things/one/latest.json"
KEY = "0cc175b9c0f1b6a831c399e269772661"
MOVERS = 16


def test_a_pointer_moves_and_remembers(store: Store) -> None:
    pointer = Pointer(store, NAME)
    assert pointer.read() is None
    assert pointer.history() == ([], [])
    first = pointer.move({"is": "first"}, KEY, None)
    second = pointer.move({"is": ["sécond", 2]}, KEY, first.record)
    again = Pointer(open_store(store.url), NAME)
    assert again.read() == second
    assert again.history() == ([second, first], [])
    assert (first.previous, second.previous) == (None, first.record)
    assert KEY in first.record
    assert store.names("") == sorted([NAME, *(f"nofrost/things/one/{each.record}" for each in (first, second))])


def test_who_expects_another_position_is_refused_and_leaves_no_record(store: Store) -> None:
    pointer = Pointer(store, NAME)
    with pytest.raises(SwapError):
        pointer.move({}, KEY, "history/never.json")
    first = pointer.move({}, KEY, None)
    second = pointer.move({}, KEY, first.record)
    for expected in (None, first.record):
        with pytest.raises(SwapError):
            pointer.move({"is": "late"}, KEY, expected)
    assert pointer.history() == ([second, first], [])


def test_a_position_that_was_left_is_not_mistaken_for_a_later_one_with_the_same_value(store: Store) -> None:
    pointer = Pointer(store, NAME)
    first = pointer.move({"is": "a"}, KEY, None)
    second = pointer.move({"is": "b"}, KEY, first.record)
    pointer.move({"is": "a"}, KEY, second.record)
    with pytest.raises(SwapError):
        pointer.move({"is": "c"}, KEY, first.record)


def test_of_many_movers_one_succeeds(url: str) -> None:
    pointers = [Pointer(open_store(url), NAME) for _ in range(2)]
    before = pointers[0].move({"is": "before"}, KEY, None)
    assert pointers[1].store.obeys_conditions()
    barrier, moved = threading.Barrier(MOVERS), []

    def move(number: int) -> None:
        barrier.wait()
        try:
            moved.append(pointers[number % 2].move({"by": number}, f"{number:032x}", before.record))
        except SwapError:
            return

    threads = [threading.Thread(target=move, args=(number,)) for number in range(MOVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(moved) == 1
    assert pointers[0].read() == moved[0]
    history = pointers[0].history()
    assert history.positions == [*moved, before]
    assert moved[0] not in history.unused


MOVE = (
    "import sys; from nofrost.store import Pointer, SwapError, open_store\n"
    "pointer = Pointer(open_store({url!r}), {name!r}); pointer.store.obeys_conditions(); print('ready', flush=True)\n"
    "sys.stdin.readline()\n"
    "try: print(pointer.move({{'by': {number}}}, 'key', None).record)\n"
    "except SwapError: print('late')"
)


@pytest.mark.slow
def test_of_many_processes_that_move_a_pointer_one_succeeds(url: str) -> None:
    with ExitStack() as stack:
        movers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", MOVE.format(url=url, name=NAME, number=number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(MOVERS)
        ]
        for mover in movers:
            assert mover.stdout is not None
            assert mover.stdout.readline() == "ready\n"
        for mover in movers:
            assert mover.stdin is not None
            mover.stdin.write("go\n")
            mover.stdin.flush()
        said = [mover.communicate()[0].strip() for mover in movers]
    position = Pointer(open_store(url), NAME).read()
    assert position is not None
    assert sorted(said) == sorted([position.record, *["late"] * (MOVERS - 1)])


class Taps:
    """A store that calls `before` ahead of each request to it."""

    def __init__(self, store: Store, before: Callable[[], None]) -> None:
        self.store, self.before = store, before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.store, name)
        if not callable(value):
            return value

        def request(*arguments: Any) -> Any:
            self.before()
            return value(*arguments)

        return request


class Unobeying(Taps):
    """A store that swaps by claims, with a tap before each of their requests."""

    def swap(self, name: str, content: bytes, expected: str | None) -> str:
        return swap_by_claim(self, name, content, expected)


class Turns:
    """Movers of one pointer that advance by one request in turns."""

    def __init__(self, folder: Path, kind: type[Taps], moves: int) -> None:
        self.store, self.kind, self.moves = open_store(str(folder)), kind, moves
        self.go: list[threading.Semaphore] = []
        self.done = threading.Semaphore(0)
        self.alive: list[int] = []
        self.moved: list[str] = []
        self.threads: list[threading.Thread] = []

    def add(self) -> None:
        number = len(self.go)
        self.go.append(threading.Semaphore(0))
        self.alive.append(number)
        thread = threading.Thread(target=self.mover, args=(number,), daemon=True)
        self.threads.append(thread)
        thread.start()
        self.done.acquire()

    def mover(self, number: int) -> None:
        def wait() -> None:
            self.done.release()
            self.go[number].acquire()

        pointer = Pointer(self.kind(self.store, wait), NAME)
        for move in range(self.moves):
            current = pointer.read()
            try:
                value = {"mover": number, "move": move}
                moved = pointer.move(value, f"{number}-{move}", current.record if current else None)
                self.moved.append(moved.record)
            except SwapError:
                continue
        self.alive.remove(number)
        self.done.release()

    def run(self, order: random.Random) -> None:
        while self.alive:
            self.go[order.choice(self.alive)].release()
            self.done.acquire()


@pytest.mark.parametrize("kind", [Taps, Unobeying])
def test_no_move_is_lost_however_movers_overtake_one_another(
    kind: type[Taps], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PAUSE_S", 0.0)

    @settings(max_examples=25, deadline=None)
    @given(st.randoms(use_true_random=False), st.integers(2, 3), st.integers(1, 2))
    def check(order: random.Random, movers: int, moves: int) -> None:
        turns = Turns(tmp_path_factory.mktemp("turns"), kind, moves)
        for _ in range(movers):
            turns.add()
        turns.run(order)
        history = Pointer(turns.store, NAME).history()
        assert {each.record for each in history.positions} == set(turns.moved)
        assert turns.moved

    check()


class Killed(BaseException):
    """Ends a mover as a kill would: nothing catches it."""


@pytest.mark.parametrize("kind", [Taps, Unobeying])
def test_killed_before_any_request_a_move_leaves_the_old_position_or_the_new_one(
    kind: type[Taps], local_store: Store
) -> None:
    before = Pointer(local_store, NAME).move({"is": "before"}, KEY, None)
    requests, killed = [0], 0

    def count() -> None:
        requests[0] -= 1
        if requests[0] < 0:
            raise Killed

    while True:
        requests[0] = killed
        try:
            Pointer(kind(local_store, count), NAME).move({"is": "after"}, KEY, before.record)
            break
        except Killed:
            killed += 1
        position = Pointer(local_store, NAME).read()
        assert position is not None
        assert position.value["is"] in ("before", "after")
        history = Pointer(local_store, NAME).history()
        assert history.positions[0] == position
        assert history.positions[-1] == before
        assert local_store.get(f"nofrost/things/one/{position.record}") == local_store.get(NAME)
        if position.value["is"] == "after":
            break
        # Claims of a killed mover stand in the way for a minute.
        local_store.delete(local_store.names(claims.CLAIMS))
    assert killed >= 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"record": 1}', b"\xff", b"[" * 100_000,
                b'{"record": "a", "previous": null, "moved": "yesterday", "value": {}}',
                b'{"record": "a", "previous": null, "moved": "0001-01-01T00:00:00+23:00", "value": {}}',
                b'{"record": "a", "previous": null, "moved": "2026-01-01T00:00:00+00:00", "value": []}']
)  # fmt: skip
def test_what_is_no_pointer_is_refused_by_name(content: bytes, local_store: Store) -> None:
    pointer = Pointer(local_store, NAME)
    local_store.put(NAME, content)
    for call in (pointer.read, pointer.history, lambda: pointer.move({}, KEY, None)):
        with pytest.raises(UserError, match=NAME):
            call()
    assert local_store.get(NAME) == content


def test_a_record_that_is_missing_or_leads_in_a_circle_is_said(local_store: Store) -> None:
    pointer = Pointer(local_store, NAME)
    first = pointer.move({}, KEY, None)
    second = pointer.move({}, KEY, first.record)
    folder = "nofrost/things/one/"
    local_store.put(folder + first.record, local_store.get(folder + second.record))
    with pytest.raises(UserError, match=first.record):
        pointer.history()
    local_store.delete([folder + first.record])
    with pytest.raises(UserError, match=first.record):
        pointer.history()
    assert pointer.read() == second
