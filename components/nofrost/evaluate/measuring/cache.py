"""Cache of measured values: one ``.npy`` file for each finished measurement, one ``.npz`` for each finished batch.

The cache is not a database, because checkpoint folders are often on network disks, where file locks are unreliable.
Files are written under another name and renamed, so that a process may be killed at any moment, and two processes that
do the same work at the same time only write equal files twice.
"""

import glob
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_array
from nofrost.errors import UserError
from nofrost.evaluate.measuring.sample import Rows
from nofrost.files import atomic_file, read_json, write_json


class MeasurementCache:
    """Values [N, ...] by the name of their measurement, in memory and, where there is a folder, on disk.

    Args:
        folder: must belong to this model, these images and this suite alone. None: memory only.
    """

    REDUCED = "reduced.json"  # batch sizes that were reduced because memory ran out, by measurement

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, NDArray[Any]] = {}
        self._reduced = read_reduced(folder)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays or (self._folder is not None and self._path(name).is_file())

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the values of a finished measurement.

        Raises:
            UserError: its file is missing or damaged.
        """
        if name not in self._arrays:
            self._arrays[name] = np.array(read_array(self._path(name)))
            # A kill between writing the array and deleting its batches leaves the batches.
            self._delete_batches(name)
        return self._arrays[name]

    def __setitem__(self, name: str, values: NDArray[Any]) -> None:
        """Keep the values of a finished measurement in place of its batches."""
        if self._folder is not None:
            with atomic_file(self._path(name)) as file:
                np.save(file, values, allow_pickle=False)
            self._delete_batches(name)
        self._arrays[name] = values

    def write_batch(self, name: str, number: int, rows: Rows, values: NDArray[Any]) -> None:
        """Keep the values [n, ...] of the rows [n] of a batch."""
        if self._folder is not None:
            with atomic_file(self._batch_path(name, number)) as file:
                np.savez(file, rows=rows, values=values)

    def read_batch(self, name: str, number: int, rows: Rows, like: NDArray[Any]) -> NDArray[Any] | None:
        """Return the values [n, ...] of a finished batch, or None where it has to be measured.

        Args:
            rows: those that the batch must hold. A damaged file, or one of other rows, counts as not there.
            like: an array [N, ...] of the dtype and shape that the values must have.
        """
        if self._folder is None or not self._batch_path(name, number).is_file():
            return None
        content = io.BytesIO(self._batch_path(name, number).read_bytes())
        try:
            with np.load(content, allow_pickle=False) as arrays:
                same_rows = np.array_equal(arrays["rows"], rows)
                values: NDArray[Any] = arrays["values"]
        except Exception:
            # A damaged file can raise nearly any exception. Damaged arrays do not match the CRC-32 of the zip format.
            return None
        same_form = values.dtype == like.dtype and values.shape == (len(rows), *like.shape[1:])
        return values if same_rows and same_form else None

    @property
    def reduced_batch_sizes(self) -> dict[str, int]:
        """By measurement, the smallest batch size that was needed for lack of memory, in this run or an earlier one."""
        return dict(sorted(self._reduced.items()))

    def note_reduced(self, name: str, size: int) -> None:
        """Record that the batches of a measurement were reduced to `size` images, also for a run that resumes this."""
        self._reduced[name] = min(size, self._reduced.get(name, size))
        if self._folder is not None:
            write_json(self._folder / self.REDUCED, self.reduced_batch_sizes)

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.npy"

    def _batch_path(self, name: str, number: int) -> Path:
        return self._path(f"{name}.batch-{number:05}").with_suffix(".npz")

    def _delete_batches(self, name: str) -> None:
        assert self._folder is not None
        for path in self._folder.glob(f"{glob.escape(name)}.batch-*.npz"):
            path.unlink(missing_ok=True)


def read_reduced(folder: Path | None) -> dict[str, int]:
    """Return the reduced batch sizes that a cache folder holds; none where nothing was reduced."""
    if folder is None:
        return {}
    try:
        sizes: dict[str, int] = read_json(folder / MeasurementCache.REDUCED)
    except UserError:
        return {}
    return sizes
