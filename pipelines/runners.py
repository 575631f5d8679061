"""How the tasks of a local run are executed: as processes, or as containers as locked down as on the cluster.

kfp.local walks the graph; its own ways to execute a task are replaced for the time of a run. Its process runner
refuses components that are commands (training is one), and its Docker runner can take a failed task for a success: it
lets containers remove themselves and reads "not found" as exit code 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kfp.local import status

from nofrost.errors import UserError
from nofrost.store import Store
from pipelines.journal import Journal, Task

CONTAINER_USER = 1000
ON_GPU = ("train", "evaluate")  # what their names start with


@dataclass
class ProcessTask:
    """A task as a process of this Python environment."""

    journal: Journal
    image: str
    full_command: list[str]
    pipeline_root: str
    runner: Any
    env_vars: dict[str, str] | None = None

    def run(self) -> status.Status:
        """Run the task; its output goes to a log file."""
        with self.journal.task(Task.of(self.full_command)) as task, task.log.open("wb") as log:
            environment = {**os.environ, **limited_threads(), **(self.env_vars or {})}
            environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
            ended = subprocess.run(
                self.full_command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            )
            task.exit_code = ended.returncode
        return task.status


@dataclass(frozen=True)
class Containers:
    """What containers of a local run share.

    Attributes:
        stage_image, train_image: image ids.
        gpus: whether training and evaluation see the GPUs.
        environment: environment variables, S3 credentials among them; never printed.
        folders: folders of this machine that containers see under the same path, such as a local store.
    """

    stage_image: str
    train_image: str
    gpus: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: tuple[Path, ...] = ()


@dataclass
class ContainerTask:
    """A task as a container: not root, read-only root file system, no capabilities; the host's network."""

    journal: Journal
    containers: Containers
    image: str
    full_command: list[str]
    pipeline_root: str
    runner: Any
    env_vars: dict[str, str] | None = None

    def run(self) -> status.Status:
        """Create, start, follow, wait for and remove the container; its exit code is the task's."""
        import docker

        client = docker.from_env()
        with self.journal.task(Task.of(self.full_command)) as task, task.log.open("wb") as log:
            container = client.containers.create(self._image(task), self.full_command, **self._settings(task))
            try:
                container.start()
                for piece in container.logs(stream=True, follow=True):
                    log.write(piece)
                task.exit_code = int(container.wait()["StatusCode"])
            finally:
                container.remove(force=True)
                client.close()
        return task.status

    def _image(self, task: Task) -> str:
        # kfp.local does not resolve pipeline parameters in an image
        return self.containers.train_image if task.name == "train" else self.containers.stage_image

    def _settings(self, task: Task) -> dict[str, Any]:
        from docker.types import DeviceRequest

        user = os.getuid() or CONTAINER_USER
        folders = (Path(self.pipeline_root), *self.containers.folders)
        wants_gpu = self.containers.gpus and task.name.startswith(ON_GPU)
        return {
            "user": f"{user}:{os.getgid() or CONTAINER_USER}",
            "read_only": True,
            "tmpfs": {"/tmp": ""},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "network_mode": "host",
            "shm_size": "256m",
            "environment": {**limited_threads(), **self.containers.environment, **(self.env_vars or {})},
            "volumes": {str(folder): {"bind": str(folder), "mode": "rw"} for folder in folders},
            "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if wants_gpu else None,
        }


@contextmanager
def as_processes(journal: Journal) -> Iterator[Any]:
    """Inside, kfp.local executes tasks as processes; yields the runner to initialise it with."""
    from kfp import local

    handler = partial(ProcessTask, journal)
    with patch("kfp.local.subprocess_task_handler.SubprocessTaskHandler", handler):
        yield local.SubprocessRunner(use_venv=False)


@contextmanager
def as_containers(journal: Journal, containers: Containers) -> Iterator[Any]:
    """Inside, kfp.local executes tasks as containers; yields the runner to initialise it with."""
    from kfp import local

    handler = partial(ContainerTask, journal, containers)
    with patch("kfp.local.docker_task_handler.DockerTaskHandler", handler):
        yield local.DockerRunner()


def image_id(name: str) -> str:
    """Return the id of a local image: what cached results are kept under, as a tag can move.

    Raises:
        UserError: there is no Docker to ask, or no such image.
    """
    try:
        import docker
    except ImportError:
        raise UserError("docker is not installed here: pip install --editable '.[docker]' brings its client") from None
    try:
        client = docker.from_env()
    except docker.errors.DockerException:
        raise UserError("no Docker engine answers: start one, set DOCKER_HOST, or use --runner process") from None
    try:
        return str(client.images.get(name).id)
    except docker.errors.ImageNotFound:
        raise UserError(
            f"there is no image {name!r} on this machine: build it with `make images`, or name it"
        ) from None
    finally:
        client.close()


def s3_environment(store: Store) -> dict[str, str]:
    """Return the environment by which containers reach the store: credentials as boto3 finds them here, endpoint."""
    if not store.url.startswith("s3://"):
        return {}
    import boto3

    session = boto3.Session()
    found = {"AWS_DEFAULT_REGION": session.region_name}
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found |= {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
        found["AWS_SESSION_TOKEN"] = frozen.token
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        found[name] = os.environ.get(name)
    return {name: value for name, value in found.items() if value}


def limited_threads() -> dict[str, str]:
    """Return the setting by which two tasks at a time (all that kfp.local runs) share the processors in peace."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))}
