"""A small project with an output of every stage, and commands that make each of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from nofrost.config import load_study

SMALL = (
    "dataset.limit=60",
    "dataset.image_size=8",
    "augmentation.methods=[tda]",
    "runs.recipe=[mbnat]",
    "recipes.mbnat.schedule.epochs=2",
    "recipes.mbnat.schedule.lr_warmup_epochs=0",
    "recipes.mbnat.schedule.threat_warmup_epochs=0",
    "recipes.mbnat.schedule.batch_size=24",
    "recipes.mbnat.attack.steps=1",
    "recipes.mbnat.selection.attack.steps=1",
    "suites.adversarial.quick.attacks={fgsm: {}, pgd: {steps: 2}}",
    "suites.adversarial.quick.steps_curve.steps=[1, 2]",
    "suites.adversarial.quick.budget_curve={attack: {name: fgsm}, multiples: [1]}",
    "suites.adversarial.quick.max_images=12",
    "suites.adversarial.quick.batch_size=6",
    "suites.ood.quick.corruptions=[contrast]",
    "suites.ood.quick.severities=[1]",
    "suites.ood.quick.max_images=12",
    "suites.ood.quick.batch_size=6",
)
# It says how long something took.
TIMING = "timing.json"


class End(NamedTuple):
    """How a command ended; see forks.py."""

    code: int | None
    seconds: float
    output: str
    errors: str
    changes: int = 0
    uncounted: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What it said but for its progress."""
        return [line for line in self.errors.splitlines() if line and ": done in" not in line and " s left" not in line]


Run = Callable[..., list[End]]


@pytest.fixture(scope="session")
def side_by_side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run jobs of forks.py side by side and return how they ended."""
    command = [sys.executable, str(Path(__file__).with_name("forks.py"))]
    home = str(tmp_path_factory.mktemp("home"))
    environment = {**os.environ, "HOME": home, "TMPDIR": home, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin
        assert process.stdout
        pipes = process.stdin, process.stdout

        def run(*jobs: dict[str, Any]) -> list[End]:
            pipes[0].write(json.dumps(jobs) + "\n")
            pipes[0].flush()
            return [End(**end) for end in json.loads(pipes[1].readline())]

        yield run
        process.stdin.close()


class World(NamedTuple):
    """The project. `commands` makes from a folder the arguments that write there, by stage."""

    folder: Path
    commands: dict[str, Callable[[Path], list[str]]]
    run: Run

    def whole(self, stage: str) -> Path:
        """Return the folder with what the stage writes when it is alone."""
        return self.folder / "whole" / stage


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, side_by_side: Run) -> World:
    """Every stage was run once, alone. Read only."""
    folder = tmp_path_factory.mktemp("world")
    study, whole = folder / "study.yaml", folder / "whole"
    study.write_text(yaml.safe_dump(load_study("digits", SMALL).as_json(), sort_keys=False))
    of_study, dataset = ["--study", str(study)], ["--dataset", str(whole / "prepare")]
    runs = folder / "runs/mbnat/seed-0"
    model = ["--checkpoint", str(whole / "train")]
    arguments = {
        "prepare": ["prepare", *of_study],
        "augment": ["augment", *of_study, *dataset],
        "train": ["train", *of_study, *dataset, "--recipe", "mbnat"],
        "evaluate-adversarial": ["evaluate", *of_study, *dataset, *model, "--suite", "adversarial"],
        "evaluate-ood": ["evaluate", *of_study, *dataset, *model, "--suite", "ood"],
        "transfer": ["transfer", *dataset, "--model", f"a={whole / 'train'}", "--max-images", "12"],
        "report": ["report", *of_study, *dataset, "--runs", str(folder / "runs")],
    }
    arguments["transfer"] += ["--attack", "pgd", "--set", "steps=2"]
    commands = {
        stage: lambda out, given=tuple(values): [*given, "--out", str(out)] for stage, values in arguments.items()
    }
    for stage, command in commands.items():
        if stage == "report":
            shutil.copytree(whole / "train", runs / "train")
            for each in ("evaluate-adversarial", "evaluate-ood"):
                shutil.copytree(whole / each, runs / each / "quick")
        (end,) = side_by_side({"arguments": command(whole / stage)})
        assert end.code == 0, end.errors
    return World(folder, commands, side_by_side)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder, by its path there; of folders an empty one."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and path.name != TIMING else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, bytes]]:
    return contents
