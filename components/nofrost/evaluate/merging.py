"""From the shards of an evaluation to the whole: checking that they belong together, and joining what they measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_array
from nofrost.errors import UserError
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.protocol import DEVICES, of_all_shards
from nofrost.evaluate.sample import Rows
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.stage_files import CONDITIONS
from nofrost.files import read_json
from nofrost.stage import RECORD


def in_order(folders: Sequence[Path], record: Mapping[str, Any]) -> list[Path]:
    """Return the folders by the index of the shard that they hold.

    Args:
        folders: outputs of the stage for shards, in any order.
        record: what ``record.json`` of the whole holds; a shard's holds the same and which shard it is.

    Raises:
        UserError: they are not all shards of this evaluation, each of them once.
    """
    if not folders:
        raise UserError("no shards to merge: name the folder of every shard")
    found: dict[Shard, Path] = {}
    for folder in folders:
        shard = _shard_of(folder, record)
        for other, place in found.items():
            if shard == other:
                raise UserError(f"{place} and {folder} both hold shard {shard}: name every shard once")
            if shard.count != other.count:
                raise UserError(f"{place} holds shard {other} but {folder} shard {shard}: merge shards of one division")
        found[shard] = folder
    count = next(iter(found)).count
    missing = next((index for index in range(count) if Shard(index, count) not in found), None)
    if missing is not None:
        given = ", ".join(map(str, folders))
        raise UserError(f"shard {missing}/{count} is not among {given}: name the folders of all {count} shards")
    return [found[Shard(index, count)] for index in range(count)]


def is_finished(folder: Path, shard: Shard, record: Mapping[str, Any]) -> bool:
    """Return whether a folder holds this very shard of this very evaluation."""
    try:
        return _shard_of(folder, record) == shard
    except UserError:
        return False


def recorded_batch_size(folders: Sequence[Path]) -> int | None:
    """Return how many images the first of these shards measured at once; None where that cannot be told."""
    try:
        size = read_json(folders[0] / RECORD)["protocol"]["batch_size"]
    except (UserError, IndexError, KeyError, TypeError):
        return None  # it is refused, with the reason, by `in_order`
    return size if isinstance(size, int) and size > 0 else None


def record_of_all(record: dict[str, Any], folders: Iterable[Path]) -> dict[str, Any]:
    """Return what ``record.json`` of the whole holds: every device that took part in the shards is named."""
    protocols = [read_json(folder / RECORD)["protocol"] for folder in folders]
    return {**record, "protocol": of_all_shards(record["protocol"], protocols)}


def take_over(folders: Sequence[Path], names: Iterable[str], measurement: Measurement) -> None:
    """Put what all shards measured into the store of `measurement`, as if it had been measured there.

    Args:
        folders: of all shards, by index.
        names: of everything that is to be measured.

    Raises:
        UserError: something is missing in a shard, or is not about as many images as the shard has.
    """
    shards = (Shard(index, len(folders)) for index in range(len(folders)))
    rows = [shard.rows(len(measurement.sample), measurement.batch_size) for shard in shards]
    for name in names:
        if name not in measurement.store:
            measurement.store[name] = _joined(f"{name}.npy", folders, rows)


def _joined(file: str, folders: Sequence[Path], rows: Sequence[Rows]) -> NDArray[Any]:
    parts = []
    for folder, own in zip(folders, rows, strict=True):
        path = folder / CONDITIONS / file
        part = read_array(path)
        if part.shape != own.shape:
            raise UserError(f"{path} holds {list(part.shape)} values for {len(own)} images: measure this shard again")
        parts.append(part)
    joined: NDArray[Any] = np.concatenate(parts)[np.argsort(np.concatenate(rows))]
    return joined


def _shard_of(folder: Path, record: Mapping[str, Any]) -> Shard:
    made = read_json(folder / RECORD)
    if not isinstance(made, dict) or "shard" not in made:
        raise UserError(f"{folder} holds no shard of an evaluation: make one with `nofrost evaluate --shard 0/3`")
    shard = Shard.parse(str(made.pop("shard")))
    difference = _difference(made, record, but=DEVICES)
    if difference is not None:
        raise UserError(
            f"{folder} holds a shard of another evaluation ({difference}): merge it with the suite, dataset and "
            "checkpoint, on the kind of device and with the versions, that it was measured with"
        )
    return shard


def _difference(there: Any, here: Any, key: str = "", *, but: str) -> str | None:
    """Return in words the first value that differs, keys called `but` aside; None when all others are equal."""
    if not (isinstance(there, dict) and isinstance(here, Mapping)):
        return None if there == here else f"{key} is {there!r} there and {here!r} here"
    names = [name for name in dict.fromkeys((*here, *there)) if name != but]
    found = (_difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."), but=but) for name in names)
    return next((each for each in found if each is not None), None)
