"""A kill or an error leaves the old file or the new one, never half of it, and nothing beside it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofrost.data.arrays import write_array, write_arrays
from nofrost.errors import UserError
from nofrost.files import (
    atomic_file,
    read_checked_json,
    read_json,
    sha256_file,
    write_bytes,
    write_checked_json,
    write_json,
    write_text,
)
from nofrost.models import write_tensors

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
def test_json_is_read_as_it_was_written(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert names(tmp_path) == ["value.json"]


def test_missing_folders_are_created(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "text", "grüße\n")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "grüße\n".encode()


@pytest.mark.parametrize("earlier", [b"old", None])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, earlier: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    if earlier is not None:
        path.write_bytes(earlier)
    with pytest.raises(error), atomic_file(path) as file:  # noqa: PT012
        file.write(b"half")
        file.flush()
        raise error
    assert names(tmp_path) == (["file"] if earlier is not None else [])
    assert earlier is None or path.read_bytes() == earlier


def test_until_the_block_ends_a_reader_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    script = f"""
import os, signal
from pathlib import Path
from nofrost.files import atomic_file
with atomic_file(Path({str(path)!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert path.read_bytes() == b"old"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    earlier = os.umask(0o022)
    yield os.umask
    os.umask(earlier)


def write_as_tensors(path: Path) -> None:
    write_tensors(path, {"a": torch.zeros(2)})


WRITERS = {
    "bytes": lambda path: write_bytes(path, b"x"),
    "json": lambda path: write_json(path, {}),
    "checked json": lambda path: write_checked_json(path, {}),
    "arrays": lambda path: write_arrays(path, {"a": np.zeros(2)}),
    "array": lambda path: write_array(path, [np.zeros((2, 1))], (2, 1), np.dtype(float)),
    "tensors": write_as_tensors,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_leaves(
    tmp_path: Path, umask: Callable[[int], int], write: Callable[[Path], None], mask: int, mode: int
) -> None:
    umask(mask)
    write(tmp_path / "deep" / "file")
    assert mode_of(tmp_path / "deep" / "file") == mode
    assert mode_of(tmp_path / "deep") == 0o777 & ~mask
    assert names(tmp_path / "deep") == ["file"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode_and_a_link_stays_a_link(
    tmp_path: Path, umask: Callable[[int], int], write: Callable[[Path], None], mode: int
) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "file", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(mode)
    link.symlink_to(real)
    write(link)
    assert link.is_symlink()
    assert real.read_bytes() != b"old"
    assert mode_of(real) == mode
    assert names(tmp_path / "real") == ["file"]


def test_a_link_to_a_file_that_is_not_there_makes_that_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "later" / "file")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "later" / "file").read_text() == "x"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_protected_from_writing_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file").chmod(0o444)
    with pytest.raises(PermissionError):
        write_text(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is a device, a pipe or a socket"):
        write_text(tmp_path / "pipe", "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_a_killed_writer_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from nofrost.files import atomic_file
with atomic_file(Path({str(tmp_path / "file")!r})) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "file", "x")
    assert names(tmp_path) == ["file"]


def test_writers_of_one_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as first, atomic_file(tmp_path / "file") as second:
        first.write(b"first")
        second.write(b"second")
        assert len(names(tmp_path)) == 2
    assert (tmp_path / "file").read_bytes() == b"first", "that block ended last"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"sha256": "0", "content": 1}', b"[]"])
def test_checked_json_that_was_changed_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    write_checked_json(path, {"a": [0.1, None], "ü": 3})
    assert read_checked_json(path) == {"a": [0.1, None], "ü": 3}
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.json"):
        read_checked_json(path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [1, float("-inf")]}])
def test_nan_and_infinity_are_not_written(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, value)
    assert read_json(path) == {"old": 1}
    assert names(tmp_path) == ["metrics.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[NaN]", "contains NaN, which is not a number"),
        (b'{"loss": -Infinity}', "contains -Infinity"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_invalid_json_is_reported_with_its_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_reported_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path / "missing.json", "is missing: run the stage that writes it"),
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "x.json", "not a directory"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            read_json(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_the_checksum_is_that_of_the_whole_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    write_bytes(tmp_path / "file", content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_json_is_indented_and_keeps_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1]})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert text.index('"b"') < text.index('"a"'), "the order is the writer's"
    assert json.loads(text) == {"b": 1, "a": [0.1]}
