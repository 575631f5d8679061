"""`nofrost task launch` with the jobs that it makes itself, as a process: exit codes, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.spec import Training
from nofrost.cluster.job.training_runtime import runtime_name
from nofrost.config import recipe_of
from nofrost.tasks.task_errors import RecordedError, errors_of
from tests.child_process import running
from tests.cluster.double.resources import RUNTIMES
from tests.cluster.launcher.launched_job import OUTPUT, LaunchedJob, wait_until

DATASET = "data/dataset@0123456789abcdef0123456789abcdef.dir"
AUGMENTATION = "data/augmentation@0123456789abcdef0123456789abcdef.dir"
IMAGE = f"example.com/nofrost-train@sha256:{'0' * 64}"


class Command:
    """The command in a process, and its job."""

    def __init__(self, job: LaunchedJob, kubeconfig: Path, folder: Path, processes: ExitStack) -> None:
        self.job, self.output_file = job, folder / "output"
        recipe = json.dumps(recipe_of(None, "sat", ()).as_json())
        training = Training(recipe, "sat", "0", DATASET, AUGMENTATION, job.store.url)
        options = {
            **{key.replace("_", "-"): value for key, value in training.__dict__.items()},
            "gpus": 8,
            "nodes": 2,
            "image": IMAGE,
            "output-file": self.output_file,
        }
        self.arguments = [f"--{key}={value}" for key, value in options.items()]
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "NOFROST_RUN_ID": "run-1",
            "KFP_POD_NAME": "launcher-1",
            "KFP_POD_UID": "uid-of-launcher-1",
        }
        self.processes = processes

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nofrost", "task", "launch", *self.arguments, *more]
        process = running(command, env=self.environment, stderr=subprocess.PIPE, text=True)
        return self.processes.enter_context(process)

    def wait_for_job(self) -> None:
        (self.job.name,) = wait_until(lambda: self.job.server.names(self.job.resource))


@pytest.fixture
def command_of(kubeconfig: Path, tmp_path: Path) -> Iterator[Callable[[LaunchedJob], Command]]:
    """Make the command of a job; what it starts ends with the test."""
    with ExitStack() as processes:
        yield lambda job: Command(job, kubeconfig, tmp_path, processes)


@pytest.fixture
def command(trainjob: LaunchedJob, command_of: Callable[[LaunchedJob], Command]) -> Command:
    """On a cluster that knows TrainJobs alone."""
    trainjob.server.resources = [each for each in trainjob.server.resources if each.plural != "pytorchjobs"]
    return command_of(trainjob)


def said_by(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=60)[1]


def test_the_job_is_made_and_followed(command: Command) -> None:
    process, job = command.start(), command.job
    command.wait_for_job()
    found = job.server.find(job.resource, job.name)
    assert job.name.startswith("nofrost-sat-0-")
    assert found["metadata"]["labels"]["nofrost/run"] == "run-1"
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "launcher-1", "uid-of-launcher-1")
    assert json.dumps(found).count('"nvidia.com/gpu": "8"') in (2, 4), "of each node, as request and limit"
    job.add_pods(job.status("Running"), job.status("Running"))
    job.write("started")
    job.succeed()
    assert "started" in said_by(process)
    assert process.returncode == 0
    assert command.output_file.read_text() == OUTPUT
    assert not job.server.names(job.resource)


def test_wrong_input_ends_with_2(pytorchjob: LaunchedJob, command_of: Callable[[LaunchedJob], Command]) -> None:
    command, job = command_of(pytorchjob), pytorchjob
    process = command.start()
    command.wait_for_job()
    job.add_pods(job.status("Running"), job.status("Running"))
    recorded = RecordedError("train sat, seed 0", 2, "the dataset has no images", "2100-01-02T03:04:05+00:00", True)
    job.store.put("nofrost/runs/run-1/errors/train-sat-seed-0.json", json.dumps(recorded.__dict__).encode())
    job.fail(2, 200)
    assert "failed: the dataset has no images; pods failed" in said_by(process)
    assert process.returncode == 2
    assert not command.output_file.exists()
    assert not job.server.names(job.resource)
    assert [(each.task, each.exit_code) for each in errors_of("run-1", job.store)] == [
        ("launch sat, seed 0", 2),
        ("train sat, seed 0", 2),
    ]


def test_a_failed_job_ends_with_1(pytorchjob: LaunchedJob, command_of: Callable[[LaunchedJob], Command]) -> None:
    command, job = command_of(pytorchjob), pytorchjob
    process = command.start()
    command.wait_for_job()
    job.add_pods(job.status("Running"), job.status("Running"))
    job.fail(1, 200)
    assert "failed: pods failed; ended: " in said_by(process)
    assert process.returncode == 1
    assert not command.output_file.exists()
    assert not job.server.names(job.resource)


def test_sigterm_ends_with_143(pytorchjob: LaunchedJob, command_of: Callable[[LaunchedJob], Command]) -> None:
    command, job = command_of(pytorchjob), pytorchjob
    process = command.start()
    command.wait_for_job()
    job.add_pods(job.status("Running"), job.status("Running"))
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: not job.server.names(job.resource))
    said_by(process)
    assert process.returncode == 143
    assert job.server.count("DELETE", job.name) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--image=nofrost-train:latest", "has no digest"),
        ("--recipe={}", "recipes.sat"),
        ('--settings={"deadline": 1}', "deadline"),
        ("--nodes=1001", "1001 nodes"),
    ],
)
def test_wrong_options_end_with_2_before_any_request(
    more: str,
    message: str,
    pytorchjob: LaunchedJob,
    command_of: Callable[[LaunchedJob], Command],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nofrost.cli import main

    command = command_of(pytorchjob)
    monkeypatch.setenv("KUBECONFIG", command.environment["KUBECONFIG"])
    monkeypatch.setattr(sys, "argv", ["nofrost", "task", "launch", *command.arguments, more])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not pytorchjob.server.requests


def test_a_missing_runtime_ends_with_2(
    trainjob: LaunchedJob,
    command_of: Callable[[LaunchedJob], Command],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nofrost.cli import main

    trainjob.server.remove(RUNTIMES, runtime_name(JobSettings()))
    command = command_of(trainjob)
    monkeypatch.setenv("KUBECONFIG", command.environment["KUBECONFIG"])
    monkeypatch.setattr(sys, "argv", ["nofrost", "task", "launch", *command.arguments, "--backend=trainjob"])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    assert "run nofrost task runtime | kubectl apply" in capsys.readouterr().err
    assert not trainjob.created
