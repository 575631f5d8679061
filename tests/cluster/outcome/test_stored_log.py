"""The log of a job in the store: no line lost or twice, whatever becomes of launchers and of the store."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nofrost.cluster.outcome.log_lines import LogPosition, text_of
from nofrost.cluster.outcome.stored_log import StoredLog, job_output_name, log_prefix, read_log, read_output
from nofrost.errors import UserError
from nofrost.store import Store, open_store
from tests.cluster.outcome.pieces import stored_lines


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def line(second: int, text: str) -> bytes:
    return f"2026-01-02T03:04:{second:02}.123456789Z {text}".encode()


def texts(store: Store) -> list[str]:
    return stored_lines(store, "j")


def test_pieces_are_of_bounded_size_and_name_their_pod(store: Store) -> None:
    log = StoredLog("j", store, piece=200)
    log.begin("pod-0", "uid-0")
    for number in range(20):
        log.append(line(number, f"line {number}"))
    log.close()
    names = store.names(log_prefix("j"))
    assert [name.partition("-")[0] for name in names] == [f"nofrost/jobs/j/log/{n:06}" for n in range(len(names))]
    assert len(names) > 3
    assert all(len(store.get(name)) < 300 for name in names)
    assert all(store.get(name).startswith(b"# pod pod-0 uid-0\n") for name in names)
    assert texts(store) == [f"line {number}" for number in range(20)]


def test_a_line_is_in_the_store_soon_though_nothing_follows(store: Store) -> None:
    log = StoredLog("j", store, flush_s=0.02)
    log.append(line(1, "the only line"))
    end = time.monotonic() + 120
    while texts(store) != ["the only line"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    log.close()


def test_the_next_launcher_goes_on_where_the_last_piece_ends(store: Store) -> None:
    first = StoredLog("j", store, piece=100)
    first.begin("pod-0", "uid-0")
    first.append(line(1, "a"))
    first.append(line(2, "b"))
    first.close()
    second = StoredLog("j", store, piece=100)
    assert (second.position.uid, second.position.second) == ("uid-0", "2026-01-02T03:04:02Z")
    second.position.begin_again()
    again = [line(2, "b"), line(2, "b"), line(3, "c")]
    for each in again:
        if second.position.take(each):
            second.append(each)
    second.close()
    assert texts(store) == ["a", "b", "b", "c"]


def test_the_lines_of_one_second_in_two_pieces_come_once(store: Store) -> None:
    first = StoredLog("j", store, piece=200)
    first.begin("pod-0", "uid-0")
    lines = [line(1, f"line {number}") for number in range(6)]
    for each in lines:
        first.append(each)
    first.close()
    assert len(store.names(log_prefix("j"))) == 2
    second = StoredLog("j", store, piece=200)
    second.position.begin_again()
    for each in [*lines, line(1, "the next")]:
        if second.position.take(each):
            second.append(each)
    second.close()
    assert texts(store) == [*(f"line {number}" for number in range(6)), "the next"]


def test_a_store_that_refuses_for_a_while_gets_everything_afterwards(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put
    monkeypatch.setattr(store, "put", refuse)
    log = StoredLog("j", store, piece=100)
    for number in range(6):
        log.append(line(number, "x" * 40))
        log.flush()
    monkeypatch.setattr(store, "put", put)
    log.close()
    assert texts(store) == ["x" * 40] * 6
    assert capsys.readouterr().err.count("the log of the job is not in the store yet: the disk is full") == 1


def test_a_store_that_is_slower_than_the_log_gets_everything(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    log = StoredLog("j", store, piece=100)
    for number in range(60):
        log.append(line(number, f"{number} {'x' * 40}"))
    assert log.close()
    assert texts(store) == [f"{number} {'x' * 40}" for number in range(60)]
    assert capsys.readouterr().err == ""


def test_a_store_that_never_answers_costs_old_pieces_and_no_memory(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "put", refuse)
    log = StoredLog("j", store, piece=100)
    for number in range(40):
        log.append(line(number, "x" * 40))
    log.close()
    assert "bytes of the log are lost" in capsys.readouterr().err


def refuse(name: str, content: bytes) -> None:
    raise UserError("the disk is full")


def test_a_log_of_something_else_is_left_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put(f"{log_prefix('j')}last", b"not ours")
    log = StoredLog("j", store)
    log.append(line(1, "a"))
    log.close()
    assert store.get(f"{log_prefix('j')}last") == b"not ours"
    assert "cannot be continued" in capsys.readouterr().err


def test_two_that_write_at_once_lose_nothing_and_are_read_once(store: Store) -> None:
    """As the reaper and a launcher that adopts the job meanwhile: the slower one ends last."""
    lines = [line(number, f"line {number}") for number in range(12)]
    slow = StoredLog("j", store, piece=200)
    slow.begin("pod-0", "uid-0")
    for each in lines[:3]:
        slow.append(each)
    slow.flush()
    quick = StoredLog("j", store, piece=200)
    for each in lines[3:10]:
        quick.append(each)
    quick.close()
    for each in lines[3:6]:
        slow.append(each)
    slow.close()
    last = StoredLog("j", store, piece=200)
    for each in lines[6:]:
        last.append(each)
    last.close()
    assert sorted(set(texts(store))) == sorted(f"line {number}" for number in range(12))
    assert len(texts(store)) > 12
    assert list(read_log("j", store)) == [f"line {number}" for number in range(12)]


def test_the_same_line_of_two_pods_is_read_twice(store: Store) -> None:
    for pod in ("pod-0", "pod-1"):
        log = StoredLog("j", store)
        log.begin(pod, f"uid of {pod}")
        log.append(line(1, "a"))
        log.append(line(1, "a"))
        log.close()
    assert list(read_log("j", store)) == ["a"] * 4


def test_equal_lines_of_one_moment_count_one_by_one() -> None:
    position = LogPosition()
    assert [position.take(line(1, "a")) for _ in range(3)] == [True, True, True]
    position.begin_again()
    assert [position.take(line(1, "a")) for _ in range(4)] == [False, False, False, True]
    assert position.take(line(2, "a"))
    position.begin_again()
    assert [position.take(line(2, "a")), position.take(line(2, "a"))] == [False, True]


def test_lines_without_a_time_come_once() -> None:
    position = LogPosition("u")
    text = b"unable to retrieve container logs"
    assert position.take(text)
    position.begin_again()
    assert not position.take(text)
    assert text_of(text) == text.decode()
    assert text_of(line(1, "a b")) == "a b"
    assert text_of(b"2026-01-02T03:04:05+01:00 x") == "x"


def test_the_output(store: Store) -> None:
    store.put("nofrost/x", b"")
    assert read_output("j", store) is None
    store.put(job_output_name("j"), b"a@b\n")
    assert read_output("j", store) == "a@b"
