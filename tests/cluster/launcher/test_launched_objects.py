"""What `nofrost task launch` sends to an API server, as a process: objects that are valid, and deleted by SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nofrost.cluster.job.kinds import JOB_KINDS, JobKind
from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.spec import JobSpec, Owner
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.config import load_recipe
from tests.child_process import running
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.resources import NAMESPACE, PYTORCHJOBS, RUNTIMES, TRAINJOBS
from tests.cluster.job.crd import errors, needs_crds
from tests.cluster.job.jobs import IMAGE, TRAINING
from tests.cluster.launcher.launched_job import wait_until

RESOURCES = {"PyTorchJob": PYTORCHJOBS, "TrainJob": TRAINJOBS}
BUILD: dict[str, Callable[[JobSpec], dict[str, Any]]] = {"PyTorchJob": as_pytorchjob, "TrainJob": as_trainjob}
SETTINGS = JobSettings.model_validate({"queue": "team-a", "env": {"NCCL_DEBUG": "INFO"}, "resources": {"cpu": "8"}})


@pytest.fixture
def launcher(
    server: ApiServer, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `nofrost task launch` in the pod `launch-x`."""
    variables = {"KUBECONFIG": kubeconfig, "KFP_POD_NAME": "launch-x", "KFP_POD_UID": "4f2a", "NOFROST_RUN_ID": "run-1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def start(backend: str, recipe: str) -> subprocess.Popen[str]:
        options = {
            **{key: value for key, value in vars(TRAINING).items() if key not in ("recipe", "store")},
            "recipe": recipe,
            "store": str(tmp_path / "store"),
            "gpus": 8,
            "nodes": 2,
            "image": IMAGE,
            "settings": json.dumps(SETTINGS.as_json()),
            "backend": backend,
            "output_file": tmp_path / "output",
        }
        line = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        process = running([sys.executable, "-m", "nofrost", "task", "launch", *line], stderr=subprocess.PIPE, text=True)
        return processes.enter_context(process)

    with ExitStack() as processes:
        yield start


@pytest.mark.slow
@needs_crds
@pytest.mark.parametrize("kind", JOB_KINDS, ids=lambda kind: kind.kind)
def test_the_job_is_that_of_its_options_and_goes_with_its_launcher(
    kind: JobKind, server: ApiServer, launcher: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    resource = RESOURCES[kind.kind]
    server.add(RUNTIMES, "nofrost-torch", spec={})
    recipe = json.dumps(load_recipe("st").as_json())
    process = launcher(kind.kind.lower(), recipe)
    wait_until(lambda: server.names(resource) or process.poll() is not None)
    (name,) = server.names(resource)
    value = server.find(resource, name)
    for key in set(value["metadata"]) - {"name", "namespace", "labels", "annotations", "ownerReferences"}:
        del value["metadata"][key]
    value.pop("status", None)
    assert errors(kind.plural, value) == []

    training = {**vars(TRAINING), "recipe": recipe, "store": str(tmp_path / "store")}
    spec = JobSpec(type(TRAINING)(**training), IMAGE, 8, 2, SETTINGS, NAMESPACE, "run-1", Owner("launch-x", "4f2a"))
    assert value == BUILD[kind.kind](spec)

    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    assert server.names(resource) == []
    assert server.count("DELETE", f"/{name}") == 1
