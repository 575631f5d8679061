"""An output appears whole or not at all, whatever happens in the middle."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nofrost.errors import StoppedError, UserError
from tests.child_process import running
from tests.stage.small_stage import content, message_of, names, run, stage_output, whole


def test_the_output_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with stage_output(out, fingerprint={}) as folder:
        (folder / "a.txt").write_text("x")
        assert not out.exists()
        assert folder.parent == out.parent, "a rename must not cross file systems"
    assert content(out) == {"a.txt": "x"}
    assert names(out.parent) == ["out"]


def test_an_earlier_output_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, "old")
    (out / "sub" / "gone.txt").write_text("only in the old one")
    run(out, "new")
    assert content(out) == whole("new")
    assert names(tmp_path) == ["out"]


def test_equal_work_gives_equal_files_however_often_and_where(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    run(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b") == whole("new")


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, UserError, StoppedError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_earlier_output_untouched_and_is_raised(
    tmp_path: Path, error: type[BaseException], resumable: bool
) -> None:
    out = tmp_path / "out"
    run(out, "old")
    with pytest.raises(error), stage_output(out, fingerprint={}, resumable=resumable) as folder:  # noqa: PT012
        (folder / "a.txt").write_text("half")
        assert content(out) == whole("old")
        raise error
    assert content(out) == whole("old")
    assert names(tmp_path) == ([".out.nofrost-partial", "out"] if resumable else ["out"])


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(tmp_path / "out")
    assert content(tmp_path / "out") == whole("new")


def test_a_relative_path_is_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("out"), "old")
    run(Path("out"))
    assert content(tmp_path / "out") == whole("new")


def test_an_output_that_is_a_link_is_written_to_its_target(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "big" / "real")
    for value in ("old", "new"):
        run(out, value)
        assert out.is_symlink()
        assert content(tmp_path / "big" / "real") == whole(value)
    assert names(tmp_path) == ["big", "out"]
    assert names(tmp_path / "big") == ["real"]


def test_an_output_keeps_the_mode_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    run(tmp_path / "out", "old")
    (tmp_path / "out").chmod(0o700)
    run(tmp_path / "out", "new")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_a_users_folders_of_similar_names_stay(tmp_path: Path) -> None:
    names = ("out.partial", "out.earlier", "out.shards", ".out.partial", "out.unfinished")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("mine")
    run(tmp_path / "out", "old")
    with pytest.raises(KeyError), stage_output(tmp_path / "out", fingerprint={}):
        raise KeyError
    run(tmp_path / "out", "new")
    assert all((tmp_path / name / "file").read_text() == "mine" for name in names)
    assert len(list(tmp_path.iterdir())) == len(names) + 1


def test_a_second_writer_is_refused_while_the_first_works(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with stage_output(out, fingerprint={"seed": 0}) as folder:
        (folder / "a.txt").write_text("first")
        with pytest.raises(UserError) as caught:
            run(out)
        assert f"out is being written by process {os.getpid()}" in str(caught.value)
    assert content(out) == {"a.txt": "first"}
    assert names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from nofrost import stage
from nofrost.files import write_json

resumable, where = sys.argv[2] == "True", sys.argv[3]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Moment(Path().__class__):
    def rename(self, target):
        if where == "before " + Path(target).name:
            die()
        moved = super().rename(target)
        if where == "after " + Path(target).name:
            die()
        return moved

arguments = {"stage": "test", "inputs": [], "fingerprint": {"seed": 0}, "resumable": resumable}
with stage.stage_output(Moment(sys.argv[1]), **arguments) as folder:
    (folder / "a.txt").write_text("new")
    if where == "inside":
        die()
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "b.txt").write_text("new")
    write_json(folder / "record.json", {"stage": "test", "nofrost": "1", "value": "new"})
"""


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("inside", ["lock", "partial", "out"]),
        ("before .out.nofrost-earlier", ["lock", "partial", "unfinished", "out"]),
        ("after .out.nofrost-earlier", ["earlier", "lock", "partial", "unfinished"]),
        ("before out", ["earlier", "lock", "partial", "unfinished"]),
        ("after out", ["earlier", "lock", "unfinished", "out"]),
    ],
)
@pytest.mark.parametrize("resumable", [False, True])
def test_a_kill_at_any_moment_leaves_a_whole_output(
    tmp_path: Path, where: str, left: list[str], resumable: bool
) -> None:
    out = tmp_path / "out"
    run(out, "old")
    command = [sys.executable, "-c", KILLED, str(out), str(resumable), where]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert names(tmp_path) == [name if name == "out" else f".out.nofrost-{name}" for name in left]
    if out.exists():
        assert content(out) == whole("new" if where == "after out" else "old")
    else:
        assert content(tmp_path / ".out.nofrost-earlier") == whole("old")
    with pytest.raises(RuntimeError), stage_output(out, fingerprint={"seed": 0}):  # noqa: PT012
        assert content(out) == whole("new" if where == "after out" else "old"), "the next start brings it back"
        raise RuntimeError
    run(out, "newer")
    assert content(out) == whole("newer")
    assert names(tmp_path) == ["out"]


def test_a_kill_by_another_process_in_the_middle_of_writing_leaves_the_earlier_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, "old")
    script = f"""
from pathlib import Path
from nofrost.stage import stage_output
with stage_output(Path({str(out)!r}), stage="test", inputs=[], fingerprint={{"seed": 0}}, resumable=True) as folder:
    with (folder / "a.txt").open("w") as file:
        while True:
            file.write("x" * 1000)
"""
    with running([sys.executable, "-c", script]):
        growing = tmp_path / ".out.nofrost-partial" / "a.txt"
        limit = time.monotonic() + 120
        while not (growing.exists() and growing.stat().st_size) and time.monotonic() < limit:
            time.sleep(0.005)
        assert growing.stat().st_size
    assert content(out) == whole("old")
    run(out, "new", resumable=True)
    assert content(out) == whole("new")


def test_a_failed_rename_restores_the_earlier_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run(out, "old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == ".out.nofrost-partial":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(UserError) as caught:
        run(out, "new")
    assert "input/output error" in message_of(caught, out)
    assert content(out) == whole("old")
