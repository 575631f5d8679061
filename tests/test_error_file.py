"""What a process leaves for its starter is its own error, and not what came of it."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import pytest

from nofrost.error_file import read_errors, write_error


def test_nothing_is_written_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    write_error("nobody hears this", 1)


def test_the_error_of_a_process_is_its_own_and_not_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "attempt_0/1/error.json"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    began, times = time.time(), set()
    for message, code, kept in [
        ("stopped", 143, ("stopped", 143)),
        ("lost", 200, ("stopped", 143)),
        ("a bug", 1, ("a bug", 1)),
        ("lost", 200, ("a bug", 1)),
        ("wrong", 2, ("wrong", 2)),
        ("stopped", 143, ("wrong", 2)),
        ("another bug", 1, ("wrong", 2)),
    ]:
        write_error(message, code)
        (end,) = read_errors(tmp_path).values()
        assert (end.message, end.code) == kept
        times.add(end.at)
    assert read_errors(tmp_path).keys() == {"1"}
    # The time is that of the first.
    assert len(times) == 1
    assert began <= min(times) <= time.time()
    # What torch reads, in whole seconds.
    assert isinstance(json.loads(file.read_text())["timestamp"], int)


def test_an_error_that_cannot_be_written_leaves_the_one_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    write_error("stopped", 143)

    def fill_disk(self: Path, text: str, **_: object) -> None:
        self.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_text", fill_disk)
    write_error("a bug", 1)
    (end,) = read_errors(tmp_path).values()
    assert (end.message, end.code) == ("stopped", 143)


@pytest.mark.parametrize("content", ["[no error]", "{", '{"message": {"extraInfo": {}}}', ""])
def test_what_is_no_error_of_ours_is_left_out_and_replaced(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    file.write_text(content)
    assert read_errors(tmp_path) == {}
    write_error("a bug", 1)
    (end,) = read_errors(tmp_path).values()
    assert (end.message, end.code) == ("a bug", 1)
