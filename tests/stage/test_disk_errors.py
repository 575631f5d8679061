"""What the disk refuses is one sentence, and the earlier output stays; errors of inputs and bugs stay what they are."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.files import write_json
from nofrost.system_errors import refusal_to_write
from tests.stage.small_stage import content, message_of, names, run, stage_output, whole

OTHER_SYSTEM = not hasattr(os, "geteuid") or sys.platform != "linux"


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
from nofrost.system_errors import refusal_to_write
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
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True)
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
    explained = refusal_to_write(error, tmp_path / "out", ".out.nofrost-")
    assert isinstance(explained, UserError) if blamed else explained is None


def test_an_error_that_names_a_file_descriptor_is_about_no_output(tmp_path: Path) -> None:
    error = OSError(errno.EBADF, "Bad file descriptor", 3)
    assert refusal_to_write(error, tmp_path, ".out.nofrost-") is None


def test_a_bug_of_a_stage_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), stage_output(tmp_path / "out", fingerprint={}) as folder:  # noqa: PT012
        (folder / "a").mkdir()
        (folder / "a").mkdir()
