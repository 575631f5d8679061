"""The starter ends as the failure that caused the others, and passes signals on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from torch.distributed import DistNetworkError

from nofrost.errors import PeerLostError, StoppedError, UserError
from nofrost.network_interface import interface_to
from nofrost.ranks import Node
from nofrost.tasks.starter import SHUTDOWN_S, _config, start
from nofrost.tasks.task_exit import FailedProcessError

# A `nofrost` that runs Python code: the real one takes seconds to load.
STAND_IN = """
import json, os, signal, sys, time
rank = int(os.environ["RANK"])

def say(code, message="its own word"):
    from pathlib import Path
    word = {"message": message, "timestamp": int(time.time()), "exit_code": code, "at": time.time()}
    if not (file := Path(os.environ["TORCHELASTIC_ERROR_FILE"])).exists():
        file.with_suffix(".new").write_text(json.dumps(word))
        file.with_suffix(".new").replace(file)

def end(code, message="its own word"):
    say(code, message)
    os._exit(code)

def stop(*_):
    end(143)

def now():
    open(os.environ["PYTHONPATH"] + f"/at-{rank}", "w").close()

def after(other):
    while not os.path.exists(os.environ["PYTHONPATH"] + f"/at-{other}"):
        time.sleep(0.001)

signal.signal(signal.SIGTERM, stop)
# One that SIGTERM ends before it has begun leaves no word.
begun = os.path.dirname(os.path.dirname(os.environ["TORCHELASTIC_ERROR_FILE"])) + "/begun-"
open(f"{begun}{rank}", "w").close()
while not all(os.path.exists(f"{begun}{each}") for each in range(int(os.environ["WORLD_SIZE"]))):
    time.sleep(0.001)
exec(sys.argv[1])
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "stand-in/nofrost"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def run(*scripts: str) -> None:
    """Start a process for each of these scripts."""
    start(["\n".join(f"if rank == {rank}: {script}" for rank, script in enumerate(scripts))], len(scripts), Node())


def code_of(*scripts: str) -> int:
    """The exit code with which a node ends whose processes run these scripts."""
    try:
        run(*scripts)
    except FailedProcessError as error:
        return int(error.code or 0)
    except StoppedError as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize(
    ("scripts", "code"),
    [
        (("pass", "pass"), 0),
        (("pass",), 0),
        (("time.sleep(60)", "end(2)"), 2),
        (("end(2)", "end(2)"), 2),
        (("time.sleep(60)", "raise KeyError"), 1),
        (("now(); end(1)", "after(0); end(200)"), 1),
        (("end(200)", "time.sleep(60)"), 200),
        (("end(143)", "end(143)"), 143),
        (("end(130)", "pass"), 130),
        # A survivor may end before torch looks.
        (("after(1); end(200)", "now(); " + KILL), 137),
        (("now(); " + KILL, "after(0); end(200)"), 137),
        (("now(); " + KILL, "after(0); end(143)"), 137),
        (("now(); os.kill(os.getpid(), signal.SIGSEGV)", "after(0); end(200)"), 139),
        # One that says what is wrong may be slow to end: the other has lost it before, and torch stops it.
        (("after(1); end(200)", "say(2); now(); time.sleep(60)"), 2),
        (("after(1); end(200)", "say(1); now(); time.sleep(60)"), 1),
        (("now(); " + KILL, "signal.signal(signal.SIGTERM, signal.SIG_IGN); after(0); end(2)"), 2),
        (("end(200)", "signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)"), 200),
    ],
)
def test_the_exit_code_is_that_of_the_cause(
    scripts: tuple[str, ...], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*scripts) == code, capfd.readouterr().err


