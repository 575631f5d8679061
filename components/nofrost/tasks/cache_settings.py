"""The cache of shards of a task or command, which the store fills."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nofrost.data.shards.shard_cache import ShardCache
from nofrost.data_cache import FOLDER_VARIABLE, SIZE_VARIABLE
from nofrost.errors import UserError, shortened
from nofrost.limits import byte_count
from nofrost.store import Store
from nofrost.system_errors import explain_write_errors

# Of the disk, where no size is given: other things lie there too.
_SHARE_OF_DISK = 0.8


def make_shard_cache(store: Store, folder: Path, size: str | None = None) -> ShardCache:
    """Return the cache in `folder`, which `store` fills.

    Args:
        size: limit in bytes, as NOFROST_CACHE_SIZE has it, such as ``200GiB``; None for 80 % of the disk.

    Raises:
        UserError: the size is none, or the folder cannot be made.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        limit = int(shutil.disk_usage(folder).total * _SHARE_OF_DISK)
    if size:
        given = byte_count(size)
        if not given:
            raise UserError(
                f"--cache-size or {SIZE_VARIABLE} is {shortened(size)}, which is not a size: write one such as 200GiB"
            )
        limit = given
    return ShardCache(store.read, folder, limit)


def cache_folder(default: Path) -> Path:
    """Return the folder that NOFROST_DATA_CACHE names, or else the default."""
    return Path(os.environ.get(FOLDER_VARIABLE) or default)


def users_cache() -> Path:
    """Return the default folder of commands: that of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nofrost" / "shards"
