"""Transfers over a bad network: passing faults are repeated, lasting ones end in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import Store, open_store, pull, push, verify
from nofrost.store.local_file import LocalFile
from tests.child_process import running

pytestmark = pytest.mark.slow

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def store(line: Any, moto: str) -> Store:
    return open_store(moto)


def first(count: int, fault: str, method: str) -> Callable[[str, str], str]:
    """Return a fault that strikes the first `count` requests for each object."""
    times: Counter[str] = Counter()

    def strike(asked: str, path: str) -> str:
        if asked != method or "files/md5/" not in path or "list-type" in path:
            return ""
        times[path] += 1
        return fault if times[path] <= count else ""

    return strike


@pytest.mark.parametrize("fault", ["SlowDown", "InternalError", "RequestTimeout", "drop"])
def test_a_push_recovers_from(fault: str, store: Store, line: Any, folder: Path) -> None:
    line.fault = first(3, fault, "PUT")
    ref = push(folder, store)
    line.fault = lambda method, path: ""
    verify(ref, store)


@pytest.mark.parametrize("fault", ["SlowDown", "InternalError", "cut"])
def test_a_pull_recovers_from(
    fault: str, store: Store, line: Any, folder: Path, tmp_path: Path, contents: Contents
) -> None:
    ref = push(folder, store)
    line.fault = first(3, fault, "GET")
    pull(ref, tmp_path / "back", store)
    assert contents(tmp_path / "back") == contents(folder)


REQUESTS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put("nofrost/runs/a.json", b"content"),
    "get": lambda store: store.get("nofrost/runs/there.json"),
    "list": lambda store: store.names("nofrost/"),
    "size": lambda store: store.sizes(["0" * 32]),
    "delete": lambda store: store.delete(["nofrost/runs/there.json"]),
}


@pytest.mark.parametrize("fault", ["SlowDown", "ServiceUnavailable", "InternalError", "BadGateway", "drop", "reset"])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_request_recovers_from(request_name: str, fault: str, store: Store, line: Any) -> None:
    store.put("nofrost/runs/there.json", b"content")
    strikes = iter([fault] * 4)
    line.fault = lambda method, path: next(strikes, "")
    REQUESTS[request_name](store)
    assert next(strikes, None) is None, "all faults have struck"
    line.fault = lambda method, path: ""
    assert store.names("nofrost/runs/") == {
        "put": ["nofrost/runs/a.json", "nofrost/runs/there.json"],
        "delete": [],
    }.get(request_name, ["nofrost/runs/there.json"])


@pytest.mark.parametrize("fault", ["SlowDown", "InternalError", "drop", "reset"])
def test_the_first_request_recovers_from(fault: str, line: Any, moto: str) -> None:
    strikes = iter([fault] * 2)
    line.fault = lambda method, path: next(strikes, "")
    assert open_store(moto).names("") == []
    assert next(strikes, None) is None


@pytest.mark.parametrize("fault", ["SlowDown", "reset"])
def test_a_store_that_is_patient_repeats_a_request_more_often_and_not_for_ever(
    fault: str, line: Any, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, other = open_store(moto, patient=True), open_store(moto)
    patient.put("name", b"content")
    assert other.get("name") == b"content"
    for attempts, store in ((12, patient), (5, other)):
        strikes = iter([fault] * (attempts - 1))
        line.fault = lambda method, path, strikes=strikes: next(strikes, "")
        assert store.get("name") == b"content"
        line.seen.clear()
        line.fault = lambda method, path: fault
        with pytest.raises(UserError):
            store.get("name")
        assert len(line.seen) == attempts
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    line.fault = lambda method, path: "" if "list-type" in path else fault
    line.seen.clear()
    with pytest.raises(UserError):
        open_store(moto, patient=True).get("name")
    assert len(line.seen) == 1 + 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [("SlowDown", 1), ("InternalError", 1), ("BadGateway", 1), ("drop", 1), ("AccessDenied", 2), ("NoSuchBucket", 2)],
)
def test_only_a_mistake_ends_with_the_exit_code_of_one(fault: str, code: int, store: Store, line: Any) -> None:
    """A run that failed because of a server may be started again; after a mistake that would be in vain."""
    store.put("name", b"content")
    line.fault = lambda method, path: fault
    with pytest.raises(UserError) as error:
        store.get("name")
    assert error.value.exit_code == code


def test_a_download_that_is_cut_continues_where_it_was(store: Store, line: Any, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    ref = push(path, store)
    line.seen.clear()
    line.fault = first(1, "cut", "GET")
    pull(ref, tmp_path / "back", store)
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert [asked for method, _, asked in line.seen if method == "GET"] == ["", "bytes=1500000-2999999"]


@pytest.mark.parametrize(
    ("fault", "method"), [("SlowDown", "PUT"), ("reset", "PUT"), ("SlowDown", "POST"), ("reset", "POST")]
)
def test_large_files_recover_part_by_part(fault: str, method: str, store: Store, line: Any, tmp_path: Path) -> None:
    """By POST an upload begins and ends."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 << 20))
    line.fault = first(1, fault, method)
    ref = push(path, store)
    line.fault = lambda method, path: ""
    verify(ref, store)


