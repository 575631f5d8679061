"""Shards of an evaluation: which images each measures, and merging their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.evaluate.measuring.cache import MeasurementCache, read_values
from nofrost.evaluate.measuring.engine import GROUP, Engine, Measurement
from nofrost.evaluate.measuring.protocol import MAY_DIFFER, of_all_shards
from nofrost.evaluate.measuring.sample import Rows
from nofrost.files import read_json
from nofrost.results import EvaluationRecord, ShardRecord, read_result
from nofrost.shard import TaskShard
from nofrost.stage import RECORD

CONDITIONS = "conditions"  # folder of the measurement cache, in the partial output and in the output of a shard


@dataclass(frozen=True)
class Shard(TaskShard):
    """Shard `index` (from 0) of `count`, written ``0/3``: every `count`-th batch of the images, or group of batches.

    Shards consist of whole batches, not of single images, because the last bits of a model's output depend on the batch
    size, by which libraries choose the kernels of convolutions and matrix products, and an iterative attack amplifies
    small differences. Each batch of a shard holds the same images as in the evaluation of all images, so that each flag
    is the same on devices of one kind; also where the images that are left of a group of batches are packed anew. The
    drawback: shards differ in size by up to one batch or group, and with fewer of them than shards the last shards are
    empty.

    Raises:
        UserError: there is no such shard.
    """

    def rows(self, total: int, dealt: int) -> Rows:
        """Return which of `total` rows belong to this shard, when `dealt` rows after the other go to each in turn."""
        return np.flatnonzero(np.arange(total) // dealt % self.count == self.index).astype(np.int64)


def shard_in(folder: Path, record: EvaluationRecord) -> Shard:
    """Return which shard of an evaluation a folder holds.

    Args:
        folder: output of the stage for a shard.
        record: what ``record.json`` of the whole holds; a shard's holds the same and which shard it is.

    Raises:
        UserError: the folder holds no shard, or one of another evaluation.
    """
    recorded = read_json(folder / RECORD)
    if not isinstance(recorded, dict) or "shard" not in recorded:
        raise UserError(f"{folder} holds no shard of an evaluation: make one with `nofrost evaluate --shard 0/3`")
    shard = Shard.parse(str(recorded.pop("shard")))
    difference = _difference(recorded, record.as_json(), ignored=MAY_DIFFER)
    if difference is not None:
        raise UserError(
            f"{folder} holds a shard of another evaluation ({difference}): merge it with the suite, dataset and "
            "checkpoint, on the kind of device and with the versions, that it was measured with"
        )
    return shard


def is_finished(folder: Path, shard: Shard, record: EvaluationRecord, measurements: Iterable[Measurement]) -> bool:
    """Return whether a folder holds this shard of this evaluation, undamaged."""
    try:
        for measurement in measurements:
            read_values(folder / CONDITIONS / f"{measurement.name}.npz")
        return shard_in(folder, record) == shard
    except UserError:
        return False


def record_of_all(record: EvaluationRecord, folders: Iterable[Path]) -> EvaluationRecord:
    """Return what ``record.json`` of the whole holds, with every device that took part in the shards."""
    protocols = [read_result(ShardRecord, folder / RECORD).protocol for folder in folders]
    return record.model_copy(update={"protocol": of_all_shards(record.protocol, protocols)})


def images_dealt(measurements: Iterable[Measurement], batch_size: int) -> int:
    """Return how many images, one after the other, belong to one shard: a batch, or a group that is packed anew."""
    return batch_size * (GROUP if any(measurement.repacked for measurement in measurements) else 1)


def load_shards(folders: Sequence[Path], measurements: Sequence[Measurement], engine: Engine) -> None:
    """Copy the measurements of all shards into the cache of `engine`.

    Args:
        folders: of all shards, by index.
        measurements: everything that is to be measured.

    Raises:
        UserError: something is missing in a shard, or is not about as many images as the shard has.
    """
    shards = [Shard(index, len(folders)) for index in range(len(folders))]
    dealt = images_dealt(measurements, engine.batch_size)
    for measurement in measurements:
        if measurement.name not in engine.cache:
            total = len(engine.sample_of(measurement))
            rows = [shard.rows(total, dealt) for shard in shards]
            engine.cache[measurement.name] = _joined(measurement, folders, rows, engine.cache)


def _joined(
    measurement: Measurement, folders: Sequence[Path], rows: Sequence[Rows], cache: MeasurementCache
) -> NDArray[Any]:
    parts = []
    for folder, shard_rows in zip(folders, rows, strict=True):
        path = folder / CONDITIONS / f"{measurement.name}.npz"
        try:
            values, reduced = read_values(path)
        except UserError as error:
            raise UserError(f"{error}: measure this shard again") from None
        # What memory did not hold in a shard, it does not hold here either.
        cache.note_reduced(measurement.name, reduced)
        if values.shape != (len(shard_rows), *measurement.shape):
            shape = list(values.shape)
            raise UserError(f"{path} holds {shape} values for {len(shard_rows)} images: measure this shard again")
        parts.append(values)
    joined: NDArray[Any] = np.concatenate(parts)[np.argsort(np.concatenate(rows))]
    return joined


def _difference(there: Any, here: Any, key: str = "", *, ignored: tuple[str, ...]) -> str | None:
    """Describe the first value that differs, except under `ignored` keys; None if there is no difference."""
    if not (isinstance(there, dict) and isinstance(here, Mapping)):
        return None if there == here else f"{key} is {there!r} there and {here!r} here"
    names = [name for name in dict.fromkeys((*here, *there)) if name not in ignored]
    differences = (
        _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."), ignored=ignored) for name in names
    )
    return next((each for each in differences if each is not None), None)
