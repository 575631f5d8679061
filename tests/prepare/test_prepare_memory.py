"""The memory of prepare does not grow with the number of photographs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.prepare.jpegs import jpeg, tar, write

Make = Callable[[Path, int], None]
CODE = """
import sys
from collections.abc import Callable
from pathlib import Path
from nofrost.config import DatasetSpec, EvaluationView
from nofrost.prepare import run, shard_splits
from nofrost.verify import verify
shard_splits.SHARD_BYTES = 1 << 20
source, path, out = sys.argv[1:]
run(DatasetSpec(source=source, path=path, view=EvaluationView(resize=32, crop=28)), Path(out))
assert verify(Path(out)).lines == []
peak = next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
print(peak.split()[1])
"""


def class_folders(path: Path, count: int) -> None:
    seeds = [write(path.parent / "seeds" / str(number), jpeg(number, (64, 48))) for number in range(50)]
    for number in range(10):
        (path / f"class {number}").mkdir(parents=True)
    for number in range(count):
        os.link(seeds[number % 50], path / f"class {number % 10}" / f"a photograph {number:08d}.jpg")


def shards(path: Path, count: int) -> None:
    seeds = [jpeg(number, (64, 48)) for number in range(50)]
    for first in range(0, count, 250):
        records = [
            (f"{row:08d}.{suffix}", seeds[row % 50] if suffix == "jpg" else b"%d" % (row % 10))
            for row in range(first, first + 250)
            for suffix in ("jpg", "cls")
        ]
        write(path / f"{first:08d}.tar", tar(records))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "make"), [("folder", class_folders), ("webdataset", shards)])
def test_memory_is_the_same_for_16_times_the_photographs(tmp_path: Path, source: str, make: Make) -> None:
    peaks = []
    for count in (500, 2000, 8000):
        path = tmp_path / f"{count} photographs"
        make(path, count)
        arguments = [source, str(path), str(tmp_path / f"out {count}")]
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
    assert max(peaks) - peaks[0] < 12, f"MB: {peaks}"
