"""The working folder of a task, and its exchange with the store: inputs, outputs, checkpoints, weights."""

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nofrost.config import Recipe
from nofrost.errors import UserError
from nofrost.files import work_path
from nofrost.lock import folder_lock
from nofrost.store import Output, Ref, Store, default_store, open_store, pull, push

CHECKPOINT_INTERVAL_S = 300.0


@dataclass(frozen=True)
class Workspace:
    """A temporary folder with the same paths as a checkout in which `dvc repro` runs (data/dataset, runs/...)."""

    folder: Path
    store: Store

    def pull(self, output: str) -> Path:
        """Pull an output from the store to its path in the workspace and return that path.

        Raises:
            UserError: the text is not an output, or the store does not have all of it.
        """
        source = Output.parse(output)
        path = self.folder / source.path
        pull(source.ref, path, self.store)
        return path

    def push(self, path: str) -> str:
        """Push the file or folder at `path` in the workspace and return it as an output."""
        return str(Output(path, push(self.folder / path, self.store)))


@contextmanager
def workspace(store: str) -> Iterator[Workspace]:
    """Yield an empty workspace in the folder for temporary files (TMPDIR) and delete it at the end.

    Args:
        store: URL of the store, such as ``s3://bucket/prefix``.
    """
    with tempfile.TemporaryDirectory(prefix="nofrost-") as folder:
        yield Workspace(Path(folder), open_store(store))


@contextmanager
def checkpointed_in_store(out: Path, depends_on: Sequence[str], store: Store) -> Iterator[None]:
    """Keep the partial output of a resumable stage in the store, so that a pod that was killed resumes on another node.

    The partial output (``.OUT.nofrost-partial``) of an earlier try is restored first. That of this try is pushed every
    five minutes, and at once when the stage fails or is stopped; only what changed is transferred. An error of the
    store never makes the stage fail: the worst case is work done twice.

    Args:
        out: the folder that the stage writes.
        depends_on: what the output depends on, as text; a partial output of another configuration is never restored.
    """
    key = hashlib.sha256(json.dumps([out.name, *depends_on]).encode()).hexdigest()
    checkpoint = _Checkpoint(work_path(out, "partial"), f"nofrost/unfinished/{key}", store)
    checkpoint.restore()
    stop = threading.Event()
    thread = threading.Thread(target=checkpoint.save_until, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        stop.set()
        thread.join()
        checkpoint.save()
        raise
    stop.set()
    thread.join()


class _Checkpoint:
    """A partial output and its copy in the store, whose name is derived from what the output depends on."""

    def __init__(self, partial: Path, name: str, store: Store) -> None:
        self._partial, self._name, self._store = partial, name, store

    def restore(self) -> None:
        # Expected errors: this is the first try, or a garbage collection of the store has deleted the copy.
        with suppress(UserError):
            pull(Ref.parse(self._store.get(self._name).decode()), self._partial, self._store)

    def save_until(self, stop: threading.Event) -> None:
        while not stop.wait(CHECKPOINT_INTERVAL_S):
            self.save()

    def save(self) -> None:
        """Push a copy of the partial output, unless a file changed while it was copied."""
        copy = work_path(self._partial, "kept")
        # Expected errors: there is no partial output yet, a file vanished while it was copied, no connection.
        with suppress(OSError, UserError):
            before = _file_states(self._partial)
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self._partial, copy)
            if _file_states(self._partial) == before:
                self._store.put(self._name, str(push(copy, self._store)).encode())
        shutil.rmtree(copy, ignore_errors=True)


def _file_states(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@contextmanager
def pretrained(recipe: Recipe, out: Path, store: str | None) -> Iterator[Path | None]:
    """Yield the path of a recipe's pre-trained weights: a file, or the output folder of a training.

    A ref is pulled to ``.OUT.nofrost-weights``, which is deleted at the end; processes that train together on one
    machine pull it once. A path is yielded unchanged, and None where the recipe starts from random weights.

    Args:
        out: the folder that the training writes.
        store: URL of the store; None for the one of this workspace.

    Raises:
        UserError: the store cannot be reached, or does not have all of the ref.
    """
    weights = recipe.model.weights
    if weights is None or not is_ref(weights):
        yield None if weights is None else Path(weights)
        return
    ref, folder = Ref.parse(weights), work_path(out, "weights")
    path = folder / ("train" if ref.is_dir else "weights.safetensors")
    try:
        pull(ref, path, open_store(store or default_store()))
        yield path
    finally:
        # Unless another process trains into the same folder, with these weights.
        with suppress(UserError, OSError), folder_lock(out):
            shutil.rmtree(folder, ignore_errors=True)


def is_ref(text: str) -> bool:
    """Return whether `text` is a ref, and not a path."""
    try:
        Ref.parse(text)
    except UserError:
        return False
    return True