def test_the_message_is_that_of_the_cause(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedProcessError) as end:
        run("after(1); end(200, 'a peer is gone')", "say(2, 'wrong recipe'); now(); time.sleep(60)")
    assert end.value.message == "wrong recipe"
    assert "nofrost: " not in capfd.readouterr().err, "the process itself has printed it"
    with pytest.raises(FailedProcessError) as end:
        run("os._exit(7)")
    assert end.value.message == "a process ended with exit code 7: see the log"
    with pytest.raises(FailedProcessError) as end:
        run(KILL)
    assert end.value.message.startswith("a process was killed by signal 9 (Killed): look whether memory was short")
    assert f"nofrost: {end.value.message}" in capfd.readouterr().err, "a killed process has printed nothing"


def sent_while(*scripts: str, number: signal.Signals = signal.SIGTERM) -> None:
    """Run scripts, and send a signal to the starter when they are at work."""
    ready = Path(os.environ["PYTHONPATH"]) / "ready"

    def send() -> None:
        for _ in range(6000):
            if len(list(ready.parent.glob("ready-*"))) == len(scripts):
                os.kill(os.getpid(), number)
                return
            threading.Event().wait(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        run(*(f"open(f'{ready}-{{rank}}', 'w').close(); {script}" for script in scripts))
    finally:
        thread.join()


def test_sigterm_is_passed_on_and_handlers_are_as_before() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with pytest.raises(StoppedError, match="stopped after saving: the same command resumes from there"):
        sent_while("time.sleep(60)", "time.sleep(60)")
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: end(2)); time.sleep(60)", 2),
        ("signal.signal(signal.SIGTERM, lambda *_: end(200)); time.sleep(60)", 200),
        ("signal.signal(signal.SIGTERM, lambda *_: end(1)); time.sleep(60)", 1),
    ],
)
def test_what_happens_while_stopping_is_not_hidden(script: str, code: int) -> None:
    with pytest.raises(FailedProcessError) as end:
        sent_while(script, script)
    assert end.value.code == code


def test_a_stop_without_a_save_does_not_say_that_there_is_one() -> None:
    with pytest.raises(StoppedError, match="before all had saved"):
        sent_while("signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)", "time.sleep(60)")


def test_ctrl_c_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt):
        sent_while("signal.signal(signal.SIGINT, stop); time.sleep(60)", number=signal.SIGINT)


def test_hanging_up_ends_as_a_shell_says() -> None:
    with pytest.raises(FailedProcessError) as end:
        sent_while("signal.signal(signal.SIGHUP, stop); time.sleep(60)", number=signal.SIGHUP)
    assert end.value.code == 128 + signal.SIGHUP


def test_a_node_that_ends_while_the_starters_meet_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise DistNetworkError("Connection reset by peer")

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setattr("torch.distributed.launcher.api.launch_agent", lambda *_, **__: lose())
    with pytest.raises(PeerLostError, match=r"another node has ended before all had started \(DistNetworkError"):
        start([], 1, Node(1, 2, "127.0.0.1", 29500))
    with pytest.raises(DistNetworkError):
        start([], 1, Node())


def test_the_network_interfaces_of_a_node_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    monkeypatch.setattr("torch.distributed.launcher.api.launch_agent", lambda *_, **__: {})
    start([], 1, Node(1, 2, "127.0.0.1", 29500))
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    said = capsys.readouterr().err
    assert "node 1 of 2, network interfaces: GLOO_SOCKET_IFNAME=lo, NCCL_SOCKET_IFNAME=ib0" in said


def test_processes_have_the_time_to_save_that_a_pod_leaves() -> None:
    for node in (Node(), Node(1, 2, "10.0.0.1", 29500)):
        assert _config(2, node, "logs").shutdown_timeout == SHUTDOWN_S
    assert SHUTDOWN_S < 120


def test_the_interface_is_the_one_that_leads_to_the_first_node() -> None:
    assert interface_to(Node(1, 2, "127.0.0.1", 29500)) == "lo"
    assert interface_to(Node(1, 2, "nowhere.invalid", 29500)) is None


def test_an_interface_that_is_not_there_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo,eth77")
    with pytest.raises(UserError, match=r"GLOO_SOCKET_IFNAME names 'eth77', and this machine has .*\blo\b.*unset it"):
        start(["train"], 2, Node())
