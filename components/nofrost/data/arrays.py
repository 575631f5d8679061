"""Arrays on disk, in numpy's .npy and .npz files. Reading executes nothing: pickled arrays are refused."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError, reason
from nofrost.files import atomic_file
from nofrost.limits import check_expansion, regular_file
from nofrost.system_errors import cannot_read


def write_array(path: Path, batches: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write batches of rows as one .npy file of `shape` and `dtype`, with one batch in memory at a time.

    Raises:
        ValueError: the batches do not add up to `shape`, or are of another type.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    # Not through a memory map: on a full disk that would end the process (SIGBUS) without a message.
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            if batch.dtype != dtype or batch.shape[1:] != shape[1:]:
                expected = f"{dtype} [n, {', '.join(map(str, shape[1:]))}]"
                raise ValueError(f"{path}: a batch is {batch.dtype} {list(batch.shape)}, it must be {expected}")
            file.write(np.ascontiguousarray(batch).data)
            rows += len(batch)
    if rows != shape[0]:
        raise ValueError(f"{path}: {rows} rows were written of {shape[0]}")


def read_array(path: Path) -> NDArray[Any]:
    """Return the array in a .npy file, memory-mapped; pickled arrays are refused.

    Raises:
        UserError: the file is missing, cut off or not an array.
    """
    regular_file(path)
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that wrote it again") from None
    except OSError as error:
        raise cannot_read(error, path) from None
    # numpy parses the header as Python
    except (ValueError, TypeError, SyntaxError, TokenError, MemoryError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({reason(error)}): run the stage that wrote it again") from None
    return array


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to a compressed .npz, atomically; equal arrays give equal bytes (numpy writes no times)."""
    with atomic_file(path) as file:
        named: dict[str, Any] = dict(arrays)
        np.savez_compressed(file, **named)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by name; pickled arrays are refused.

    Raises:
        UserError: the file is missing, cut off or not a set of arrays.
    """
    regular_file(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            members = arrays.zip.infolist()
            check_expansion(sum(member.file_size for member in members), path.stat().st_size, str(path))
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that wrote it again") from None
    except UserError:
        raise
    # whatever a reader of archives raises: encrypted, of an unknown method, cut off, too large for the memory
    except Exception as error:
        raise UserError(f"{path} is damaged ({reason(error)}): run the stage that wrote it again") from None
