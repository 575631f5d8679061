"""Photographs beside torchvision's ImageFolder: `python benchmarks/data_loading.py`.

- **prepare**: seconds and peak memory of `nofrost prepare` for 1, 4 and 16 times as many small JPEGs, and for
  photographs of ImageNet's size; images per second of a core, beside ImageFolder that decodes the same files and
  computes the same statistics of their pixels (with the start of its process, which loads torch).
- **disk**: images per second of an epoch of training views (random resized crop of 224, flip), from shards and from
  ImageFolder in torch's DataLoader with a worker for each core, on the same photographs of ImageNet's size; with and
  without the extra `fast`. Our batches hold levels, uint8, which the device scales; ImageFolder makes the same of them,
  and in a row of its own float32, as torchvision's examples do.
- **s3**: the same from a server on loopback: shards streamed through an empty cache beside one GET for each photograph.
  An epoch of ImageNet has some 600 shards and waits for the first few; as many shares of this one are shards of 8 MiB.
  Then with answers that come 5 and 20 ms late, as S3 never answers at once, beside four workers for each core, which
  wait for several answers at a time.

Ours and theirs take turns in one run; the median of the ratios of each turn is printed. The files are made of
imagenette-mini, in the folder that `--data` names. The server is the one of NOFROST_TEST_S3; without it,
tests/servers/s3.py starts one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loading.late_answers import late_answers
from benchmarks.loading.photographs import LARGE, SMALL, mean_bytes, write_folder
from benchmarks.loading.readers import folder_loader, object_loader, ours, ours_streamed
from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.data.shards.writer import SHARD_BYTES
from nofrost.prepare import run as run_prepare
from nofrost.prepare import shard_splits
from nofrost.store import open_store, push
from nofrost.train import decoding

ROOT = Path(__file__).resolve().parents[1]
SERVER = ROOT / "tests" / "servers" / "s3.py"
PARTS = ("prepare", "disk", "s3")
# Reads every file of a folder as ImageFolder does, and sums its pixels as prepare must.
IMAGE_FOLDER = """
import sys
import numpy as np
from torchvision.datasets import ImageFolder
counts = np.zeros((3, 256), dtype=np.int64)
for image, _ in ImageFolder(sys.argv[1]):
    pixels = np.asarray(image)
    for channel in range(3):
        counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
"""
# Runs a command in silence and prints its seconds on the clock and of processors, and its peak memory in MiB.
MEASURED = """
import os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
STREAMED_SHARD_BYTES = 1 << 23
DELAYS_MS = (5, 20)
LATE_PHOTOGRAPHS = 1_280  # of one GET each, whose rate does not depend on their number, and which take minutes


@dataclass(frozen=True)
class Row:
    """One comparison: medians over the turns. `ratio` is ours to theirs; above 1 ours is faster."""

    part: str
    what: str
    ours: float
    theirs: float | None
    ratio: float | None
    unit: str


def run(*command: str) -> tuple[float, float, float]:
    """Run a command; return its seconds on the clock and of processors, and its peak memory in MiB."""
    # A program of its own, as the system counts the memory of whoever starts a process as the process's.
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    if measured.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {measured.returncode}")
    clock, processor, memory = map(float, measured.stdout.splitlines()[-1].split())
    return clock, processor, memory


def prepare(folder: Path, dataset: Path, view: Sequence[str] = ()) -> tuple[float, float, float]:
    """Time `nofrost prepare` of a folder into shards."""
    settings = ["source=folder", f"path={folder}", "storage=shards", *view]
    options = [option for setting in settings for option in ("--set", setting)]
    nofrost = str(Path(sys.executable).with_name("nofrost"))
    return run(nofrost, "prepare", *options, "--out", str(dataset))


def show(row: Row) -> Row:
    """Print a row and return it."""
    beside = "" if row.theirs is None else f"{row.theirs:>12.1f}{row.ratio:>8.2f}"
    print(f"{row.part:<9}{row.what:<96}{row.ours:>12.1f}{beside}  {row.unit}", flush=True)
    return row


