"""Progress: plain lines in a log, a bar on a terminal, nothing on standard output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from nofrost.telemetry import display, progress, work
from tests.child_process import running


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (display, work):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_short_work_prints_one_line_at_its_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("train sat", total=1000) as bar:
        for _ in range(1000):
            bar.advance()
            clock.now += 0.002
        assert capsys.readouterr().err == ""
    printed = capsys.readouterr()
    assert printed.err == "train sat: done in 2.0 s\n"
    assert printed.out == ""


@pytest.mark.parametrize(("took", "lines"), [(0.9, []), (1.1, ["work: done in 1.1 s"])])
def test_a_line_for_short_work_can_be_left_out(
    clock: Clock, capsys: pytest.CaptureFixture[str], took: float, lines: list[str]
) -> None:
    with progress("work", total=3, least_s=1.0):
        clock.now += took
    assert capsys.readouterr().err.splitlines() == lines


def test_long_work_prints_a_line_every_15_seconds_with_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("attack", total=100) as bar:
        for step in range(100):
            clock.now += 1
            bar.advance(note=f"loss {step}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "attack: 15/100, 85 s left (loss 14)"
    assert lines[1] == "attack: 30/100, 70 s left (loss 29)"
    assert lines[-1] == "attack: done in 100.0 s (loss 99)"
    assert len(lines) == 7


def test_work_of_an_earlier_run_counts_as_done_but_not_as_speed(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("train", total=100, done=80) as bar:
        clock.now += 20
        bar.advance(10)
    assert capsys.readouterr().err.splitlines()[0] == "train: 90/100, 20 s left"


@pytest.mark.parametrize(("units", "line"), [(0, "work: 0/10"), (12, "work: 12/10, 0 s left")])
def test_no_time_is_invented_when_nothing_or_too_much_was_done(
    clock: Clock, capsys: pytest.CaptureFixture[str], units: int, line: str
) -> None:
    with progress("work", total=10) as bar:
        clock.now += 15
        bar.advance(units)
    assert capsys.readouterr().err.splitlines()[0] == line


def test_a_note_is_kept_until_the_next_one(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work", total=3) as bar:
        bar.advance(note="first")
        clock.now += 15
        bar.advance()
    assert capsys.readouterr().err.splitlines() == ["work: 2/3, 8 s left (first)", "work: done in 15.0 s (first)"]


def test_work_that_fails_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), progress("work", total=3) as bar:  # noqa: PT012
        bar.advance()
        raise RuntimeError
    assert capsys.readouterr().err == ""


BAR = """
import sys, time
from nofrost.telemetry import progress
with progress("train[sat, 0]", total=20, done=4) as bar:
    for step in range(16):
        bar.advance(note=f"loss [0.{step}] [/x]")
        time.sleep(0.02)
    print('{"result": 1}')
"""


@pytest.mark.parametrize("stderr", [None, "full"])
def test_work_goes_on_where_standard_error_is_closed_or_full(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, stderr: str | None
) -> None:
    # Not flushed again when it is closed.
    stream = stderr and os.fdopen(os.dup(os.open("/dev/full", os.O_WRONLY)), "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("train", total=10) as bar:
        for _ in range(10):
            clock.now += 16
            bar.advance()
    if stream:
        with pytest.raises(OSError, match="No space left"):
            stream.close()


def test_names_in_titles_and_notes_do_not_move_the_cursor(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("pull a\x1b[2J\nb", total=1) as bar:
        bar.advance(note="\ud800")
    assert capsys.readouterr().err == "pull a\\x1b[2J\\nb: done in 0.0 s (\\ud800)\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(terminal: str) -> None:
    code, printed, shown = under_a_terminal(BAR, TERM=terminal)
    assert (code, printed) == (0, '{"result": 1}\n')
    assert re.fullmatch(r"train\[sat, 0\]: done in [\d.]+ s \(loss \[0\.15\] \[/x\]\)\s*", shown)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_shows_the_bar_within_its_width(columns: int) -> None:
    code, _, shown = under_a_terminal(BAR, columns=columns)
    assert code == 0
    assert max(len(part) for part in re.split(r"[\r\n]", shown)) <= columns


def under_a_terminal(script: str, columns: int = 100, **variables: str) -> tuple[int, str, str]:
    """Run `script` with standard error on a terminal and return its exit code, standard output and what was shown."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {**os.environ, "TERM": "xterm", **variables}
    command = [sys.executable, "-c", script]
    with running(command, stderr=theirs, stdout=subprocess.PIPE, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        printed, _ = process.communicate(timeout=120)
    return process.returncode, printed.decode(), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_on_a_terminal_a_bar_reaches_its_end_and_results_go_to_standard_output() -> None:
    code, printed, shown = under_a_terminal(BAR)
    assert code == 0
    assert printed == '{"result": 1}\n'
    assert "20/20" in shown
    assert "4/20" in shown or "5/20" in shown
    assert "train[sat, 0]" in shown, "brackets in a title are printed as they are"
    assert "loss [0.15] [/x]" in shown
    assert "Traceback" not in shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_structured_log_has_no_bar() -> None:
    script = f"from nofrost.telemetry import log; log.begin('', ''){BAR}"
    code, _, shown = under_a_terminal(script, NOFROST_LOG="json")
    assert code == 0
    assert [json.loads(line)["done"] for line in shown.splitlines()] == [20]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_on_a_terminal_an_error_passes_through() -> None:
    script = BAR.replace("print(", "raise SystemExit(3) or print(")
    code, printed, shown = under_a_terminal(script)
    assert (code, printed) == (3, "")
    assert "20/20" in shown
