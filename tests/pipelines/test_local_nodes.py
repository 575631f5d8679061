"""The nodes of a training on this machine: what each is told, how they end together, and the model that they make."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest

pytest.importorskip("kfp")
pytest.importorskip("docker")

import docker
from pipelines import local_tasks
from pipelines.children import Children
from pipelines.local_nodes import NodeCommand, node_commands
from pipelines.local_tasks import ProcessTasks
from pipelines.run_log import RunLog, Task
from tests.pipelines.test_local_tasks import S3, SECRETS, container_tasks

LAUNCH = ["nofrost", "task", "launch", "--recipe-id", "sat", "--seed", "0"]


def launch(gpus: int = 0, nodes: int = 2, log: Path = Path("launch-1.log")) -> Task:
    job = ["--image", "train@sha256:1", "--settings", "{}", "--output-file", "/out/checkpoint"]
    task = Task.from_command([*LAUNCH, "--gpus", str(gpus), "--nodes", str(nodes), *job])
    task.log = log
    return task


def test_a_node_gets_what_an_operator_tells_it_and_the_command_of_a_training() -> None:
    first, second = node_commands(launch(gpus=2))
    options = ["--recipe-id", "sat", "--seed", "0", "--gpus", "2", "--nodes", "2", "--output-file", "/out/checkpoint"]
    assert first.command == second.command == ["nofrost", "task", "train", *options]
    assert (first.task.title, second.task.title) == ("train sat, seed 0, node 0", "train sat, seed 0, node 1")
    assert [node.task.log.name for node in (first, second)] == ["launch-1.log", "launch-1-node-1.log"]
    assert [node.variables["PET_NODE_RANK"] for node in (first, second)] == ["0", "1"]
    common = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "2", "PET_MASTER_ADDR": "127.0.0.1"}
    for node in (first, second):
        assert node.variables.items() >= common.items()
    assert len({node.variables["PET_MASTER_PORT"] for node in (first, second)}) == 1


@pytest.mark.parametrize(
    ("listed", "gpus", "expected"),
    [(None, 2, ["0,1", "2,3"]), ("5,3,GPU-8", 1, ["5", "3"]), ("5,3,GPU-8", 2, ["5,3", "GPU-8"]), (None, 0, ["", ""])],
)
def test_the_nodes_share_the_gpus_of_this_machine(
    listed: str | None, gpus: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert [node.variables["CUDA_VISIBLE_DEVICES"] for node in node_commands(launch(gpus))] == expected


def test_one_node_is_told_nothing() -> None:
    (only,) = node_commands(launch(gpus=4, nodes=1))
    assert only.variables == {}


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *scripts: str) -> Task:
    """Run nodes that execute these scripts, and return the task in whose place they were."""

    def nodes_of(launched: Task) -> list[NodeCommand]:
        return [
            NodeCommand(node.task, [sys.executable, "-c", script], node.variables)
            for node, script in zip(node_commands(launched), scripts, strict=True)
        ]

    monkeypatch.setattr(local_tasks, "node_commands", nodes_of)
    log = RunLog(folder, None)
    tasks = ProcessTasks(log, Children(log.say), "run-1")
    with tasks.children:
        succeeded = tasks([*LAUNCH, "--gpus", "0", "--nodes", str(len(scripts)), "--output-file", "out"], {})
    assert succeeded == (log.tasks[0].exit_code == 0)
    return log.tasks[0]


SHOW = "import os; print(os.environ['PET_NODE_RANK'], os.environ['NOFROST_RUN_ID'])"
WAIT = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(200)"


def test_nodes_run_side_by_side_with_a_log_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = run(tmp_path, monkeypatch, SHOW, SHOW)
    assert (task.name, task.label, task.exit_code) == ("launch", "sat, seed 0", 0)
    assert (tmp_path / "launch-1.log").read_text() == "0 run-1\n"
    assert (tmp_path / "launch-1-node-1.log").read_text() == "1 run-1\n"


@pytest.mark.parametrize("code", [2, 1])
def test_a_node_that_fails_ends_the_others_and_its_last_words_are_shown(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_tasks, "NOTICED_S", 0.3)
    started = time.monotonic()
    task = run(tmp_path, monkeypatch, WAIT, f"import sys; print('my words'); sys.exit({code})")
    assert time.monotonic() - started < 100
    assert (task.exit_code, task.last_line()) == (code, "my words")


def test_a_node_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_tasks, "NOTICED_S", 0.3)
    monkeypatch.setattr("pipelines.watchdog.SAVE_GRACE_S", 0.3)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(200)"
    )
    started = time.monotonic()
    task = run(tmp_path, monkeypatch, deaf, "import sys; sys.exit(200)")
    assert time.monotonic() - started < 100
    assert (task.exit_code, task.last_line()) == (-signal.SIGKILL, "deaf")


def test_a_signal_reaches_all_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        while len(list(tmp_path.glob("*.log"))) < 2 or not all(path.read_text() for path in tmp_path.glob("*.log")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    script = WAIT.replace("time.sleep(200)", "print('ready', flush=True); time.sleep(200)")
    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    task = run(tmp_path, monkeypatch, script, script)
    assert time.monotonic() - started < 100
    assert task.exit_code == 143


def test_with_containers_a_node_is_one_of_the_training_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, containers = MagicMock(), [MagicMock(id="a"), MagicMock(id="b")]
    for container in containers:
        container.logs.return_value = [b"words\n"]
        container.wait.return_value = {"StatusCode": 0}
    # Two nodes at once: each container has an id of its own, by which it is stopped.
    client.containers.create.side_effect = containers
    monkeypatch.setattr(docker, "from_env", lambda: client)
    tasks = container_tasks(S3(**SECRETS), tmp_path)
    with tasks.children:
        assert tasks([*LAUNCH, "--gpus", "0", "--nodes", "2", "--output-file", "out"], {})
    created = client.containers.create.call_args_list
    assert [call.args for call in created] == [("train",)] * 2
    ranks = sorted(call.kwargs["environment"]["PET_NODE_RANK"] for call in created)
    assert ranks == ["0", "1"]
    assert all({"task", "train"} <= set(call.kwargs["command"]) for call in created)
    assert sorted(path.read_text() for path in (tmp_path / "logs").glob("*.log")) == ["words\n"] * 2
