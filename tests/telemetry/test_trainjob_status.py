"""Posts to Kubeflow Trainer: what they say, how often they come, and that no server can stop or slow the work."""

from __future__ import annotations

import json
import math
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from nofrost import train
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.config import recipe_of
from nofrost.telemetry import Progress, display, progress, trainjob_status
from nofrost.telemetry.trainjob_status import VARIABLES, trainer_status
from tests.cluster.job.crd import errors, needs_crds
from tests.cluster.job.jobs import job

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/research/trainjobs/nofrost-sat/status"


class Server:
    """The status server of Kubeflow Trainer.

    Attributes:
        answer: called for each request; returns the status to answer with. It may wait.
        posts: path, headers and body of each request, in order.
        times: when each came, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.answer: Callable[[], int] = lambda: 200
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        self.times: list[float] = []

    @property
    def percentages(self) -> list[int]:
        return [body["trainerStatus"]["progressPercentage"] for _, _, body in self.posts]

    def wait_for(self, posts: int) -> None:
        until = time.monotonic() + 20
        while len(self.posts) < posts:
            assert time.monotonic() < until, f"{len(self.posts)} posts of {posts}"
            time.sleep(0.005)


class Handler(BaseHTTPRequestHandler):
    server_double: Server

    def do_POST(self) -> None:
        double = self.server_double
        double.times.append(time.monotonic())
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        double.posts.append((self.path, dict(self.headers), body))
        status = double.answer()
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status // 100 == 3:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine; return its path and that of its key."""
    paths = folder / "ca.crt", folder / "key"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=127.0.0.1")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1])
    subprocess.run((*command, *names), check=True, capture_output=True)
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Trainer mounts into a container, and in `other` the certificate of another authority."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("trainer")
    certificate(folder)
    (folder / "other").mkdir()
    certificate(folder / "other")
    return folder


@pytest.fixture
def server(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that this process finds as a container of a TrainJob does."""
    double = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "ca.crt", files / "key")
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisServer", (Handler,), {"server_double": double}))
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    (tmp_path / "token").write_text("token-of-the-pod\n")
    url = f"https://127.0.0.1:{listener.server_port}{PATH}"
    for name, value in zip(VARIABLES, (url, str(files / "ca.crt"), str(tmp_path / "token")), strict=True):
        monkeypatch.setenv(name, value)
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield double
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the intervals."""
    for name in ("INTERVAL_S", "PAUSE_AFTER_ERROR_S", "TIMEOUT_S", "LONGEST_END_S"):
        monkeypatch.setattr(trainjob_status, name, getattr(trainjob_status, name) / 100)
    monkeypatch.setattr(trainjob_status, "TIMEOUT_S", 0.3)


def test_the_body_is_the_status_of_a_trainer(server: Server) -> None:
    with progress("train", total=200, done=50, post_status=True) as work:
        work.measured(epoch=3, epochs=12, loss=1.23456789)
        work.advance(25)
    path, headers, body = server.posts[-1]
    status = body["trainerStatus"]
    assert path == PATH
    assert headers["Authorization"] == "Bearer token-of-the-pod"
    assert headers["Content-Type"] == "application/json"
    assert set(body) == {"trainerStatus"}
    assert set(status) == {"progressPercentage", "estimatedRemainingSeconds", "metrics", "lastUpdatedTime"}
    assert status["progressPercentage"] == 100
    assert status["estimatedRemainingSeconds"] == 0
    assert status["metrics"] == [
        {"name": "epoch", "value": "3"},
        {"name": "epochs", "value": "12"},
        {"name": "loss", "value": "1.23457"},
    ]
    posted = datetime.fromisoformat(status["lastUpdatedTime"])
    assert abs((datetime.now(UTC) - posted).total_seconds()) < 60


@pytest.mark.parametrize(
    ("total", "done", "percentage"), [(200, 0, 0), (200, 99, 49), (200, 200, 99), (200, 400, 99), (0, 0, 0)]
)
def test_the_percentage_is_within_its_limits_and_100_only_at_the_end(total: int, done: int, percentage: int) -> None:
    assert trainer_status(Progress(total, done), is_complete=False)["progressPercentage"] == percentage
    assert trainer_status(Progress(total, done), is_complete=True)["progressPercentage"] == 100


def test_the_time_left_is_that_of_this_run_and_fits_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(display, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    work = Progress(100, 80)
    assert "estimatedRemainingSeconds" not in trainer_status(work, is_complete=False)
    now[0] = 50.0
    work.advance(5)
    assert trainer_status(work, is_complete=False)["estimatedRemainingSeconds"] == 150
    now[0] = 1e12
    assert trainer_status(work, is_complete=False)["estimatedRemainingSeconds"] == 2**31 - 1


def test_figures_of_any_size_are_numbers_of_few_digits() -> None:
    work = Progress(1)
    work.measured(**{"n" * 100: 1e300, "loss": math.nan, "lr": -1 / 3})
    metrics = trainer_status(work, is_complete=False)["metrics"]
    assert [metric["value"] for metric in metrics] == ["nan", "-0.333333", "1e+300"]


@needs_crds
@pytest.mark.parametrize("is_complete", [False, True])
def test_the_status_is_valid_by_the_definition_of_a_trainjob(is_complete: bool) -> None:
    work = Progress(10, 2)
    work.measured(**{"n" * 100: 1e300, "loss": math.nan, **{f"figure_{number}": 0.1 for number in range(100)}})
    work.advance(3)
    status = {"trainerStatus": trainer_status(work, is_complete=is_complete)}
    assert errors("trainjobs", as_trainjob(job()) | {"status": status}) == []
    status["trainerStatus"]["progressPercentage"] = 101
    assert errors("trainjobs", as_trainjob(job()) | {"status": status}) != []


def test_a_post_comes_at_most_once_in_the_interval_and_only_if_something_changed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainjob_status, "INTERVAL_S", 0.1)
    with progress("train", total=1000, post_status=True) as work:
        until = time.monotonic() + 0.55
        while time.monotonic() < until:
            work.advance()
            time.sleep(0.001)
        time.sleep(0.15)
        posts = len(server.posts)
        time.sleep(0.25)
        assert len(server.posts) == posts
    assert 2 <= posts <= 7
    gaps = [later - earlier for earlier, later in zip(server.times[:posts], server.times[1:posts], strict=False)]
    assert min(gaps) > 0.095
    assert server.percentages[-1] == 100
    assert server.percentages == sorted(server.percentages)


def test_the_interval_is_five_seconds() -> None:
    assert trainjob_status.INTERVAL_S == 5.0


@pytest.mark.usefixtures("quick")
def test_work_that_fails_is_not_posted_as_done(server: Server) -> None:
    with pytest.raises(RuntimeError), progress("train", total=2, post_status=True) as work:  # noqa: PT012
        work.advance()
        server.wait_for(1)
        raise RuntimeError
    time.sleep(0.1)
    assert 100 not in server.percentages


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [500, 401, 429, 302])
def test_an_error_of_the_server_is_said_once_and_the_posts_go_on(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
        f"nofrost: the status of the TrainJob cannot be posted (OSError: HTTP {status}): the training goes on without"
    ]
    assert server.percentages[-1] == 100
    assert {path for path, _, _ in server.posts} == {PATH}, "the token went elsewhere"


