"""Finished conditions on disk, so that a killed evaluation repeats at most the one it was in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.split import read_array
from nofrost.files import atomic_file


class ConditionStore:
    """Arrays [N] by name: measured once, kept in memory and, when there is a folder, in one ``.npy`` file each.

    Args:
        folder: where the files lie; it must belong to this model, these images and this suite alone. None: memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, NDArray[Any]] = {}

    def get(self, name: str, measure: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array called `name`; `measure` makes it when no run has finished it yet."""
        if name not in self._arrays:
            self._arrays[name] = self._load(name) if self.has(name) else self._save(name, measure())
        return self._arrays[name]

    def has(self, name: str) -> bool:
        """Return whether the array is there without measuring."""
        return name in self._arrays or (self._folder is not None and self._path(name).is_file())

    def _load(self, name: str) -> NDArray[Any]:
        return np.array(read_array(self._path(name)))

    def _save(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        if self._folder is not None:
            with atomic_file(self._path(name)) as file:
                np.save(file, array, allow_pickle=False)
        return array

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.npy"
