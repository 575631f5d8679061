"""An output appears whole or not at all, whatever happens in the middle."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost import stage
from nofrost.errors import StoppedError, UserError
from nofrost.files import atomic_file, write_json
from nofrost.stage import SAVE_INTERVAL, disk_error, save_interval_s

OTHER_SYSTEM = not hasattr(os, "geteuid") or sys.platform != "linux"


def stage_output(out: Path, **arguments: Any) -> AbstractContextManager[Path]:
    """The output of a stage without inputs."""
    return stage.stage_output(out, **{"stage": "test", "inputs": [], **arguments})


def record(value: str) -> dict[str, str]:
    """What a small stage writes into its record."""
    return {"stage": "test", "nofrost": "1", "value": value}


def run(out: Path, value: str = "new", *, seed: int = 0, resumable: bool = False) -> None:
    """A small stage: two files and a record."""
    with stage_output(out, fingerprint={"seed": seed}, resumable=resumable) as folder:
        (folder / "a.txt").write_text(value)
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / "b.txt").write_text(value)
        write_json(folder / "record.json", record(value))


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def whole(value: str) -> dict[str, str]:
    return {"a.txt": value, "record.json": json.dumps(record(value), indent=2) + "\n", "sub/b.txt": value}


def message_of(error: pytest.ExceptionInfo[UserError], out: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"cannot write {out}: ")
    assert "\n" not in message
    assert "Errno" not in message
    return message


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


def test_a_resumable_stage_continues_from_what_it_saved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StoppedError), stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:  # noqa: PT012
        (folder / "a.txt").write_text("saved")
        raise StoppedError
    with stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:
        assert (folder / "a.txt").read_text() == "saved"
    assert content(out) == {"a.txt": "saved"}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"seed": 0}, {"seed": 0}, True),
        ({"seed": 0}, {"seed": 1}, False),
        ({"seed": 0}, {"seed": 0, "lr": 1}, False),
        ({"steps": (1, 2), 3: None}, {"steps": [1, 2], "3": None}, True),
        ({"lr": 0.1 + 0.2}, {"lr": 0.1 + 0.2}, True),
    ],
)
def test_saved_work_is_kept_for_the_same_fingerprint_only(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], kept: bool
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), stage_output(out, fingerprint=first, resumable=True) as folder:  # noqa: PT012
        (folder / "state").touch()
        raise RuntimeError
    with stage_output(out, fingerprint=second, resumable=True) as folder:
        assert (folder / "state").exists() == kept


@pytest.mark.parametrize("damage", ["", "{", None])
def test_saved_work_with_a_damaged_fingerprint_is_discarded(tmp_path: Path, damage: str | None) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    partial.mkdir()
    (partial / "state").touch()
    if damage is not None:
        (partial / stage.UNFINISHED).mkdir()
        (partial / stage.FINGERPRINT).write_text(damage)
    run(tmp_path / "out", resumable=True)
    assert content(tmp_path / "out") == whole("new")


def test_a_stage_that_cannot_resume_starts_with_an_empty_folder(tmp_path: Path) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    write_json(partial / stage.FINGERPRINT, {"seed": 0})
    (partial / "stale").touch()
    run(tmp_path / "out")
    assert content(tmp_path / "out") == whole("new")


def test_temporary_files_of_a_killed_run_are_no_part_of_the_output(tmp_path: Path) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    (partial / "sub").mkdir(parents=True)
    write_json(partial / stage.FINGERPRINT, {"seed": 0})
    for folder in (partial, partial / "sub"):
        with atomic_file(folder / "b.txt"):
            (half,) = folder.glob(".b.txt.nofrost-tmp*")
            half.with_suffix(".copy").touch()
        half.with_suffix(".copy").rename(half)
    (partial / "saved").touch()
    run(tmp_path / "out", resumable=True)
    assert set(content(tmp_path / "out")) == {*whole("new"), "b.txt", "saved"}


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
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        growing = tmp_path / ".out.nofrost-partial" / "a.txt"
        limit = time.monotonic() + 20
        while not (growing.exists() and growing.stat().st_size) and time.monotonic() < limit:
            time.sleep(0.005)
        assert growing.stat().st_size
    finally:
        process.kill()
        process.wait()
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


@pytest.mark.parametrize("kind", ["file", "link to a file"])
def test_a_file_where_the_folder_should_be_is_refused_before_any_work(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    (out if kind == "file" else tmp_path / "real").write_text("precious")
    if kind != "file":
        out.symlink_to(tmp_path / "real")
    with pytest.raises(UserError) as caught:
        run(out)
    assert "it is a file" in message_of(caught, out)
    assert out.read_text() == "precious"


def test_a_folder_that_no_stage_created_is_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.png").write_text("precious")
    with pytest.raises(UserError) as caught:
        run(out)
    assert "it contains 'holiday.png' and was not created by a stage" in message_of(caught, out)
    assert content(out) == {"holiday.png": "precious"}
    assert names(tmp_path) == ["photos"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(tmp_path / "out")
    assert content(tmp_path / "out") == whole("new")


@pytest.mark.parametrize("name", [".", "..", "/", "../here"])
def test_the_current_folder_and_those_above_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(UserError) as caught:
        run(Path(name))
    message = message_of(caught, Path(name))
    assert "choose" in message
    assert names(tmp_path) == ["here"]


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


@pytest.mark.parametrize(
    ("out", "source", "relation"),
    [
        ("data", "data", "is an input"),
        ("data", "data/train/images.npy", "holds"),
        ("data", "data/train", "holds"),
        ("data/train/deep/out", "data", "lies in"),
        ("data/../data", "data", "is"),
        ("link", "data", "is"),
        ("data", "link", "is"),
        ("link/out", "data", "lies in"),
    ],
)
def test_an_output_that_is_holds_or_lies_in_an_input_is_refused_and_the_input_stays(
    tmp_path: Path, out: str, source: str, relation: str
) -> None:
    run(tmp_path / "data")
    (tmp_path / "data/train").mkdir()
    (tmp_path / "data/train/images.npy").write_text("precious")
    (tmp_path / "link").symlink_to("data")
    before = content(tmp_path)
    with pytest.raises(UserError) as caught, stage_output(tmp_path / out, fingerprint={}, inputs=[tmp_path / source]):
        pytest.fail("the work must not begin")
    assert f"it {relation}" in message_of(caught, tmp_path / out)
    assert content(tmp_path) == before


def test_an_output_beside_its_inputs_is_written_also_over_an_earlier_one(tmp_path: Path) -> None:
    run(tmp_path / "runs/data")
    for name in ("runs/out", "runs/data-2", "runs/dat"):
        for _ in range(2):
            inputs = [tmp_path / "runs/data", tmp_path / "missing"]
            with stage_output(tmp_path / name, fingerprint={}, inputs=inputs) as folder:
                write_json(folder / "record.json", record("new"))
    assert content(tmp_path / "runs/data") == whole("new")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"stage": "train", "nofrost": "1"}, "it is an output of train, and test would replace it"),
        ({"stage": "test"}, "was not created by a stage (its record.json is damaged)"),
        ([], "was not created by a stage (its record.json is damaged)"),
        (None, "it contains 'a.txt' and was not created by a stage: "),
    ],
)
def test_the_output_of_another_stage_and_what_is_no_output_are_refused(tmp_path: Path, there: Any, words: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("precious")
    if there is not None:
        write_json(out / "record.json", there)
    before = content(tmp_path)
    with pytest.raises(UserError) as caught:
        run(out)
    assert words in message_of(caught, out)
    assert content(tmp_path) == before


def test_an_output_inside_another_and_one_that_holds_another_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out/deep/inner")
    assert "an output of test, which would lose it" in message_of(caught, tmp_path / "out/deep/inner")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "out/inner")
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out")
    assert "it holds another output in inner" in message_of(caught, tmp_path / "out")


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


def test_an_output_keeps_the_mode_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    run(tmp_path / "out", "old")
    (tmp_path / "out").chmod(0o700)
    run(tmp_path / "out", "new")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_saved_work_that_is_discarded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        with pytest.raises(KeyError), stage_output(tmp_path / "out", fingerprint={"seed": seed}, resumable=True):
            raise KeyError
    assert "belongs to another configuration, or to other inputs: it is deleted" in capsys.readouterr().err


@pytest.mark.skipif(OTHER_SYSTEM, reason="/proc and /sys are Linux's")
@pytest.mark.parametrize("out", ["/proc/nofrost/out", "/sys/nofrost/out"])
def test_a_file_system_without_folders_ends_in_one_sentence(out: str) -> None:
    with pytest.raises(UserError) as caught:
        run(Path(out))
    message_of(caught, Path(out))


def test_impossible_paths_end_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for out, words in (
        (tmp_path / "file" / "out", "not a directory"),
        (tmp_path / ("x" * 300), "file name too long"),
        (tmp_path / "circle" / "out", "choose another"),
        (tmp_path / "circle", "choose another"),
    ):
        with pytest.raises(UserError) as caught:
            run(out)
        assert words in message_of(caught, out)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB of its own; needs root."""
    if OTHER_SYSTEM or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "nofrost-test", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("this system lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def big_text(folder: Path) -> None:
    (folder / "big.txt").write_text("x" * 500_000)


def big_array(folder: Path) -> None:
    np.save(folder / "big.npy", np.zeros(500_000))


def big_json(folder: Path) -> None:
    write_json(folder / "big.json", ["x"] * 100_000)


@pytest.mark.parametrize("write", [big_text, big_array, big_json])
def test_a_full_disk_ends_in_one_sentence_and_leaves_the_earlier_output(mounted: Path, write: Any) -> None:
    out = mounted / "out"
    run(out, "old")
    with pytest.raises(UserError) as caught, stage_output(out, fingerprint={}) as folder:
        write(folder)
    message = message_of(caught, out)
    assert "no space left on device: free some" in message
    assert content(out) == whole("old")
    run(out, "new")
    assert content(out) == whole("new")


def test_a_full_disk_while_images_are_mapped_ends_in_one_sentence(mounted: Path) -> None:
    script = f"""
import numpy as np
from pathlib import Path
from nofrost.data import write_images
from nofrost.stage import stage_output
try:
    with stage_output(Path({str(mounted / "out")!r}), stage="test", inputs=[], fingerprint={{}}) as folder:
        write_images(folder / "images.npy", [np.zeros((64, 32, 32, 3), np.uint8)] * 4, (256, 32, 32, 3))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"cannot write {mounted / 'out'}: no space left on device")


def test_a_full_disk_keeps_what_a_resumable_stage_had_saved(mounted: Path) -> None:
    out = mounted / "out"
    with pytest.raises(UserError), stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:  # noqa: PT012
        (folder / "saved").write_text("work")
        big_text(folder)
    (mounted / ".out.nofrost-partial" / "big.txt").unlink()
    with stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:
        assert (folder / "saved").read_text() == "work"


def test_a_read_only_disk_ends_in_one_sentence(mounted: Path) -> None:
    run(mounted / "out", "old")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    for out in (mounted / "out", mounted / "deep" / "out"):
        with pytest.raises(UserError) as caught:
            run(out)
        assert "read-only file system: choose a place that can be written" in message_of(caught, out)
    assert content(mounted / "out") == whole("old")


def test_a_mount_point_is_refused_before_any_work_since_it_cannot_be_replaced(mounted: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(mounted)
    assert "it is a mount point" in message_of(caught, mounted)
    run(mounted / "out")
    assert content(mounted / "out") == whole("new")


@pytest.mark.skipif(OTHER_SYSTEM, reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("write", ["big_text", "big_json"])
def test_a_file_that_grows_too_large_ends_in_one_sentence(tmp_path: Path, write: str) -> None:
    script = f"""
import resource
from pathlib import Path
from nofrost.files import write_json
from nofrost.stage import stage_output
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with stage_output(Path({str(tmp_path / "out")!r}), stage="test", inputs=[], fingerprint={{}}) as folder:
        if {write!r} == "big_text":
            (folder / "big.txt").write_text("x" * 500_000)
        write_json(folder / "big.json", ["x"] * 100_000)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path / 'out'}: file too large")
    assert names(tmp_path) == []


