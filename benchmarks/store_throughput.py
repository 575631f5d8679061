"""How long pushing to S3 and pulling from it takes beside DVC: `python benchmarks/store_throughput.py`.

Both move the same folders to and from the same server on this machine, as commands, with their start. `dvc push` sends
from its cache, where it has hashed everything before; ours hashes too. `dvc pull` and ours begin with nothing there.
They take turns, and the median of the ratios of each turn is printed: of the seconds that passed, and of the seconds of
processor time that the command took. A ratio below 1 means that ours is faster. Where the server shares the processors
with the commands, its own work for each file, which is the same for both, is a good part of what passes.

With `--before` an earlier version of this package takes part too, and a second ratio compares ours with it.

The server is the one that NOFROST_TEST_S3 names; without it, tests/servers/s3.py starts one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import boto3
from dvc.version import __version__ as dvc_version

ROOT = Path(__file__).resolve().parents[1]
COMPONENTS = ROOT / "components"
SERVER = ROOT / "tests" / "servers" / "s3.py"
BLOCK = 1 << 20
# For so long after files are deleted, ext4 creates others slowly.
PAUSE_S = 6


@dataclass(frozen=True)
class Row:
    """One comparison: medians of the seconds, and of the ratios of ours to another in each turn."""

    task: str
    beside: str
    ours_seconds: float
    theirs_seconds: float
    ratio: float
    ours_processor_seconds: float
    theirs_processor_seconds: float
    processor_ratio: float


@dataclass(frozen=True)
class Seconds:
    """What a command took: on the clock, and of processors."""

    clock: float
    processor: float


Contestant = Callable[[Path, Path, str], tuple[Seconds, Seconds]]


def make_files(folder: Path, count: int, size: int) -> None:
    """Write so many files of so many bytes, all different, a hundred to a folder."""
    block = os.urandom(BLOCK)
    for number in range(count):
        path = folder / f"{number // 100:04d}" / f"{number % 100:02d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "big"))
            for begin in range(8, size, BLOCK):
                file.write(block[: size - begin])


def timed(*command: str, cwd: Path, env: dict[str, str] | None = None) -> Seconds:
    """Time a command. What was written before is on the disk when it begins."""
    os.sync()
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clock, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def dvc(folder: Path, data: Path, url: str) -> tuple[Seconds, Seconds]:
    """Time `dvc push` and, in another workspace, `dvc pull`."""
    for workspace in (folder / "pushed", folder / "pulled"):
        workspace.mkdir(parents=True)
        for command in (
            ("init", "--no-scm"),
            ("remote", "add", "--default", "store", url),
            ("remote", "modify", "store", "endpointurl", os.environ["AWS_ENDPOINT_URL_S3"]),
            ("config", "core.analytics", "false"),
        ):
            subprocess.run(("dvc", *command), cwd=workspace, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(data, folder / "pushed" / "data")
    subprocess.run(("dvc", "add", "--quiet", "data"), cwd=folder / "pushed", check=True)
    shutil.copy(folder / "pushed" / "data.dvc", folder / "pulled")
    pushed = timed("dvc", "push", cwd=folder / "pushed")
    return pushed, timed("dvc", "pull", cwd=folder / "pulled")


def nofrost(components: Path, folder: Path, data: Path, url: str) -> tuple[Seconds, Seconds]:
    """Time `nofrost store push` and, in another workspace, `nofrost store pull`."""
    environment = os.environ | {"PYTHONPATH": str(components)}
    for workspace in (folder / "pushed", folder / "pulled"):
        workspace.mkdir(parents=True)
    shutil.copytree(data, folder / "pushed" / "data")
    push = ("nofrost", "store", "push", "data", "--store", url)
    pushed = timed(*push, cwd=folder / "pushed", env=environment)
    again = subprocess.run(push, cwd=folder / "pushed", env=environment, check=True, capture_output=True, text=True)
    pull = ("nofrost", "store", "pull", again.stdout.strip(), "--store", url)
    return pushed, timed(*pull, cwd=folder / "pulled", env=environment)


def empty(url: str) -> None:
    """Delete what a turn left on the server."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = boto3.Session().client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys})


