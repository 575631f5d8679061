"""A process that is stopped, vanished or never came is named; no one waits for it forever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from torch.distributed import HashStore

from nofrost import rendezvous
from nofrost.errors import PeerLostError
from nofrost.heartbeat import Heartbeat
from nofrost.ranks import Node, ProcessRank
from nofrost.rendezvous import Member
from pipelines.local_nodes import free_port
from tests.child_process import running

MEMBER = """
import sys, time
from nofrost import rendezvous, processes
from nofrost.errors import ReportedError

rendezvous.HEARTBEAT_S, rendezvous.WARNED_AFTER, rendezvous.LOST_AFTER, rendezvous.LATE_AFTER = 0.05, 20, 80, 40
try:
    with processes.ProcessGroup.joined("start again") as group:
        group.barrier()
        print("joined", flush=True)
        if group.rank == int(sys.argv[1]):
            sys.stdin.readline()
        group.barrier()
    with processes.ProcessGroup.joined("start again") as group:
        group.barrier()
except ReportedError as error:
    error.exit()
"""


@contextmanager
def members(*ranks: int, size: int, slow: int, port: int | None = None) -> Iterator[list[subprocess.Popen[str]]]:
    """Start these ranks; the one called `slow` reads a line before it goes on. All have ended after the block."""
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port())}
    with ExitStack() as stack:
        started = []
        for rank in ranks:
            process = running(
                [sys.executable, "-c", MEMBER, str(slow)],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(stack.enter_context(process))
        yield started


def join(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "joined\n"


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_process_is_named_and_not_waited_for_for_ever(stopped: int) -> None:
    with members(0, 1, size=2, slow=stopped) as processes:
        join(*processes)
        other = processes[1 - stopped]
        processes[stopped].send_signal(signal.SIGSTOP)
        _, errors = other.communicate(timeout=60)
        assert other.returncode == 200
        first, second = (line for line in errors.splitlines() if line.startswith("nofrost: "))
        assert f"process {stopped} of 2 has given no sign of life" in first
        assert f"process {stopped} of 2 has given no sign of life" in second
        assert second.endswith("start again")
        processes[stopped].send_signal(signal.SIGCONT)
        processes[stopped].communicate("\n", timeout=60)
        assert processes[stopped].returncode == 200, "one that comes back finds that the others have gone"


@pytest.mark.slow
def test_processes_that_are_all_stopped_for_long_or_slow_go_on() -> None:
    with members(0, 1, size=2, slow=1) as processes:
        join(*processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        time.sleep(5)
        _, slow = processes[1].communicate("\n", timeout=60)
        _, other = processes[0].communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0], other + slow


@pytest.mark.slow
def test_a_killed_process_is_reported_by_those_that_are_left() -> None:
    for killed in (0, 1):
        with members(0, 1, size=2, slow=killed) as processes:
            join(*processes)
            processes[killed].kill()
            _, errors = processes[1 - killed].communicate(timeout=60)
            assert processes[1 - killed].returncode == 200
            assert errors.splitlines()[-1].startswith("nofrost: ")
            assert "start again" in errors


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_never_comes_is_named(rank: int) -> None:
    with members(rank, size=2, slow=0) as processes:
        _, errors = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 200
    assert f"process {1 - rank} of 2 has not started" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with members(0, size=2, slow=0, port=listener.getsockname()[1]) as processes:
            _, errors = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 2
    assert "MASTER_PORT" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_an_address_that_refuses_at_once_is_tried_for_as_long_as_the_error_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such host")

    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(rendezvous, "TCPStore", refuse)
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(rendezvous, "LATE_AFTER", 40)
    begin = time.monotonic()
    with pytest.raises(PeerLostError, match=r"process 0 of 2 has not started within 0\.4 s or cannot be reached"):
        rendezvous.open_store(Member.of_process(ProcessRank(1, 2, 1)))
    assert time.monotonic() - begin >= 0.3
    assert capsys.readouterr().err.count("waits for process 0") == 1


def test_a_server_that_accepts_and_is_silent_is_waited_for_as_one_that_has_not_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(rendezvous, "LATE_AFTER", 40)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        node = Node(1, 2, "127.0.0.1", listener.getsockname()[1])
        with pytest.raises(PeerLostError, match=r"node 0 of 2 has not started within 0\.8 s or cannot be reached at"):
            rendezvous.open_store(Member.of_node(node))
    assert capsys.readouterr().err.count("waits for node 0") == 1


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70])
def test_a_name_that_does_not_resolve_is_soon_said(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", host)
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(rendezvous, "LATE_AFTER", 20)
    with pytest.raises(
        PeerLostError, match=rf"{host}.*MASTER_ADDR.* has not resolved within 0\.4 s \(\w+: .*correct it"
    ):
        rendezvous.open_store(Member.of_process(ProcessRank(0, 2, 0)))
    said = capsys.readouterr().err
    assert f"process 0 of 2 waits: the name '{host}'" in said
    assert said.count("\n") == 1


def test_a_name_that_resolves_later_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([socket.gaierror(-2, "Name or service not known")] * 10)

    def look_up(*_: object) -> None:
        for error in answers:
            raise error

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.02)
    rendezvous._await_name(Member(1, 2, "worker-0", 1))
    assert not list(answers)
    assert "'worker-0'" in capsys.readouterr().err


def test_a_process_that_has_come_is_waited_for_as_long_as_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    store = rendezvous.open_store(Member.of_process(ProcessRank()))
    assert store.timeout.total_seconds() == store.clone().timeout.total_seconds() == 40


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize(("ends", "told"), [("leaves", None), ("fails", "process 1 of 2 has ended by an error")])
def test_one_that_fails_is_missed_though_it_gives_a_last_sign(
    ends: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    shared, lost = HashStore(), []
    first = Heartbeat(shared, Member(0, 2, "127.0.0.1", 1), lost.append)
    second = Heartbeat(shared, Member(1, 2, "127.0.0.1", 1), lost.append)
    first.all_have_started = second.all_have_started = True
    wait_until(lambda: first.states and second.states)
    second.leave("failed" if ends == "fails" else "left")
    if told:
        wait_until(lambda: lost)
    else:
        time.sleep(0.3)
    first.leave()
    assert lost[:1] == ([told] if told else [])


def test_what_a_member_says_may_hold_names_that_are_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    shared, lost = HashStore(), []
    first = Heartbeat(shared, Member(0, 2, "127.0.0.1", 1), lost.append)
    second = Heartbeat(shared, Member(1, 2, "127.0.0.1", 1), lost.append)
    second.state = "end 2 cannot read \udcff"
    wait_until(lambda: first.states == {1: "end 2 cannot read \\udcff"})
    assert second.missed(0) < 20
    second.leave()
    first.leave()
    assert not lost


class _Counting:
    """A store that counts requests."""

    def __init__(self, store: HashStore) -> None:
        self.store, self.requests = store, 0

    def __getattr__(self, name: str) -> Any:
        self.requests += 1
        return getattr(self.store, name)


@pytest.mark.parametrize("size", [2, 50])
def test_a_beat_costs_the_store_as_many_requests_for_any_number_of_members(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    store = _Counting(HashStore())
    for other in range(1, size):
        store.store.set(f"heartbeat/{other}", "1 ")
    heartbeat = Heartbeat(store, Member(0, size, "127.0.0.1", 1), lambda _: None)
    began = time.monotonic()
    time.sleep(0.2)
    heartbeat.leave()
    beats = (time.monotonic() - began) / 0.01 + 1
    assert 0 < store.requests <= 2 * beats + 4


def test_the_first_node_needs_no_way_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its name may not lead to it yet, as after a restart of its pod.
    monkeypatch.setattr(rendezvous, "WARNED_AFTER", 1)
    begin = time.monotonic()
    store = rendezvous.open_store(Member.of_node(Node(0, 2, "192.0.2.1", free_port())))
    assert time.monotonic() - begin < 100
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(rendezvous, "LATE_AFTER", 10)
    with pytest.raises(PeerLostError, match="node 1 of 2 has not started"):
        rendezvous.barrier(Member.of_node(Node(0, 2, "192.0.2.1", 1)), store)


def test_a_member_of_whom_there_was_no_sign_is_missed_only_when_all_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(rendezvous, "LOST_AFTER", 10)
    lost: list[str] = []
    alone = Heartbeat(HashStore(), Member(0, 2, "127.0.0.1", 1), lost.append)
    time.sleep(0.3)
    assert not lost
    alone.all_have_started = True
    wait_until(lambda: lost)
    alone.leave()
    assert lost[0].startswith("process 1 of 2 has given no sign of life for 0.1")
