"""A small resumable work, the saves of its tries in a store, and what another try would go on from."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.files import write_bytes, write_json
from nofrost.store import Store, open_store
from nofrost.tasks import saves
from nofrost.tasks.saves import checkpointed_in_store

WAIT_S = 60


class Work:
    """A resumable stage: a save is a file named after its content, and a pointer to it that is written last."""

    def __init__(self, out: Path) -> None:
        self.partial = out.with_name(f".{out.name}.nofrost-partial")
        self.saving = threading.Lock()

    @property
    def pointer(self) -> Path:
        return self.partial / "unfinished" / "state.json"

    def save(self, content: bytes, *, fingerprint: bool = True) -> None:
        with self.saving:
            if fingerprint:
                write_json(self.partial / "unfinished/fingerprint.json", {"recipe": "st"})
            name = hashlib.sha256(content).hexdigest()
            write_bytes(self.pointer.with_name(name), content)
            write_json(self.pointer, {"file": name})
            for path in self.pointer.parent.iterdir():
                if path.name not in (name, "state.json", "fingerprint.json"):
                    path.unlink()

    def save_and_fail(self, content: bytes) -> None:
        self.save(content)
        raise UserError("stopped here")

    def saved(self) -> bytes | None:
        """Return what was saved, None if nothing was; an AssertionError if it is not whole."""
        if not self.pointer.is_file():
            return None
        name = json.loads(self.pointer.read_text())["file"]
        assert self.pointer.with_name(name).is_file()
        content = self.pointer.with_name(name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == name
        return content


def store_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store in a new folder, for tries that look for new saves all the time."""
    monkeypatch.setattr(saves, "POLL_S", 0.01)
    monkeypatch.setattr(saves, "save_interval_s", lambda: 0.4)
    folder.mkdir()
    return open_store(str(folder))


@contextmanager
def work_in(folder: Path, store: Store, config: str = "config") -> Iterator[Work]:
    with checkpointed_in_store(folder / "out", [config], store):
        yield Work(folder / "out")


@contextmanager
def failing_work_in(folder: Path, store: Store, config: str = "config") -> Iterator[Work]:
    """A try that ends with an error after the block."""
    with suppress(UserError), work_in(folder, store, config) as work:
        yield work
        raise UserError("stopped here")


def in_the_store(store: Store, tmp_path: Path, config: str = "config") -> bytes | None:
    """What a try that began now, elsewhere, would go on from."""
    with failing_work_in(Path(tempfile.mkdtemp(dir=tmp_path)), store, config) as work:
        return work.saved()


def wait_for_save(content: bytes, store: Store, tmp_path: Path) -> None:
    wait_until(lambda: in_the_store(store, tmp_path) == content)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