def compare_prepare(work: Path, source: Path, small: Sequence[int], large: int) -> list[Row]:
    """Measure prepare for several numbers of small photographs and one of large ones, and ImageFolder for each."""
    rows = []
    sizes = [*((count, SMALL, 48) for count in small), (large, LARGE, 224)]
    for count, size, crop in sizes:
        folder, dataset = work / f"{'small' if size == SMALL else 'large'}-{count}", work / "dataset"
        write_folder(folder, source, count, size)
        view = (f"view.resize={crop * 8 // 7 if size == LARGE else crop}", f"view.crop={crop}")
        clock, processor, memory = prepare(folder, dataset, view)
        what = f"{count:,} photographs of {size[0]} x {size[1]}"
        rows.append(show(Row("prepare", what, clock, None, None, "seconds")))
        rows.append(show(Row("prepare", what, memory, None, None, "MiB at most")))
        _, their_processor, _ = run(sys.executable, "-c", IMAGE_FOLDER, str(folder))
        mine, theirs = count / processor, count / their_processor
        what += ", beside reading with ImageFolder"
        rows.append(show(Row("prepare", what, mine, theirs, mine / theirs, "images a second of a core")))
        shutil.rmtree(dataset)
    return rows


def compare(part: str, what: str, turns: int, mine: Callable[[], float], others: Callable[[], float]) -> Row:
    """Let ours and theirs take turns; return the medians."""
    pairs = [(mine(), others()) if turn % 2 else (others(), mine())[::-1] for turn in range(turns)]
    ours_median, theirs_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return show(Row(part, what, ours_median, theirs_median, ratio, "images a second"))


def dataset_of(work: Path, source: Path, count: int, shard_bytes: int = SHARD_BYTES) -> tuple[Path, Path]:
    """Return a folder of large photographs, and the dataset made of it, in shards of so many bytes."""
    folder, dataset = work / f"large-{count}", work / f"large-{count}-dataset-{shard_bytes >> 20}"
    write_folder(folder, source, count, LARGE)
    if not dataset.is_dir():
        config = DatasetSpec.model_validate(
            {"source": "folder", "path": str(folder), "storage": "shards", "test_share": 0.002, "selection_share": 0}
        )
        with mock.patch.object(shard_splits, "SHARD_BYTES", shard_bytes):
            run_prepare(config, dataset)
    return folder, dataset


def compare_disk(work: Path, source: Path, count: int, turns: int, workers: int) -> list[Row]:
    """Measure an epoch from shards on disk beside ImageFolder."""
    folder, dataset = dataset_of(work, source, count)
    split = read_split(dataset, "train")
    rows = []
    for name, library in (("fast", decoding.simplejpeg), ("Pillow", None)):
        with mock.patch.object(decoding, "simplejpeg", library):
            for levels in (True, False):
                what = f"{len(split):,} photographs, {name}, beside ImageFolder with {'uint8' if levels else 'float32'}"
                theirs = partial(folder_loader, folder, workers, levels=levels)
                rows.append(compare("disk", what, turns, lambda: ours(split), theirs))
    return rows


