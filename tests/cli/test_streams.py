"""Standard output and error that are closed, full or of another encoding: nothing is silent, nothing is a traceback."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

from nofrost.cli import CommandGroup, main
from nofrost.cli.options import aligned, emit
from nofrost.config import load_printed
from nofrost.errors import UserError, printable
from nofrost.system_errors import as_reported, explain_read_errors, explain_write_errors, system_error

ROOT = Path(__file__).parents[2]
FULL = "nofrost: cannot write standard output: no space left on device"


def shell(line: str, **variables: str) -> tuple[int, str, str]:
    """Run a line of the shell in the project; return exit code, standard output and error."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **variables}
    end = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, env=environment, capture_output=True, check=False)
    return end.returncode, end.stdout.decode("utf-8", "replace"), end.stderr.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("nofrost papers > /dev/full", 2, "", FULL),
        ("nofrost --help > /dev/full", 2, "", FULL),
        ("python -m nofrost --help > /dev/full", 2, "", FULL),
        ("python -m pipelines --help > /dev/full", 2, "", FULL),
        ("nofrost study show nosuch 2> /dev/full", 2, "nofrost: unknown study 'nosuch'", ""),
        ("nofrost study show nosuch 2>&-", 2, "nofrost: unknown study 'nosuch'", ""),
        ("nofrost study show nosuch >&- 2> /dev/full", 2, "", ""),
        ("nofrost nosuch 2> /dev/full", 2, "Error: No such command 'nosuch'", ""),
        ("nofrost papers 2>&-", 0, "wang2022", ""),
        ("nofrost papers >&-", 0, "", ""),
        ("nofrost papers >&- 2>&- <&-", 0, "", ""),
        ("nofrost \"$(printf 'a\\033[31mb')\"", 2, "", r"No such command 'a\x1b[31mb'"),
    ],
)
def test_a_stream_that_takes_nothing(line: str, code: int, out: str, err: str) -> None:
    actual = shell(line)
    assert actual[0] == code, actual
    for text, expected in zip(actual[1:], (out, err), strict=True):
        assert expected in text if expected else not text
        assert "Traceback" not in text


LOST = """
from datetime import timedelta
import click
from nofrost.cli import main
@click.command()
def lose():
    from torch.distributed import TCPStore
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    try:
        store.wait(["nothing"], timedelta(seconds=0.05))
    except RuntimeError:
        print("lost")
main(lose)
"""


@pytest.mark.slow
def test_torch_adds_no_warnings_of_its_own_to_a_lost_connection() -> None:
    assert shell(f"{sys.executable} -c '{LOST}'") == (0, "lost\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_an_encoding_that_lacks_characters_gets_substitutes(encoding: str) -> None:
    code, out, err = shell("nofrost study printed zeise2025-table-1 --json", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert json.loads(out) == load_printed("zeise2025-table-1").as_json()


def test_a_text_has_substitutes_for_what_latin_1_lacks() -> None:
    code, out, err = shell("nofrost recipes show sat", PYTHONIOENCODING="latin-1")
    assert (code, err) == (0, "")
    assert r"\u03bb = 0.5" in out


def end_of(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command that does this, as the program would; return its exit code."""
    commands = CommandGroup(commands=[click.Command("act", callback=action)])
    monkeypatch.setattr(sys, "argv", ["nofrost", "act"])
    with pytest.raises(SystemExit) as end:
        main(commands)
    return end.value.code


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def send_to_a_closed_socket() -> None:
    one, other = socket.socketpair()
    with one:
        other.close()
        one.sendall(b"x")


def test_a_connection_that_breaks_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(send_to_a_closed_socket, monkeypatch) == 1
    assert capsys.readouterr() == ("", "nofrost: a connection was closed at its other end (broken pipe): start again\n")


@pytest.mark.parametrize("line", ["nofrost papers", "nofrost --help", "nofrost recipes --help"])
def test_a_reader_that_has_enough_ends_the_command_without_a_word(line: str) -> None:
    code, out, err = shell(f"{{ {line}; echo $? >&2; }} | true")
    assert (code, out, err) == (0, "", "1\n")


def test_the_end_of_a_file_is_not_taken_for_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EOFError("Compressed file ended before the end-of-stream marker was reached")
    with pytest.raises(EOFError, match="end-of-stream") as caught:
        end_of(raising(error), monkeypatch)
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "there is not enough memory"),
        (MemoryError("Unable to allocate 8.00 GiB for an array"), "Unable to allocate 8.00 GiB"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (OSError(errno.EIO, "Input/output error"), "cannot read or write: input/output error: check the disk"),
        (OSError(errno.EIO, "Input/output error", "a/b"), "cannot read or write a/b: input/output error"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "file name too long: choose a shorter name"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "raise the limit on open files"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "no usable temporary"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device: free some space"),
        (RuntimeError("Error while serializing: I/O error: Quota (os error 122)"), "quota exceeded"),
    ],
)
def test_what_the_system_refuses_anywhere_is_one_sentence(
    error: BaseException, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(raising(error), monkeypatch) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nofrost: ")
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bug"),
        RecursionError("maximum recursion depth exceeded"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
        RuntimeError("a library failed: [Errno 2] No such file or directory: 'a'"),
    ],
)
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)) as caught:
        end_of(raising(error), monkeypatch)
    assert caught.value is error


@pytest.mark.parametrize("parse", [json.loads, yaml.safe_load])
def test_input_that_is_nested_without_an_end_is_no_bug(parse: Callable[[str], object]) -> None:
    with pytest.raises(RecursionError) as caught:
        parse("[" * 100_000)
    assert "nested too deeply" in str(as_reported(caught.value))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("Error 5000 requested and 1024 written"), errno.ENOSPC),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (OSError([("a", "b", "[Errno 122] Disk quota exceeded: 'b'")]), errno.EDQUOT),
        (OSError(errno.EFBIG, "File too large"), errno.EFBIG),
        (ValueError("28"), None),
        (OSError("odd"), None),
    ],
)
def test_the_number_of_the_systems_error_is_read_from_every_librarys_form(error: Exception, code: int | None) -> None:
    refusal = system_error(error)
    assert (refusal and refusal.errno) == code
    if code is not None:
        with (
            pytest.raises(UserError, match=f"cannot write out: {os.strerror(code)[1:]}"[:18]),
            explain_write_errors(Path("out")),
        ):
            raise error


def test_a_disk_that_fails_while_it_is_read_is_named() -> None:
    # The memory of this process as a file: reading at zero is an input/output error.
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("there is no /proc here")
    with pytest.raises(UserError, match=r"cannot read /proc/self/mem: input/output error"), explain_read_errors(path):
        path.read_bytes()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m\nb", r"a\x1b[31m\nb"),
        ("caf\udce9 \u202egpj.exe \x9b \u2028", r"caf\udce9 \u202egpj.exe \x9b \u2028"),
        ("Grüße, λ, 猫, \N{NO-BREAK SPACE}, 👩‍🔬", "Grüße, λ, 猫, \N{NO-BREAK SPACE}, 👩‍🔬"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_all_languages_are_not(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(text) == shown
    assert aligned([[text, "b"]]) == f"{shown}  b"
    emit([text], text.replace("\n", " "), as_json=True)
    assert json.loads(capsys.readouterr().out) == [text]
