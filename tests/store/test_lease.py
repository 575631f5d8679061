"""Leases: one holder at a time, however many ask, and none for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.store import Lease, LeaseError, Store, acquire_lease, find_lease, lease, open_store

NAME = "weekly"


class Clock(datetime):
    """A clock that only moves when it is told to."""

    time = datetime(2026, 11, 29, 3, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return cls.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Clock]]:
    monkeypatch.setattr(lease, "datetime", Clock)
    yield Clock
    Clock.time = datetime(2026, 11, 29, 3, tzinfo=UTC)


def test_a_lease_has_one_holder(store: Store) -> None:
    assert find_lease(store, NAME) is None
    mine = acquire_lease(store, NAME, "run one", 3600)
    assert find_lease(store, NAME) == mine
    with pytest.raises(LeaseError, match=r"weekly.*run one.*until 20\d\d-"):
        acquire_lease(store, NAME, "run two", 3600)
    acquire_lease(store, "monthly", "run two", 3600)
    mine.release()
    assert acquire_lease(store, NAME, "run two", 3600).holder == "run two"


def test_a_lease_ends_by_itself(local_store: Store, clock: type[Clock]) -> None:
    mine = acquire_lease(local_store, NAME, "one", 3600)
    clock.time += timedelta(seconds=3600) + lease.SKEW - timedelta(seconds=1)
    with pytest.raises(LeaseError):
        acquire_lease(local_store, NAME, "two", 3600)
    clock.time += timedelta(seconds=1)
    theirs = acquire_lease(local_store, NAME, "two", 3600)
    with pytest.raises(LeaseError, match="two"):
        mine.renew(3600)
    mine.release()
    assert find_lease(local_store, NAME) == theirs


def test_a_renewed_lease_lasts_longer_and_may_change_hands(local_store: Store, clock: type[Clock]) -> None:
    mine = acquire_lease(local_store, NAME, "job", 60)
    clock.time += timedelta(seconds=50)
    renewed = mine.renew(3600, holder="run 7")
    clock.time += timedelta(seconds=3000)
    with pytest.raises(LeaseError, match="run 7"):
        acquire_lease(local_store, NAME, "two", 3600)
    # What it was before it was renewed can no longer end it.
    mine.release()
    assert find_lease(local_store, NAME) == renewed
    renewed.release()
    acquire_lease(local_store, NAME, "two", 60)


def test_the_same_holder_has_it_again_after_a_restart(local_store: Store) -> None:
    before = acquire_lease(local_store, NAME, "job 3", 60)
    again = acquire_lease(local_store, NAME, "job 3", 60)
    assert again.token != before.token
    with pytest.raises(LeaseError):
        before.renew(60)


def test_of_many_who_ask_one_has_it(url: str) -> None:
    stores = [open_store(url) for _ in range(2)]
    for each in stores:
        assert each.obeys_conditions()
    barrier, leases = threading.Barrier(16), []
    refused: list[LeaseError] = []

    def ask(number: int) -> None:
        barrier.wait()
        try:
            leases.append(acquire_lease(stores[number % 2], NAME, f"run {number}", 3600))
        except LeaseError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases) == 1
    assert len(refused) == 15
    assert find_lease(stores[0], NAME) == Lease(**{**vars(leases[0]), "store": stores[0]})


@pytest.mark.slow
def test_the_lease_of_a_killed_process_ends(url: str) -> None:
    script = (
        "import time; from nofrost.store import acquire_lease, open_store\n"
        f"acquire_lease(open_store({url!r}), {NAME!r}, 'killed', 1); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    store = open_store(url)
    with pytest.raises(LeaseError, match="killed"):
        acquire_lease(store, NAME, "next", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "SKEW", -timedelta(seconds=1))
        assert acquire_lease(store, NAME, "next", 60).holder == "next"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "renew", "release", "wait"]), st.integers(0, 2), st.integers(1, 300)),
        max_size=15,
    )
)
def test_never_two_who_hold_it_by_what_they_know(
    clock: type[Clock], tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("leases")))
    known: dict[int, Lease] = {}
    for action, who, seconds in steps:
        try:
            if action == "wait":
                clock.time += timedelta(seconds=seconds)
            elif action == "ask":
                known[who] = acquire_lease(store, NAME, f"holder {who}", seconds)
            elif who in known:
                if action == "renew":
                    known[who] = known[who].renew(seconds)
                else:
                    known.pop(who).release()
        except LeaseError:
            held = [other for other in known if other != who and clock.time < known[other].end + lease.SKEW]
            # One that had ended may have been taken, and given back, meanwhile.
            assert held or (action == "renew" and clock.time >= known[who].end + lease.SKEW)
            known.pop(who, None)
        assert len([who for who in known if clock.time < known[who].end]) <= 1


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "ä", "a b", "x" * 201])
def test_what_cannot_be_a_name_is_refused(name: str, local_store: Store) -> None:
    for call in (lambda: acquire_lease(local_store, name, "one", 60), lambda: find_lease(local_store, name)):
        with pytest.raises(UserError, match="cannot name a lease"):
            call()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff", b'{"holder": "a", "token": "b", "end": "0001-01-01T00:00:00+23:00"}',
                b'{"holder": 1, "token": "b", "end": "2026-01-01T00:00:00+00:00"}', b'{"holder": "a"}']
)  # fmt: skip
def test_what_is_no_lease_is_refused_by_name(content: bytes, local_store: Store) -> None:
    local_store.put(f"nofrost/leases/{NAME}", content)
    with pytest.raises(UserError, match=f"nofrost/leases/{NAME}"):
        acquire_lease(local_store, NAME, "one", 60)
    assert local_store.get(f"nofrost/leases/{NAME}") == content
