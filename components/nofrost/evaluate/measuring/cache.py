"""Cache of measured values: one ``.npz`` file for each finished measurement, and one for each finished batch.

The cache is not a database, because checkpoint folders are often on network disks, where file locks are unreliable.
Files are written under another name and renamed, so that a process may be killed at any moment, and two processes that
do the same work at the same time only write equal files twice.
"""

import glob
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError, remark
from nofrost.evaluate.measuring.sample import Rows
from nofrost.files import atomic_file


class MeasurementCache:
    """Values [N, ...] by the name of their measurement, in memory and, where there is a folder, on disk.

    Args:
        folder: must belong to this model, these images and this suite alone. None: memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, NDArray[Any]] = {}
        self._reduced: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays or self._read(name)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the values of a finished measurement; KeyError if it is not in the cache."""
        if name not in self:
            raise KeyError(name)
        return self._arrays[name]

    def __setitem__(self, name: str, values: NDArray[Any]) -> None:
        """Keep the values of a finished measurement in place of its batches."""
        if self._folder is not None:
            with atomic_file(self._path(name)) as file:
                np.savez(file, values=values, reduced=self._reduced.get(name, 0))
            self._delete_batches(name)
        self._arrays[name] = values

    def _read(self, name: str) -> bool:
        """Take a finished measurement from its file; return whether there is one that is intact."""
        if self._folder is None or not self._path(name).is_file():
            return False
        try:
            values, reduced = read_values(self._path(name))
        except UserError as error:
            remark(f"{error}: it is measured again")
            self._path(name).unlink()
            return False
        # A kill between writing the array and deleting its batches leaves the batches.
        self._delete_batches(name)
        self._arrays[name] = values
        self.note_reduced(name, reduced)
        return True

    def write_batch(self, name: str, number: int, rows: Rows, values: NDArray[Any]) -> None:
        """Keep the values [n, ...] of the rows [n] of a batch."""
        if self._folder is not None:
            with atomic_file(self._batch_path(name, number)) as file:
                np.savez(file, rows=rows, values=values, reduced=self._reduced.get(name, 0))

    def read_batch(self, name: str, number: int, rows: Rows, like: NDArray[Any]) -> NDArray[Any] | None:
        """Return the values [n, ...] of a finished batch, or None where it has to be measured.

        Args:
            rows: those that the batch must hold. A damaged file, or one of other rows, counts as not there.
            like: an array [N, ...] of the dtype and shape that the values must have.
        """
        if self._folder is None or not self._batch_path(name, number).is_file():
            return None
        try:
            arrays = _read_arrays(self._batch_path(name, number), ("rows", "values", "reduced"))
        except UserError as error:
            remark(f"{error}: it is measured again")
            return None
        values = arrays["values"]
        same_form = values.dtype == like.dtype and values.shape == (len(rows), *like.shape[1:])
        if not (same_form and np.array_equal(arrays["rows"], rows)):
            return None
        self.note_reduced(name, int(arrays["reduced"]))
        return values

    @property
    def reduced_batch_sizes(self) -> dict[str, int]:
        """By measurement, the smallest batch size that was needed for lack of memory, in this run or an earlier one."""
        return dict(sorted(self._reduced.items()))

    def note_reduced(self, name: str, size: int) -> None:
        """Record that batches of a measurement were reduced to `size` images; 0 if they were not.

        What is written from then on says so, for a run that resumes this.
        """
        if size:
            self._reduced[name] = min(size, self._reduced.get(name, size))

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.npz"

    def _batch_path(self, name: str, number: int) -> Path:
        return self._path(f"{name}.batch-{number:05}")

    def _delete_batches(self, name: str) -> None:
        assert self._folder is not None
        for path in self._folder.glob(f"{glob.escape(name)}.batch-*.npz"):
            path.unlink(missing_ok=True)


def read_values(path: Path) -> tuple[NDArray[Any], int]:
    """Return the values [N, ...] of a finished measurement, and what its batches were reduced to, 0 if they were not.

    Raises:
        UserError: the file is missing or damaged.
    """
    arrays = _read_arrays(path, ("values", "reduced"))
    return arrays["values"], int(arrays["reduced"])


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return these arrays of a file, which are as they were written: the zip format has a CRC-32 of each.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:
        # A damaged file can raise nearly any exception.
        raise UserError(f"{path} is damaged ({type(error).__name__})") from None
