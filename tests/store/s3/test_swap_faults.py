"""Compare-and-swap over a bad network, and on servers that do not obey conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nofrost.errors import UnavailableError
from nofrost.store import Store, SwapError, claims, open_store

NAME = "nofrost/one/object"
PASSING = ["ConditionalRequestConflict", "SlowDown", "InternalError", "RequestTimeout", "drop", "lose"]
SERVERS = pytest.mark.parametrize("server", ["moto", "s3"])


@pytest.fixture
def store(server: str, request: pytest.FixtureRequest) -> Store:
    """A store on a server of this kind, at the end of a line."""
    url = request.getfixturevalue(server)
    request.getfixturevalue("line")
    return open_store(url)


def writes(count: int, fault: str, meanwhile: Callable[[], object] = lambda: None) -> Callable[[str, str], str]:
    """Return a fault that strikes the first `count` writes of the object; before the second one comes `meanwhile`."""
    seen: list[str] = []

    def strike(method: str, path: str) -> str:
        if method != "PUT" or not path.endswith(NAME):
            return ""
        seen.append(path)
        if len(seen) == 2:
            meanwhile()
        return fault if len(seen) <= count else ""

    return strike


@SERVERS
@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_not_a_swap_that_was_lost(fault: str, store: Store, line: Any) -> None:
    line.fault = writes(2, fault)
    first = store.swap(NAME, b"first", None)
    assert store.version(NAME) == (b"first", first)
    line.fault = writes(2, fault)
    second = store.swap(NAME, b"second", first)
    assert store.version(NAME) == (b"second", second)


@SERVERS
@pytest.mark.parametrize("fault", ["ConditionalRequestConflict", "SlowDown", "drop"])
def test_who_is_overtaken_between_two_attempts_is_told(fault: str, store: Store, line: Any) -> None:
    other = open_store(store.url)

    def overtake() -> None:
        line.fault = lambda method, path: ""
        version = other.version(NAME)
        other.swap(NAME, b"other", version.tag if version else None)

    line.fault = writes(1, fault, overtake)
    with pytest.raises(SwapError):
        store.swap(NAME, b"first", None)
    version = other.version(NAME)
    assert version is not None
    line.fault = writes(1, fault, lambda: (setattr(line, "fault", lambda *_: ""), other.put(NAME, b"another")))
    with pytest.raises(SwapError):
        store.swap(NAME, b"second", version.tag)
    assert other.get(NAME) == b"another"


@pytest.mark.parametrize("server", ["moto"])
@pytest.mark.parametrize("fault", PASSING[:-1])
def test_a_lasting_fault_is_not_a_swap_that_was_lost(fault: str, store: Store, line: Any) -> None:
    line.fault = writes(999, fault)
    with pytest.raises(UnavailableError):
        store.swap(NAME, b"first", None)
    assert store.version(NAME) is None


@pytest.mark.parametrize("server", ["moto"])
@pytest.mark.parametrize("removed", [("if-match", "if-none-match"), ("if-match",), ("if-none-match",)])
def test_a_server_that_does_not_obey_is_found_out_and_swaps_all_the_same(
    removed: tuple[str, ...],
    store: Store,
    line: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line.removed = removed
    monkeypatch.setattr(claims, "_PAUSE_S", 0.01)
    first = store.swap(NAME, b"first", None)
    assert store.url in capsys.readouterr().err
    with pytest.raises(SwapError):
        store.swap(NAME, b"other", None)
    store.swap(NAME, b"second", first)
    with pytest.raises(SwapError):
        store.swap(NAME, b"other", first)
    assert store.names("") == [NAME]
    assert not store.obeys_conditions()
    assert capsys.readouterr().err == "", "it is said once"


def test_a_server_that_takes_etags_with_and_without_quotes_gets_them_as_they_are(moto: str) -> None:
    from nofrost.store.s3 import S3Store

    store = open_store(moto)
    assert isinstance(store, S3Store)
    assert store.probe_conditions() == (True, True, True)


@pytest.mark.parametrize("server", ["moto"])
def test_a_lost_answer_to_the_probe_is_not_a_server_that_does_not_obey(
    store: Store, line: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lost: list[str] = []

    def lose_once(method: str, path: str) -> str:
        if method == "PUT" and "/probes/" in path and not lost:
            lost.append(path)
            return "lose"
        return ""

    line.fault = lose_once
    assert store.obeys_conditions()
    assert lost
    assert capsys.readouterr().err == ""
