"""Shards of photographs: whether every record is there, whole and of its class, and nothing else."""

import hashlib
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nofrost.config import EvaluationView
from nofrost.data import ShardManifest
from nofrost.data.central_square import central_square
from nofrost.data.jpeg import decode_photograph
from nofrost.data.parallel import threaded_map
from nofrost.data.pixel_statistics import PixelStatistics, histograms
from nofrost.data.shards.access import LocalFiles
from nofrost.data.shards.index import Index, read_index
from nofrost.errors import UserError, reason, shortened
from nofrost.telemetry import Progress
from nofrost.verify.faults import Faults, RecordFaults

_CHUNK = 1 << 20
PHOTOGRAPHS, LABEL = (".jpg", ".png"), ".cls"  # suffixes of the members of a record
_LABEL = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True)
class ShardSet:
    """The photographs of a split or of an augmentation set, as a manifest describes them.

    Attributes:
        folder: where shards and index lie.
        shards: of the manifest.
        count: photographs in all.
        channels: 1 or 3.
        labels: int64 [N] that the records must have; None if they are not known.
        view: to count the levels of; None counts none.
    """

    folder: Path
    shards: tuple[ShardManifest, ...]
    count: int
    channels: int
    labels: NDArray[np.int64] | None = None
    view: EvaluationView | None = None


def check_shards(photographs: ShardSet, faults: Faults, bar: Progress) -> PixelStatistics | None:
    """Note all faults of shards and index; return the statistics of the view, if all of it could be read."""
    index: Index | None = None
    with faults.noting(photographs.folder / "index.npy"):
        index = read_index(photographs.folder, photographs.shards, photographs.count)
    records = [shard.records for shard in photographs.shards]
    if index is not None and not np.array_equal(index["shard"], np.repeat(np.arange(len(records)), records)):
        faults.add(photographs.folder / "index.npy", "its rows are not in the order of the shards")
        index = None
    statistics = PixelStatistics(photographs.channels) if photographs.view and index is not None else None
    files = LocalFiles(photographs.folder, [shard.name for shard in photographs.shards])
    start = 0
    for number, shard in enumerate(photographs.shards):
        path = photographs.folder / shard.name
        if _check_file(path, shard, faults):
            found = RecordFaults()
            rows = range(start, start + shard.records)
            labels = _check_members(path, rows, index, faults, found)
            whole = index is not None and _check_records(photographs, files, number, rows, index, found, statistics)
            _check_labels(photographs, rows, labels, found)
            found.write(path, faults)
        else:
            whole = False
        if not whole:
            statistics = None
        start += shard.records
        faults.images += shard.records
        bar.advance(shard.records)
    files.close()
    return statistics


def _check_file(path: Path, shard: ShardManifest, faults: Faults) -> bool:
    """Note whether the file is missing or another; return whether it can be read."""
    if not path.is_file():
        faults.add(path, "is missing" if not path.exists() else "is not a file")
        return False
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        faults.add(path, f"cannot be read ({reason(error)})")
        return False
    if size != shard.size:
        faults.add(path, f"has {size:,} bytes, the manifest says {shard.size:,}")
    elif digest.hexdigest() != shard.md5:
        faults.add(path, "is damaged or another file: its MD5 is not that of the manifest")
    return True


def _check_members(
    path: Path, rows: range, index: Index | None, faults: Faults, found: RecordFaults
) -> dict[int, bytes]:
    """Note members that are missing, surplus, or not where the index says; return the labels that were found."""
    expected = {f"{row:09d}{suffix}": row for row in rows for suffix in (*PHOTOGRAPHS, LABEL)}
    seen: set[tuple[int, bool]] = set()
    labels: dict[int, bytes] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                # otherwise it keeps all of them in memory
                cast(Any, archive).members.clear()
                if fault := _fault_of(member, expected, seen):
                    faults.add(path, f"{shortened(member.name)} {fault}")
                    continue
                row, is_label = expected[member.name], member.name.endswith(LABEL)
                seen.add((row, is_label))
                if is_label:
                    file.seek(member.offset_data)
                    labels[row] = file.read(min(member.size, 20))
                elif index is not None and (member.offset_data, member.size) != _place(index, row):
                    found.add(row, "its photograph is not where the index says")
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                faults.add(path, f"is damaged at byte {archive.offset:,}: what follows is no tar")
    except (tarfile.TarError, OSError, ValueError) as error:
        faults.add(path, f"is cut off or damaged ({reason(error)})")
    for row in rows:
        for is_label, what in ((False, "photograph"), (True, "label")):
            if (row, is_label) not in seen:
                found.add(row, f"its {what} is missing")
    return labels


def _fault_of(member: tarfile.TarInfo, expected: Mapping[str, int], seen: set[tuple[int, bool]]) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "is a path that leads out of the shard"
    if not member.isreg() or member.issparse():
        return "is a link" if member.issym() or member.islnk() else "is not a file"
    if member.name not in expected:
        return "is surplus: no record has it"
    return "is there twice" if (expected[member.name], member.name.endswith(LABEL)) in seen else ""


def _place(index: Index, row: int) -> tuple[int, int]:
    return int(index["offset"][row]), int(index["size"][row])


def _check_records(
    photographs: ShardSet,
    files: LocalFiles,
    shard: int,
    rows: range,
    index: Index,
    found: RecordFaults,
    statistics: PixelStatistics | None,
) -> bool:
    """Note photographs of a shard that are damaged; return whether none is."""
    whole = True
    view = photographs.view

    def check(row: int) -> tuple[int, str, NDArray[np.int64] | None]:
        record = index[row]
        content = files.read(shard, int(record["offset"]), int(record["size"]))
        if zlib.crc32(content) != int(record["crc32"]):
            return row, "is damaged: its checksum is not that of the index", None
        try:
            image = decode_photograph(content, photographs.channels)
        except ValueError as error:
            return row, f"cannot be decoded ({reason(error)})", None
        if (image.height, image.width) != (int(record["height"]), int(record["width"])):
            return row, "has another size in pixels than the index says", None
        if view is None:
            return row, "", None
        pixels = np.asarray(central_square(image, view)).reshape(view.crop, view.crop, photographs.channels)
        return row, "", histograms(pixels)

    try:
        for row, fault, counts in threaded_map(check, rows):
            if fault:
                found.add(row, fault)
                whole = False
            elif statistics is not None and counts is not None:
                statistics.add(counts)
    except UserError as error:
        found.add(rows.start, f"cannot be read ({error})")
        return False
    return whole


def _check_labels(photographs: ShardSet, rows: Sequence[int], labels: dict[int, bytes], found: RecordFaults) -> None:
    for row in rows:
        if row not in labels:
            continue
        if not _LABEL.fullmatch(labels[row]):
            found.add(row, "its label is not a number")
        elif photographs.labels is not None and int(labels[row]) != photographs.labels[row]:
            found.add(row, "its label is not that of labels.npy")
