"""Task shards: which part of the work of a stage one of several tasks does. Tar shards are in nofrost/data/shards."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nofrost.errors import UserError


@dataclass(frozen=True)
class TaskShard:
    """Shard `index` (from 0) of `count`, written ``0/3``.

    Raises:
        UserError: there is no such shard.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"shard {self}: the number of shards must be at least 1, such as 0/3")
        if not 0 <= self.index < self.count:
            raise UserError(
                f"there is no shard {self}: of {self.count} the first is 0/{self.count} and the last "
                f"{self.count - 1}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that is written ``index/count``.

        Raises:
            UserError: the text is of another form, or there is no such shard.
        """
        match = re.fullmatch(r"(-?[0-9]{1,9})/(-?[0-9]{1,9})", text.strip())
        if match is None:
            raise UserError(f"shard {text!r} is not of the form index/count: write 0/3 for the first of three")
        return cls(int(match[1]), int(match[2]))


def folders_by_index(folders: Iterable[tuple[TaskShard, Path]]) -> list[Path]:
    """Return the folders by the index of the shard that each holds.

    Raises:
        UserError: they are not all shards of one whole, each of them once.
    """
    by_index: dict[int, tuple[TaskShard, Path]] = {}
    for shard, folder in folders:
        first, first_folder = next(iter(by_index.values()), (shard, folder))
        if shard.count != first.count:
            raise UserError(
                f"{first_folder} holds shard {first} but {folder} shard {shard}: merge shards of the same count"
            )
        if shard.index in by_index:
            other_folder = by_index[shard.index][1]
            raise UserError(f"{other_folder} and {folder} both hold shard {shard}: name every shard once")
        by_index[shard.index] = shard, folder
    if not by_index:
        raise UserError("no shards to merge: name the folder of every shard")
    count = next(iter(by_index.values()))[0].count
    missing = next((index for index in range(count) if index not in by_index), None)
    if missing is not None:
        names = ", ".join(str(folder) for _, folder in by_index.values())
        raise UserError(f"shard {missing}/{count} is not among {names}: name the folders of all {count} shards")
    return [by_index[index][1] for index in range(count)]
