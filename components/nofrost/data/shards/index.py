"""The index of a split in shards: where the JPEG of each row lies, its checksum and its size in pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_array, write_array
from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.access import REMEDY
from nofrost.errors import UserError

FILE = "index.npy"
RECORD = np.dtype(
    [
        ("shard", "<u4"),
        ("offset", "<u8"),
        ("size", "<u4"),
        ("crc32", "<u4"),
        ("height", "<u2"),
        ("width", "<u2"),
    ]
)
"""One row: number of the shard, first byte and number of bytes of the JPEG in it, their ``zlib.crc32``, and pixels."""

Index = NDArray[np.void]


def write_index(folder: Path, index: Index) -> None:
    """Write the index of a split into its folder."""
    write_array(folder / FILE, [index], index.shape, RECORD)


def read_index(folder: Path, shards: tuple[ShardManifest, ...], count: int) -> Index:
    """Return the index of the split in `folder`: structured [count], memory-mapped.

    Args:
        shards: those of the manifest, in which all records must lie.

    Raises:
        UserError: it is missing, damaged, or does not fit the manifest.
    """
    path = folder / FILE
    index = read_array(path)
    if index.dtype != RECORD or index.shape != (count,):
        raise UserError(
            f"{path} holds {index.dtype} {list(index.shape)}, it must be the {count} records that the manifest says: "
            f"{REMEDY}"
        )
    if not count:
        return index
    numbers = index["shard"]
    if int(numbers.max()) >= len(shards) or not np.array_equal(
        np.bincount(numbers, minlength=len(shards)), [shard.records for shard in shards]
    ):
        raise UserError(f"{path} and the manifest disagree on which shard holds what: {REMEDY}")
    lengths = np.array([shard.size for shard in shards], dtype=np.uint64)[numbers]
    # Not offset + size, which a damaged offset takes beyond 64 bits, to a small number.
    if ((index["offset"] > lengths) | (index["size"] > lengths - np.minimum(index["offset"], lengths))).any():
        raise UserError(f"{path} names bytes beyond the end of a shard: {REMEDY}")
    if min(int(index[key].min()) for key in ("height", "width", "size")) < 1:
        raise UserError(f"{path} has a record without pixels: {REMEDY}")
    return index
