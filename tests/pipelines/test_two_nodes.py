"""A study trained on two nodes of this machine: the models of one process, whatever happens to the nodes meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nofrost.store import Output, open_store, pull
from tests.pipelines.test_local_run import RUN, environment

# Group norm, as the statistics of a batch norm are those of the rows of each process.
SMALL = (
    "dataset.limit=200",
    "augmentation.methods=[]",
    "runs.recipe=[sat]",
    "recipes.sat.model.normaliser=gn",
    "recipes.sat.model.groups=4",
    "recipes.sat.schedule.epochs=12",
    "recipes.sat.schedule.batch_size=32",
    "suites.adversarial.attacks={}",
    "suites.adversarial.steps_curve=null",
    "suites.ood.severities=[1]",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Project:
    """A folder in which the pipeline runs, with a store in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = (word for setting in SMALL for word in ("--set", setting))
        self._command = (*RUN, "--study", "digits", "--store", str(folder / "store"), "--json", *settings)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run."""
        return subprocess.Popen(
            (*self._command, *arguments),
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def trained(self, *arguments: str) -> Path:
        """Run to the end, and return a copy of what the training made."""
        with self.start(*arguments) as run:
            printed, errors = run.communicate(timeout=600)
        assert run.returncode == 0, errors
        finished = json.loads(printed)["run"]
        candidate = yaml.safe_load((self.folder / "store/nofrost/locks" / f"{finished}.yaml").read_text())
        (path,) = [path for path in candidate["outs"] if path.endswith("/train")]
        made = self.folder / finished
        pull(Output.parse(f"{path}@{candidate['outs'][path]}").ref, made, open_store(str(self.folder / "store")))
        return made

    def log(self, node: int) -> str:
        """What a node of the training has printed."""
        path = self.folder / "kfp/logs" / ("launch-1.log" if node == 0 else f"launch-1-node-{node}.log")
        return path.read_text() if path.exists() else ""

    def wait_for_save(self, run: subprocess.Popen[str]) -> None:
        """Wait until a save of the training is in the store."""
        end = time.monotonic() + 300
        while not list(self.folder.glob("store/nofrost/unfinished/*/save")):
            assert run.poll() is None, "it has ended before"
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def on_two_nodes(project: Project) -> Path:
    return project.trained("--nodes", "2")


def tensors(made: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(made / f"{name}.safetensors")


def record(made: Path) -> Any:
    return json.loads((made / "record.json").read_text())


def test_two_nodes_train_the_model_of_one_process(project: Project, on_two_nodes: Path) -> None:
    one = project.trained()
    assert (record(one)["steps"]["train"]["world_size"], record(on_two_nodes)["steps"]["train"]["world_size"]) == (1, 2)
    ours, theirs = tensors(on_two_nodes), tensors(one)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nodes_that_are_stopped_or_killed_go_on_to_the_same_bits(
    number: signal.Signals, project: Project, on_two_nodes: Path
) -> None:
    """SIGTERM is for the run, which passes it on; SIGKILL for the starter of one node alone."""
    again = ("--nodes", "2", "--no-cache")
    with project.start(*again) as run:
        project.wait_for_save(run)
        if number == signal.SIGTERM:
            run.send_signal(number)
        else:
            os.kill(starter_of_node(project, 1), number)
        _, errors = run.communicate(timeout=300)
    assert run.returncode == (143 if number == signal.SIGTERM else 1), errors
    if number == signal.SIGKILL:
        assert "launch sat, seed 0 (exit code -9)" in errors
    made = project.trained(*again)
    assert re.search(r"resum|continu", project.log(0)), "it goes on from the save"
    for name, tensor in tensors(on_two_nodes).items():
        assert torch.equal(tensor, tensors(made)[name]), name


def starter_of_node(project: Project, node: int) -> int:
    """The process of this run that starts those of a node."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables, command = (path / "environ").read_bytes().split(b"\0"), (path / "cmdline").read_bytes()
        except OSError:
            continue
        mine = str(project.folder).encode() in command
        if mine and b"\0task\0train\0" in command and f"PET_NODE_RANK={node}".encode() in variables:
            return int(path.name)
    raise AssertionError(f"node {node} does not run")


def test_wrong_input_of_a_node_is_that_of_the_training(project: Project) -> None:
    with project.start("--nodes", "2", "--set", "recipes.sat.model.arch=no-such") as run:
        _, errors = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "launch sat, seed 0 (exit code 2)" in errors
    assert "unknown arch 'no-such'" in errors
