"""What ended the try of a training before this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.errors import PeerLostError, StoppedError, UserError
from nofrost.stopping import TerminatedError
from nofrost.train.restarts import FILE, cause_of_restart, noted_end

ENDS = [
    (StoppedError("stopped"), "stopped"),
    (TerminatedError(), "stopped"),
    (KeyboardInterrupt(), "stopped"),
    (PeerLostError("lost"), "peer-lost"),
    (UserError("memory does not suffice"), "error"),
    (RuntimeError("a bug"), "error"),
]


@pytest.mark.parametrize(("error", "cause"), ENDS, ids=lambda value: getattr(value, "__class__", value).__name__)
def test_a_try_that_ends_leaves_its_cause(error: BaseException, cause: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), noted_end(tmp_path):
        raise error
    assert cause_of_restart(tmp_path, False) == cause
    # It belongs to one restart: the next try may be killed.
    assert cause_of_restart(tmp_path, False) == "killed"


def test_one_that_is_killed_leaves_none_and_one_that_is_stopped_says_so_in_its_state(tmp_path: Path) -> None:
    assert cause_of_restart(tmp_path, False) == "killed"
    assert cause_of_restart(tmp_path, True) == "stopped"


@pytest.mark.parametrize("content", [b"", b"stop", b"\xff\xfe", b"killed\n" * 10])
def test_a_damaged_word_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert cause_of_restart(tmp_path, False) == "killed"


def test_success_leaves_nothing_and_a_disk_that_refuses_hides_no_error(tmp_path: Path) -> None:
    with noted_end(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="a bug"), noted_end(tmp_path / "missing"):
        raise RuntimeError("a bug")
