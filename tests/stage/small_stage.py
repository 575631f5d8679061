"""A small stage, its output, and the message of what refuses it."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from nofrost import stage
from nofrost.errors import UserError
from nofrost.files import write_json


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
