"""A kill or an error leaves the old file or the new one, never half of it, and nothing beside it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.files import atomic_file, read_json, sha256_file, write_bytes, write_json, write_text

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


def test_others_may_read_the_file_and_only_the_owner_may_write_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


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