def compare(name: str, data: Path, turns: int, contestants: Mapping[str, Contestant]) -> list[Row]:
    """Let all contestants take turns, each of them first in its turn."""
    results: list[dict[str, tuple[Seconds, Seconds]]] = []
    for turn in range(turns):
        order = sorted(contestants)[turn % len(contestants) :] + sorted(contestants)[: turn % len(contestants)]
        times = {}
        for contestant in order:
            url = f"{os.environ['NOFROST_TEST_S3']}/{uuid.uuid4().hex}"
            folder = data.parent / contestant
            times[contestant] = contestants[contestant](folder, data, url)
            subprocess.run(("diff", "--recursive", "--brief", data, folder / "pulled" / "data"), check=True)
            shutil.rmtree(folder)
            empty(url)
            time.sleep(PAUSE_S)
        results.append(times)
    others = [other for other in contestants if other != "ours"]
    tasks = enumerate(("push", "pull"))
    return [row(f"{task} {name}", other, results, position) for position, task in tasks for other in others]


def row(task: str, other: str, results: Sequence[dict[str, tuple[Seconds, Seconds]]], position: int) -> Row:
    pairs = [(times["ours"][position], times[other][position]) for times in results]
    numbers = []
    for part in ("clock", "processor"):
        values = [(getattr(one, part), getattr(another, part)) for one, another in pairs]
        numbers += [statistics.median(column) for column in zip(*values, strict=True)]
        numbers.append(statistics.median(one / another for one, another in values))
    print(f"{task:<26}{other:<8}" + "".join(f"{number:>9.2f}" for number in numbers), flush=True)
    return Row(task, other, *numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--turns", type=int, default=3, help="how often each pair runs (default: %(default)s)")
    parser.add_argument("--files", type=int, default=10_000, help="small files (default: %(default)s)")
    parser.add_argument("--file-size", type=int, default=3_000, help="bytes of each (default: %(default)s)")
    parser.add_argument("--large-files", type=int, default=8, help="large files (default: %(default)s)")
    parser.add_argument("--large-size", type=int, default=250_000_000, help="bytes of each (default: %(default)s)")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="components/ of an earlier version to compare with"
    )
    arguments = parser.parse_args()
    if "NOFROST_TEST_S3" not in os.environ:
        os.execv(sys.executable, (sys.executable, str(SERVER), "--", sys.executable, *sys.argv))
    kinds = {
        f"{arguments.files:,} x {arguments.file_size:,} B": (arguments.files, arguments.file_size),
        f"{arguments.large_files} x {arguments.large_size / 1e6:,.0f} MB": (
            arguments.large_files,
            arguments.large_size,
        ),
    }
    contestants: dict[str, Contestant] = {"ours": partial(nofrost, COMPONENTS), "dvc": dvc}
    if arguments.before:
        contestants["before"] = partial(nofrost, arguments.before.resolve())
    versions = {"dvc": dvc_version, "boto3": version("boto3"), "obstore": version("obstore")}
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    print(f"{os.cpu_count()} processors shared with the server, {named}")
    print(f"{'':<34}{'on the clock, s':>27}{'of processors, s':>27}")
    print(f"{'task':<26}{'beside':<8}" + f"{'ours':>9}{'theirs':>9}{'ratio':>9}" * 2)
    rows = []
    for name, (count, size) in kinds.items():
        with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
            os.environ["DVC_SITE_CACHE_DIR"] = str(Path(folder, "site"))
            make_files(Path(folder, "data"), count, size)
            rows += compare(name, Path(folder, "data"), arguments.turns, contestants)
    if arguments.json:
        conditions = {
            "server": "Ceph RGW on loopback, one disk in memory",
            "turns": arguments.turns,
            "device": f"{os.cpu_count()} processors shared with the server, {platform.machine()}",
            "load": f"{os.getloadavg()[2]:.1f} processes on average at the end, the benchmark's own among them",
        } | versions
        arguments.json.write_text(json.dumps(conditions | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
