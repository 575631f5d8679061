"""Pre-trained weights that a recipe names by a ref, on their way from the store to the training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nofrost.config import Recipe
from nofrost.errors import UserError
from nofrost.store import Ref, default_store, open_store, pull


@contextmanager
def pretrained(recipe: Recipe, out: Path, store: str | None) -> Iterator[Path | None]:
    """Yield where the pre-trained weights of a recipe are: a file, or the output folder of a training.

    A ref is fetched to ``<out>.weights``, which is gone at the end; processes that train together on one machine fetch
    it once. A path is yielded as it stands, and None where the recipe starts from random weights.

    Args:
        out: the folder that the training makes.
        store: URL of the store; None for the one of this workspace.

    Raises:
        UserError: the store cannot be had, or does not hold the ref whole.
    """
    text = recipe.model.weights
    if text is None or not is_ref(text):
        yield None if text is None else Path(text)
        return
    ref, folder = Ref.parse(text), out.with_name(f"{out.name}.weights")
    place = folder / ("train" if ref.is_dir else "weights.safetensors")
    try:
        pull(ref, place, open_store(store or default_store()))
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_ref(text: str) -> bool:
    """Return whether `text` names content by its address and not by a path."""
    try:
        Ref.parse(text)
    except UserError:
        return False
    return True
