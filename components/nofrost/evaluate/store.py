"""What was measured, on disk: finished arrays, and the batches of those that are not finished yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_array
from nofrost.evaluate.journal import Journal
from nofrost.files import atomic_file


class ConditionStore:
    """Arrays [N] by name: measured once, kept in memory and, when there is a folder, in one ``.npy`` file each.

    Args:
        folder: where the files lie; it must belong to this model, these images and this suite alone. None: memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, NDArray[Any]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays or (self._folder is not None and self._path(name).is_file())

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a finished array.

        Raises:
            UserError: its file is missing or damaged.
        """
        if name not in self._arrays:
            self._arrays[name] = np.array(read_array(self._path(name)))
            self._part(name).unlink(missing_ok=True)  # of a kill between the two steps of finishing
        return self._arrays[name]

    def __setitem__(self, name: str, array: NDArray[Any]) -> None:
        """Keep a finished array; it takes the place of its batches."""
        if self._folder is not None:
            with atomic_file(self._path(name)) as file:
                np.save(file, array, allow_pickle=False)
            self._part(name).unlink(missing_ok=True)
        self._arrays[name] = array

    def journal(self, name: str, dtype: np.dtype[Any]) -> Journal:
        """Return where the batches of an unfinished array are kept."""
        return Journal(None if self._folder is None else self._part(name), dtype)

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.npy"

    def _part(self, name: str) -> Path:
        return self._path(name).with_suffix(".part")