def test_an_error_about_an_input_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError), stage_output(out, fingerprint={}):
        (tmp_path / "input" / "missing.json").read_text()
    for code in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ENOSPC):
        with pytest.raises(OSError) as caught, stage_output(out, fingerprint={}):  # noqa: PT011
            raise OSError(code, os.strerror(code), str(tmp_path / "input" / "a.npy"))
        assert not isinstance(caught.value, UserError)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "file", "blamed"),
    [
        (errno.ENOSPC, None, True),
        (errno.EDQUOT, None, True),
        (errno.EFBIG, None, True),
        (errno.EROFS, None, True),
        (errno.EACCES, None, False),
        (errno.ENOENT, None, False),
        (errno.EACCES, ".out.nofrost-partial/a.txt", True),
        (errno.ENOSPC, ".out.nofrost-partial/deep/a.txt", True),
        (errno.EACCES, "out", True),
        (errno.EACCES, "out/a.txt", True),
        (errno.EACCES, ".out.nofrost-earlier/a.txt", True),
        (errno.EACCES, ".out.x7.tmp", False),
        (errno.EACCES, ".", True),
        (errno.EACCES, "output/a.txt", False),
        (errno.EACCES, "out.partial/a.txt", False),
        (errno.ENOSPC, "input/a.txt", False),
        (errno.ENOENT, ".out.nofrost-partial/a.txt", False),
        (None, ".out.nofrost-partial/a.txt", False),
    ],
)
@pytest.mark.parametrize("form", [str, os.fsencode])
def test_an_error_is_about_the_output_only_when_its_file_belongs_to_it(
    tmp_path: Path, code: int | None, file: str | None, blamed: bool, form: Any
) -> None:
    error = OSError("odd") if code is None else OSError(code, "words", file and form(tmp_path / file))
    explained = disk_error(error, tmp_path / "out")
    assert isinstance(explained, UserError) if blamed else explained is error


