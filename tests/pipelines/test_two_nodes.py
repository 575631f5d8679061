"""Trainings on two nodes of this machine: the models of one process, whatever happens to the nodes meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

pytest.importorskip("kfp")

from nofrost.config import load_study
from nofrost.store import Output, open_store, pull
from pipelines.children import Children
from pipelines.local_tasks import ProcessTasks
from pipelines.run_log import RunLog, Task
from pipelines.study_plan import plan_study
from tests.pipelines.local_project import RUN, environment

# Group norm, as the statistics of a batch norm are those of the rows of each process.
SMALL = (
    "dataset.limit=200",
    "augmentation.methods=[]",
    "runs.recipe=[st]",
    "recipes.st.model.normaliser=gn",
    "recipes.st.model.groups=4",
    "recipes.st.optimiser.lr=0.02",
    "recipes.st.schedule.epochs=8",
    "recipes.st.schedule.batch_size=32",
    "suites.adversarial.quick.attacks={}",
    "suites.adversarial.quick.steps_curve=null",
    "suites.ood.quick.corruptions=[contrast]",
    "suites.ood.quick.severities=[1]",
)
# Long enough to be ended in the middle.
LONGER = {"recipes.st.schedule.epochs": "40"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Project:
    """A store with the dataset of the study, made by a run of its pipeline that trained on two nodes.

    Attributes:
        made: refs of the outputs of that run, by path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"
        settings = [word for setting in SMALL for word in ("--set", setting)]
        command = [*RUN, "--study", "digits", "--store", str(self.store), "--nodes", "2", "--json", *settings]
        ended = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        candidate = self.store / "nofrost/locks" / f"{json.loads(ended.stdout)['run']}.yaml"
        self.made: dict[str, str] = yaml.safe_load(candidate.read_text())["outs"]
        self._runs = 0

    def options(self, **changes: str) -> list[str]:
        """The options of a training of the study's recipe; `changes` makes it another work."""
        (run,) = plan_study(
            load_study("digits", [*SMALL, *(f"{key}={value}" for key, value in changes.items())]), 0, 2
        ).runs
        options = {"recipe": run.recipe, "recipe-id": run.recipe_id, "seed": run.seed, "store": str(self.store)}
        options |= {name: f"data/{name}@{self.made[f'data/{name}']}" for name in ("dataset", "augmentation")}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def launch(self, options: list[str], meanwhile: Callable[[Path], None] | None = None) -> tuple[Task, Path]:
        """Run what takes the place of a job of two nodes; return the task, and the folder of its output and logs."""
        self._runs += 1
        folder = self.folder / str(self._runs)
        log = RunLog(folder, None)
        tasks = ProcessTasks(log, Children(log.say), f"run-{self._runs}")
        job = ["--image", "none", "--settings", "{}", "--output-file", str(folder / "output")]
        if meanwhile:
            threading.Thread(target=meanwhile, args=[folder], daemon=True).start()
        with tasks.children:
            tasks(["nofrost", "task", "launch", *options, "--gpus", "0", "--nodes", "2", *job], environment())
        return log.tasks[0], folder

    def pulled(self, output: str) -> Path:
        folder = self.folder / f"pulled-{len(list(self.folder.iterdir()))}"
        pull(Output.parse(output).ref, folder, open_store(str(self.store)))
        return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Project(tmp_path_factory.mktemp("project"))


def tensors(made: Path) -> dict[str, torch.Tensor]:
    return load_file(made / "last.safetensors")


def step(made: Path) -> Any:
    return json.loads((made / "record.json").read_text())["steps"]["train"]


def test_two_nodes_train_the_model_of_one_process(project: Project) -> None:
    out = project.folder / "one"
    command = [sys.executable, "-m", "nofrost", "task", "train", *project.options(), "--output-file", str(out)]
    # In a store of the same content, as this is the same work.
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    path = "runs/st/seed-0/train"
    one, two = project.pulled(out.read_text()), project.pulled(f"{path}@{project.made[path]}")
    assert (step(one)["world_size"], step(two)["world_size"]) == (1, 2)
    ours, theirs = tensors(two), tensors(one)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.fixture(scope="module")
def undisturbed(project: Project) -> dict[str, torch.Tensor]:
    """The weights of the longer training, which nothing has ended before."""
    ended, folder = project.launch(project.options(**LONGER))
    assert ended.exit_code == 0, ended.last_line()
    return tensors(project.pulled((folder / "output").read_text()))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)], ids=["stopped", "killed"]
)
def test_nodes_go_on_from_the_last_save_to_the_same_bits(
    number: signal.Signals, code: int, project: Project, undisturbed: dict[str, torch.Tensor]
) -> None:
    """SIGTERM is for the run, which passes it on; SIGKILL for the starter of one node alone."""
    options = project.options(**LONGER)

    def end(folder: Path) -> None:
        while not list(project.store.glob("nofrost/unfinished/*/save")):
            time.sleep(0.02)
        os.kill(os.getpid() if number == signal.SIGTERM else starter_of_node(1, folder), number)

    stopped, _ = project.launch(options, end)
    assert stopped.exit_code == code, stopped.last_line()
    ended, folder = project.launch(options)
    assert ended.exit_code == 0, ended.last_line()
    assert "pulling .train.nofrost-partial" in (folder / "launch-1.log").read_text(), "it goes on from the save"
    for name, tensor in tensors(project.pulled((folder / "output").read_text())).items():
        assert torch.equal(tensor, undisturbed[name]), name


def starter_of_node(node: int, folder: Path) -> int:
    """The process that starts those of a node."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables, command = (path / "environ").read_bytes().split(b"\0"), (path / "cmdline").read_bytes()
        except OSError:
            continue
        mine = str(folder / "output").encode() in command
        if mine and f"PET_NODE_RANK={node}".encode() in variables:
            return int(path.name)
    raise AssertionError(f"node {node} does not run")


def test_wrong_input_of_the_nodes_is_that_of_the_training(project: Project) -> None:
    options = [word.replace("resnet8", "no-such") for word in project.options()]
    assert any("no-such" in word for word in options)
    ended, _ = project.launch(options)
    assert "unknown arch 'no-such'" in ended.last_line(), ended.log.read_text()
    assert ended.exit_code == 2
