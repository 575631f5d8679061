"""A full disk, or a limit on the size of files, at many sizes in every stage: one sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

SIZES = 20
STUDY = {
    "name": "mini",
    "title": "Mini",
    "dataset": {"source": "digits", "image_size": 8, "limit": 60},
    "augmentation": {"methods": ["tda"]},
    "recipes": {
        "st": {
            "base": "st",
            "model": {"arch": "resnet8"},
            "views": {"image_size": None, "random_resized_crop": None},
            "schedule": {"epochs": 2, "batch_size": 16, "lr_warmup_epochs": 0},
        }
    },
    "suites": {
        "adversarial": {
            "mini": {
                "kind": "adversarial",
                "title": "mini",
                "citation": "own",
                "protocol": "quick",
                "threat": {"eps": "32/255"},
                "attacks": {"fgsm": {}},
            }
        },
        "ood": {
            "mini": {
                "kind": "ood",
                "title": "mini",
                "citation": "own",
                "corruptions": ["brightness"],
                "severities": [1],
            }
        },
    },
}
RUN = "runs/st/seed-0"
COMMANDS = {
    "prepare": "prepare --study params.yaml --out OUT",
    "augment": "augment --study params.yaml --dataset data/dataset --out OUT",
    "train": "train --study params.yaml --recipe st --dataset data/dataset --out OUT",
    "evaluate": f"evaluate --study params.yaml --suite adversarial --dataset data/dataset --checkpoint {RUN}/train "
    "--out OUT",
    "report": "report --study params.yaml --dataset data/dataset --augmentation data/augmentation "
    "--runs runs --out OUT",
    "push": f"store push {RUN} data --store OUT",
}
# The time of a training is no result.
TIMES = ("timing.json",)


class Runner:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, side_by_side: Any) -> None:
        self.folder, self.side_by_side = folder, side_by_side

    def run(self, command: str, out: Path, largest_file: int | None = None) -> Any:
        words = [str(out) if word == "OUT" else word for word in command.split()]
        job = {"arguments": words, "folder": str(self.folder), "largest_file": largest_file}
        return self.side_by_side(job)[0]

    def succeed(self, command: str, out: Path) -> None:
        end = self.run(command, out)
        assert end.code == 0, end.errors


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, side_by_side: Any) -> Runner:
    """A folder with a finished study, of which each stage can be run again elsewhere."""
    runner = Runner(tmp_path_factory.mktemp("study"), side_by_side)
    (runner.folder / "params.yaml").write_text(yaml.safe_dump(STUDY))
    for command, out in (
        (COMMANDS["prepare"], "data/dataset"),
        (COMMANDS["augment"], "data/augmentation"),
        (COMMANDS["train"], f"{RUN}/train"),
        (COMMANDS["evaluate"], f"{RUN}/evaluate-adversarial/mini"),
        (COMMANDS["evaluate"].replace("suite adversarial", "suite ood"), f"{RUN}/evaluate-ood/mini"),
    ):
        runner.succeed(command, runner.folder / out)
    return runner


class Disk:
    """A small disk, of which all but some bytes can be taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filler = folder / "filler"

    def leave(self, size: int) -> None:
        self.filler.unlink(missing_ok=True)
        status = os.statvfs(self.folder)
        taken = max(0, status.f_bavail * status.f_frsize - size)
        descriptor = os.open(self.filler, os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(descriptor, 0, max(1, taken))
        os.close(descriptor)

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    folder = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk; the limit on the size of files is tested without")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file, hidden ones too, without what differs from run to run."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in TIMES
    }


def check_refusal(end: Any, out: Path, reason: str) -> None:
    """Check that there is one sentence that names the output and the reason."""
    lines = [line for line in end.errors.splitlines() if line.startswith("nofrost: ")]
    assert end.code == 2, end
    assert "Traceback" not in end.errors
    assert len(lines) == 1, end
    assert end.errors.splitlines()[-1] == lines[0], "the sentence comes last"
    assert re.search(rf"cannot write .*{re.escape(out.name)}.*: {reason}", lines[0]), lines
    assert end.output == ""


def check_sizes(runner: Runner, stage: str, out: Path, sizes: list[int], reason: str, limit: Any) -> None:
    """Run a stage at each size; `limit(size)` sets the limit and returns what the runner needs to know of it."""
    command = COMMANDS[stage]
    runner.succeed(command, out)
    whole = contents(out)
    remove_all(out)
    refused = kept = 0
    for number, size in enumerate(sizes):
        end = runner.run(command, out, limit(size))
        has_saved = any((out.parent / f".{out.name}.nofrost-partial").rglob("*.safetensors"))
        if end.code != 0:
            refused += 1
            check_refusal(end, out, reason)
            assert stage == "push" or not out.exists()
        limit(None)
        # The next run, with room, goes on with what was saved, and its bits are those of a run without a fault.
        if has_saved or end.code == 0 or number % 4 == 0:
            kept += has_saved
            runner.succeed(command, out)
            assert contents(out) == whole, size
            assert [path.name for path in out.parent.iterdir() if path.name != "filler"] == [out.name]
        if number == 4 and stage != "push":
            check_refusal(runner.run(command, out, limit(size)), out, reason)
            assert contents(out) == whole, "an earlier output stays as it is"
            limit(None)
        remove_all(out)
    assert refused >= len(sizes) // 2, "the sizes are too large to show anything"
    # The first save is the largest file: a limit on size refuses it or none.
    assert kept or stage != "train" or reason == "file too large", "no saved state was kept"


def remove_all(out: Path) -> None:
    for path in (out, *out.parent.glob(f".{out.name}.*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(runner: Runner, disk: Disk, stage: str) -> None:
    disk.clear()
    out = disk.folder / "out"
    runner.succeed(COMMANDS[stage], out)
    used = sum((path.stat().st_size + 4095) // 4096 * 4096 for path in out.rglob("*") if path.is_file())
    remove_all(out)

    def limit(size: int | None) -> None:
        disk.free() if size is None else disk.leave(size)

    # From nothing to what is needed beside the temporary file of the largest. The state that a training saves after
    # each step is as large as its output.
    most = 2 * used if stage == "train" else used
    sizes = [most * number // SIZES for number in range(SIZES)]
    check_sizes(runner, stage, out, sizes, "no space left on device", limit)


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_limit_on_the_size_of_files_is_one_sentence_and_nothing_is_lost(
    runner: Runner, tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "out"
    runner.succeed(COMMANDS[stage], out)
    largest = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
    remove_all(out)
    sizes = [largest * number // 5 for number in range(5)]
    check_sizes(runner, stage, out, sizes, "file too large", lambda size: size)