def test_after_an_error_the_posts_pause(server: Server) -> None:
    server.answer = lambda: 500
    with progress("train", total=100, post_status=True) as work:
        server.wait_for(1)
        work.advance()
        time.sleep(0.05)
    assert len(server.posts) == 2, "the first one, and the one at the end"
    assert trainjob_status.PAUSE_AFTER_ERROR_S >= 30


@pytest.mark.usefixtures("quick")
def test_a_server_that_hangs_delays_neither_a_step_nor_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever waits for the server waits far longer than a busy machine takes.
    monkeypatch.setattr(trainjob_status, "TIMEOUT_S", 20.0)
    released = Event()

    def hang() -> int:
        released.wait(20)
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
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(monkeypatch, capsys, VARIABLES[1], str(files / "other" / "ca.crt"))
    assert "certificate verify failed" in said
    assert server.posts == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        (0, "http://127.0.0.1:1/status", "no address of HTTPS"),
        (0, "https://127.0.0.1:1/status", "ConnectionRefusedError"),
        (0, "https://127.0.0.1:x/status", "ValueError"),
        (0, "status", "no address of HTTPS"),
        (1, "/nowhere/ca.crt", "FileNotFoundError"),
        (2, "/nowhere/token", "FileNotFoundError"),
    ],
)
def test_wrong_variables_are_said_and_the_work_goes_on(
    server: Server,
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
    server: Server, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong").write_text(content, encoding="utf-8")
    assert "secret" not in fails(monkeypatch, capsys, VARIABLES[2], str(tmp_path / "wrong"))
    assert server.posts == []


@pytest.mark.usefixtures("quick")
def test_a_token_that_is_replaced_is_read_again(server: Server, tmp_path: Path) -> None:
    with progress("train", total=2, post_status=True) as work:
        server.wait_for(1)
        (tmp_path / "token").write_text("the-next-token")
        work.advance()
    assert server.posts[-1][1]["Authorization"] == "Bearer the-next-token"


@pytest.mark.parametrize("missing", VARIABLES)
def test_nothing_is_posted_without_all_three_variables(
    server: Server, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(missing)
    with progress("train", total=2, post_status=True) as work:
        work.advance(2)
    assert server.posts == []
    assert re.fullmatch(r"train: done in [\d.]+ s\n", capsys.readouterr().err)


def test_work_that_is_not_that_of_the_job_is_not_posted(server: Server) -> None:
    with progress("pull", total=2) as work:
        work.advance(2)
    assert server.posts == []


@pytest.mark.usefixtures("quick")
def test_a_training_posts_its_epochs_loss_and_accuracies(server: Server, digits: Path, tmp_path: Path) -> None:
    recipe = recipe_of("digits", "sat", ("schedule.epochs=2", "attack.steps=1", "selection.attack.steps=1"))
    train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
    assert server.percentages[-1] == 100
    last = {metric["name"]: float(metric["value"]) for metric in server.posts[-1][2]["trainerStatus"]["metrics"]}
    row = json.loads((tmp_path / "out" / "curves.json").read_text())[-1]
    assert last["epoch"] == last["epochs"] == 2
    for name in ("loss", "lr", "train_adversarial", "selection_clean", "selection_attacked"):
        assert last[name] == pytest.approx(row[name], rel=1e-5)
