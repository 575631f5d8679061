"""The working folder of a task, and its exchange with the store: inputs, outputs, pre-trained weights."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nofrost.config import Recipe
from nofrost.errors import UserError
from nofrost.files import work_path
from nofrost.lock import folder_lock
from nofrost.store import MissingError, Output, Ref, Store, default_store, open_store, pull, push


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
        try:
            pull(source.ref, path, self.store)
        except MissingError as error:
            # Kubeflow's cache does not know what is deleted from the store.
            remedy = "if `dvc gc --cloud` has deleted it, submit the run with --no-cache once"
            raise UserError(f"{error}; {remedy}") from None
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
        yield Workspace(Path(folder), open_store(store, patient=True))


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
        pull(ref, path, open_store(store or default_store(), patient=True))
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