def compare_s3(work: Path, source: Path, count: int, turns: int, workers: int) -> list[Row]:
    """Measure an epoch that streams shards from the server through an empty cache, beside one GET a photograph."""
    folder, dataset = dataset_of(work, source, count, STREAMED_SHARD_BYTES)
    bucket, _, prefix = os.environ["NOFROST_TEST_S3"].removeprefix("s3://").partition("/")
    client = boto3.Session().client("s3")
    keys = []
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):
        keys.append(f"{prefix}photographs/{number:07d}.jpg".lstrip("/"))
        client.upload_file(str(file), bucket, keys[-1])
    push(dataset, open_store(f"{os.environ['NOFROST_TEST_S3']}/store"))
    train = read_manifest(dataset).splits["train"]
    what = f"{train.count:,} photographs in {len(train.shards)} shards, beside one GET each"

    def streamed() -> float:
        store = open_store(f"{os.environ['NOFROST_TEST_S3']}/store")
        with tempfile.TemporaryDirectory(dir=work) as cache:
            return ours_streamed(dataset, store, Path(cache))

    rows = [compare("s3", what, turns, streamed, lambda: object_loader(bucket, keys, workers))]
    for delay in DELAYS_MS:
        with (
            late_answers(os.environ["AWS_ENDPOINT_URL_S3"], delay) as endpoint,
            mock.patch.dict(os.environ, AWS_ENDPOINT_URL_S3=endpoint),
        ):
            theirs = partial(object_loader, bucket, keys[:LATE_PHOTOGRAPHS], 4 * workers)
            late = f"{what} by {4 * workers} workers, answers {delay} ms late"
            rows.append(compare("s3", late, turns, streamed, theirs))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with imagenette-mini (default: %(default)s)"
    )
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--turns", type=int, default=3, help="how often each pair runs (default: %(default)s)")
    parser.add_argument("--count", type=int, default=9_000, help="large photographs (default: %(default)s)")
    parser.add_argument("--small", type=int, nargs="+", default=[12_500, 50_000, 200_000], help="small photographs")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the DataLoader (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="keeps the files that are made here")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    if "s3" in arguments.only and "NOFROST_TEST_S3" not in os.environ:
        os.execv(sys.executable, (sys.executable, str(SERVER), "--", sys.executable, *sys.argv))
    print(f"{'part':<9}{'what':<96}{'ours':>12}{'theirs':>12}{'ratio':>8}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="loading-") as temporary:
        work, source = arguments.work or Path(temporary), arguments.data / "imagenette-mini"
        shared = (work, source, arguments.count, arguments.turns, arguments.workers)
        if "prepare" in arguments.only:
            rows += compare_prepare(work, source, arguments.small, arguments.count)
        if "disk" in arguments.only:
            rows += compare_disk(*shared)
        if "s3" in arguments.only:
            rows += compare_s3(*shared)
        conditions = {
            "photographs": f"imagenette-mini as {LARGE[0]} x {LARGE[1]} pixels, {mean_bytes_of(work):,.0f} bytes each",
            "view": "random resized crop of 224 from 8 % of the area on, flip; batches of 64",
            "device": f"{os.cpu_count()} processors, {platform.machine()}",
            "load": f"{os.getloadavg()[2]:.1f} processes on average at the end, the benchmark's own among them",
            **{name: version(name) for name in ("torch", "torchvision", "pillow", "simplejpeg")},
        }
    write_results(arguments.results, conditions, rows)


def mean_bytes_of(work: Path) -> float:
    """Return the mean size of the large photographs, 0 if none were made."""
    folders = [folder for folder in work.glob("large-*") if "-dataset" not in folder.name]
    return mean_bytes(folders[0]) if folders else 0.0


def write_results(folder: Path, conditions: dict[str, str], rows: Sequence[Row]) -> None:
    """Replace the rows of the parts that were measured, and leave those of other parts alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data_loading.json"
    measured = {row.part for row in rows}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"parts": {}}
    for part in measured:
        before["parts"][part] = {**conditions, "rows": [asdict(row) for row in rows if row.part == part]}
    path.write_text(json.dumps(before, indent=2) + "\n", encoding="utf-8")
    lines = ["# Data loading", "", "Made by `benchmarks/data_loading.py`; conditions of each part are in the JSON.", ""]
    lines += ["| part | what | ours | theirs | ratio | unit |", "|---|---|---|---|---|---|"]
    for part in PARTS:
        for row in before["parts"].get(part, {}).get("rows", ()):
            theirs, ratio = (f"{row[key]:,.2f}" if row[key] is not None else "" for key in ("theirs", "ratio"))
            lines.append(f"| {part} | {row['what']} | {row['ours']:,.1f} | {theirs} | {ratio} | {row['unit']} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
