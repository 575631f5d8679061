"""Posts to Kubeflow Trainer: how often they come, who gets them, and that no server can stop or slow the work."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from threading import Event

import pytest

from nofrost.telemetry import progress, trainjob_status
from nofrost.telemetry.trainjob_status import VARIABLES
from tests.cluster.launcher.launched_job import wait_until
from tests.telemetry.trainer import PATH, StatusServer


def test_a_post_comes_at_most_once_in_the_interval_and_only_if_something_changed(
    server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainjob_status, "INTERVAL_S", 0.1)
    began = time.monotonic()
    with progress("train", total=10_000, post_status=True) as work:
        while len(server.posts) < 3:
            work.advance()
            time.sleep(0.001)
        work.advance(9_000 - work.done)
        wait_until(lambda: server.percentages[-1] == 90)
        posts, seconds = len(server.posts), time.monotonic() - began
        time.sleep(0.3)
        assert len(server.posts) == posts
    # One at the start.
    assert posts <= 1 + seconds / 0.1
    assert server.percentages[-1] == 100
    assert server.percentages == sorted(server.percentages)


def test_the_interval_is_five_seconds() -> None:
    assert trainjob_status.INTERVAL_S == 5.0


@pytest.mark.usefixtures("quick")
def test_work_that_fails_is_not_posted_as_done(server: StatusServer) -> None:
    with pytest.raises(RuntimeError), progress("train", total=2, post_status=True) as work:  # noqa: PT012
        work.advance()
        server.wait_for(1)
        raise RuntimeError
    wait_until(lambda: "trainjob-status" not in [thread.name for thread in threading.enumerate()])
    assert 100 not in server.percentages


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [500, 401, 429, 302])
def test_an_error_of_the_server_is_said_once_and_the_posts_go_on(
    server: StatusServer, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainjob_status, "PAUSE_AFTER_ERROR_S", 0.02)
    server.answer = lambda: status
    with progress("train", total=100, post_status=True) as work:
        server.wait_for(3)
        work.advance()
        server.answer = lambda: 200
        server.wait_for(len(server.posts) + 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if "TrainJob" in line]
    assert lines == [
        f"nofrost: the status of the TrainJob cannot be posted (OSError: HTTP {status}): the training continues without"
    ]
    assert server.percentages[-1] == 100
    assert {path for path, _, _ in server.posts} == {PATH}, "the token went elsewhere"


def test_after_an_error_the_posts_pause(server: StatusServer) -> None:
    server.answer = lambda: 500
    with progress("train", total=100, post_status=True) as work:
        server.wait_for(1)
        work.advance()
        time.sleep(0.05)
    assert len(server.posts) == 2, "the first one, and the one at the end"
    assert trainjob_status.PAUSE_AFTER_ERROR_S >= 30


@pytest.mark.usefixtures("quick")
def test_a_server_that_hangs_delays_neither_a_step_nor_the_end(
    server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waits for the server waits far longer than a busy machine takes.
    monkeypatch.setattr(trainjob_status, "TIMEOUT_S", 20.0)
    released = Event()

    def hang() -> int:
        released.wait(120)
        return 200

    server.answer = hang
    started = time.monotonic()
    slowest = 0.0
    with progress("train", total=20_000, post_status=True) as work:
        server.wait_for(1)
        for _ in range(20_000):
            before = time.perf_counter()
            work.advance()
            slowest = max(slowest, time.perf_counter() - before)
    seconds = time.monotonic() - started
    released.set()
    assert slowest < 5
    assert seconds < 10


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str) -> str:
    """Work with another value of a variable; return what is said of it."""
    monkeypatch.setenv(name, value)
    with progress("train", total=2, post_status=True) as work:
        work.advance(2)
    said = [line for line in capsys.readouterr().err.splitlines() if "TrainJob" in line]
    assert len(said) == 1
    return said[0]


@pytest.mark.usefixtures("quick")
def test_a_server_of_another_authority_gets_no_token(
    server: StatusServer, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(monkeypatch, capsys, VARIABLES[1], str(files / "other" / "ca.crt"))
    assert "certificate verify failed" in said
    assert server.posts == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        (0, "http://127.0.0.1:1/status", "not an address of HTTPS"),
        (0, "https://127.0.0.1:1/status", "ConnectionRefusedError"),
        (0, "https://127.0.0.1:x/status", "ValueError"),
        (0, "status", "not an address of HTTPS"),
        (1, "/nowhere/ca.crt", "FileNotFoundError"),
        (2, "/nowhere/token", "FileNotFoundError"),
    ],
)
def test_wrong_variables_are_said_and_the_work_goes_on(
    server: StatusServer,
    variable: int,
    value: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert why in fails(monkeypatch, capsys, VARIABLES[variable], value)
    assert server.posts == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", ["first-secret\nsecond-secret", "first-secret\u20ac"])
def test_a_token_that_is_no_token_is_not_shown(
    server: StatusServer,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "wrong").write_text(content, encoding="utf-8")
    assert "secret" not in fails(monkeypatch, capsys, VARIABLES[2], str(tmp_path / "wrong"))
    assert server.posts == []


@pytest.mark.usefixtures("quick")
def test_a_token_that_is_replaced_is_read_again(server: StatusServer, tmp_path: Path) -> None:
    with progress("train", total=2, post_status=True) as work:
        server.wait_for(1)
        (tmp_path / "token").write_text("the-next-token")
        work.advance()
    assert server.posts[-1][1]["Authorization"] == "Bearer the-next-token"


@pytest.mark.parametrize("missing", VARIABLES)
def test_nothing_is_posted_without_all_three_variables(
    server: StatusServer, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(missing)
    with progress("train", total=2, post_status=True) as work:
        work.advance(2)
    assert server.posts == []
    assert re.fullmatch(r"train: done in [\d.]+ s\n", capsys.readouterr().err)


def test_work_that_is_not_that_of_the_job_is_not_posted(server: StatusServer) -> None:
    with progress("pull", total=2) as work:
        work.advance(2)
    assert server.posts == []
