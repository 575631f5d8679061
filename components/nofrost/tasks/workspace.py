"""The working folder of a task, and its exchange with the store: inputs, outputs, pre-trained weights."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nofrost.config import Recipe
from nofrost.data.shards.cached import shards_from
from nofrost.data.shards.shard_cache import ShardCache
from nofrost.data_cache import FOLDER_VARIABLE, SIZE_VARIABLE
from nofrost.errors import UserError
from nofrost.files import work_path
from nofrost.lock import folder_lock
from nofrost.store import MissingError, Output, Ref, Store, default_store, files_of, open_store, pull, push
from nofrost.store.pull import is_shard
from nofrost.tasks.cache_settings import cache_folder, make_shard_cache
from nofrost.telemetry import progress


class StoredShard(NamedTuple):
    """A shard in the store."""

    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class Workspace:
    """A temporary folder with the same paths as a checkout in which `dvc repro` runs (data/dataset, runs/...).

    Attributes:
        cache: shards of images, which outputs in the workspace lack unless :meth:`pull_whole` brought them.
        kept: what the workspace holds until its end.
    """

    folder: Path
    store: Store
    cache: ShardCache
    kept: ExitStack

    def pull(self, output: str) -> Path:
        """Pull an output from the store to its path in the workspace, without shards, and return that path.

        What a stage reads of the shards comes through the cache.

        Raises:
            UserError: the text is not an output, or the store does not have all of it.
        """
        return self._pull(Output.parse(output), shards=False)

    def pull_whole(self, *outputs: str) -> list[Path]:
        """Pull outputs with their shards, and return their paths.

        Where NOFROST_DATA_CACHE is set, shards are kept there, where the next task finds them, and linked to.

        Raises:
            UserError: the text is not an output, the store does not have all of it, or the cache is too small.
        """
        parsed = [Output.parse(output) for output in outputs]
        if not os.environ.get(FOLDER_VARIABLE):
            return [self._pull(output, shards=True) for output in parsed]
        paths = [self._pull(output, shards=False) for output in parsed]
        shards = {
            path / relpath: md5
            for path, output in zip(paths, parsed, strict=True)
            for relpath, md5 in files_of(output.ref, self.store).items()
            if output.ref.is_dir and is_shard(relpath)
        }
        sizes = self.store.sizes(set(shards.values()))
        needed = [StoredShard(path.name, sizes.get(md5, 0), md5) for path, md5 in shards.items()]
        what = " and ".join(output.path for output in parsed)
        with progress(f"fetching {what}", total=len(needed)) as bar:
            self.kept.enter_context(self.cache.pinned(needed, what, bar.advance))
        for path, shard in zip(shards, needed, strict=True):
            path.symlink_to(self.cache.path(shard).absolute())
        return paths

    def _pull(self, output: Output, *, shards: bool) -> Path:
        path = self.folder / output.path
        try:
            pull(output.ref, path, self.store, shards=shards)
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

    Shards come through a cache in the folder that NOFROST_DATA_CACHE names, of at most NOFROST_CACHE_SIZE bytes; by
    default in the workspace.

    Args:
        store: URL of the store, such as ``s3://bucket/prefix``.
    """
    with tempfile.TemporaryDirectory(prefix="nofrost-") as temporary, ExitStack() as kept:
        folder, opened = Path(temporary), open_store(store, patient=True)
        cache = make_shard_cache(opened, cache_folder(folder / "shards"), os.environ.get(SIZE_VARIABLE))
        kept.enter_context(shards_from(cache))
        yield Workspace(folder, opened, cache, kept)


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