def test_content_that_arrives_altered_is_downloaded_again(
    store: Store, line: Any, folder: Path, tmp_path: Path, contents: Contents
) -> None:
    ref = push(folder, store)
    bad = LocalFile.of(folder / "larger.bin").md5
    for fault in ("alter", "shorten"):
        strike = first(1, fault, "GET")
        line.fault = lambda method, path, strike=strike: strike(method, path) if path.endswith(bad[2:]) else ""
        pull(ref, tmp_path / fault, store)
        assert contents(tmp_path / fault) == contents(folder)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "SlowDown",
            r"the server is busy, after several attempts: try again later, what was pushed is kept \(SlowDown\)",
        ),
        ("drop", "the connection was cut: check the endpoint and the network, then run this again"),
        ("AccessDenied", r"access is denied: ask for s3:ListBucket .* \(AccessDenied\)"),
        ("ExpiredToken", r"the session token has expired: get new credentials, then run this again \(ExpiredToken\)"),
        ("QuotaExceeded", r"the quota is used up: free space in the bucket or ask for more \(QuotaExceeded\)"),
        ("SomethingNew", r"the server refuses: look this code up \(SomethingNew\)"),
    ],
)
def test_a_lasting_fault_ends_in_one_sentence_and_pushed_objects_are_kept(
    fault: str, sentence: str, store: Store, line: Any, folder: Path
) -> None:
    good = LocalFile.of(folder / "a").md5
    line.fault = lambda method, path: fault if method == "PUT" and not path.endswith(good[2:]) else ""
    with pytest.raises(UserError, match=f"^cannot use s3://bucket/[0-9a-f]+ at http://127.0.0.1:[0-9]+: {sentence}$"):
        push(folder, store)
    assert len(store.names("")) <= 1
    line.fault = lambda method, path: ""
    verify(push(folder, store), store)


def test_a_pull_with_a_lasting_fault_ends_in_one_sentence(
    store: Store, line: Any, folder: Path, tmp_path: Path, contents: Contents
) -> None:
    ref = push(folder, store)
    bad = LocalFile.of(folder / "larger.bin").md5
    for fault, sentence in (
        ("drop", "the connection was cut: check the endpoint"),
        ("SlowDown", "the server is busy"),
        ("alter", f"object {bad} in .* is altered or cut off: delete it"),
    ):
        line.fault = lambda method, path, fault=fault: fault if path.endswith(bad[2:]) else ""
        with pytest.raises(UserError, match=sentence):
            pull(ref, tmp_path / "back", store)
        assert not (tmp_path / "back").exists()
    line.fault = lambda method, path: ""
    pull(ref, tmp_path / "back", store)
    assert contents(tmp_path / "back") == contents(folder)


def test_a_part_that_fails_leaves_no_unfinished_upload(store: Store, line: Any, tmp_path: Path) -> None:
    import boto3

    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 << 20))
    line.fault = lambda method, path: "SlowDown" if "partNumber=3" in path else ""
    with pytest.raises(UserError, match="the server is busy"):
        push(path, store)
    assert "Uploads" not in boto3.Session().client("s3").list_multipart_uploads(Bucket="bucket")


def test_no_thread_outlives_an_error(store: Store, line: Any, folder: Path) -> None:
    line.fault = first(99, "AccessDenied", "PUT")
    with pytest.raises(UserError):
        push(folder, store)
    for thread in [thread for thread in threading.enumerate() if thread.name == "store"]:
        thread.join(120)
        assert not thread.is_alive()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_push_to_a_server_that_does_not_answer(signum: int, line: Any, moto: str, folder: Path) -> None:
    line.fault = lambda method, path: "hang" if method == "PUT" else ""
    script = (
        "import signal, sys; from pathlib import Path; from nofrost.store import open_store, push\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"push(Path({str(folder)!r}), open_store({moto!r}))"
    )
    with running([sys.executable, "-c", script], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not any(method == "PUT" for method, *_ in line.seen):
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signum)
        begin = time.monotonic()
        process.communicate(timeout=120)
        assert time.monotonic() - begin < 50
        assert process.returncode == (143 if signum == signal.SIGTERM else -signal.SIGINT)