def test_an_error_that_names_a_file_descriptor_is_returned_unchanged(tmp_path: Path) -> None:
    error = OSError(errno.EBADF, "Bad file descriptor", 3)
    assert disk_error(error, tmp_path) is error


def test_a_bug_of_a_stage_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), stage_output(tmp_path / "out", fingerprint={}) as folder:  # noqa: PT012
        (folder / "a").mkdir()
        (folder / "a").mkdir()


def test_a_fingerprint_that_is_not_json_is_refused_before_any_work(tmp_path: Path) -> None:
    for wrong in (float("nan"), {1, 2}):
        with pytest.raises((ValueError, TypeError)), stage_output(tmp_path / "out", fingerprint={"x": wrong}):
            pytest.fail("the block must not start")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("value", "seconds"), [(None, 300), ("", 300), ("60", 60), ("86400", 86400)])
def test_the_interval_of_saves_is_that_of_the_environment(
    value: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(SAVE_INTERVAL, raising=False)
    else:
        monkeypatch.setenv(SAVE_INTERVAL, value)
    assert save_interval_s() == seconds


@pytest.mark.parametrize("value", ["59", "86401", "1e3", "-300", "5 min", "３００"])
def test_another_interval_of_saves_is_an_error_that_names_the_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SAVE_INTERVAL, value)
    with pytest.raises(UserError, match=f"{SAVE_INTERVAL} is .* from 60 to 86400"):
        save_interval_s()
