"""How the tasks of a local run are executed: as processes, or as containers as locked down as on the cluster.

kfp.local runs the graph; its task handlers are replaced for the time of a run. Its process handler rejects components
that are commands (training is one), and its Docker handler can mistake a failed task for a success: it lets containers
remove themselves and reads "not found" as exit code 0.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from kfp.local import status

from nofrost.errors import UserError
from pipelines.run_log import RunLog, Task

CONTAINER_USER = 1000
ON_GPU = ("train", "evaluate")  # prefixes of the names of tasks that use GPUs


@dataclass
class ProcessTask:
    """A task as a process of this Python environment."""

    run_log: RunLog
    image: str
    full_command: list[str]
    pipeline_root: str
    runner: Any
    env_vars: dict[str, str] | None = None

    def run(self) -> status.Status:
        """Run the task; its output goes to a log file."""
        with self.run_log.task(Task.from_command(self.full_command)) as task, task.log.open("wb") as log:
            environment = {**os.environ, **limited_threads(), **(self.env_vars or {})}
            environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
            completed = subprocess.run(
                self.full_command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            )
            task.exit_code = completed.returncode
        return task.status


@dataclass(frozen=True)
class Containers:
    """What the containers of a local run have in common.

    Attributes:
        stage_image, train_image: image ids.
        gpus: whether training and evaluation get the GPUs.
        environment: environment variables, S3 credentials among them; never printed.
        folders: folders of this machine that are mounted under the same path, such as a local store.
        certificates: file of certificates that is mounted under the same path, to be read.
    """

    stage_image: str
    train_image: str
    gpus: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: tuple[Path, ...] = ()
    certificates: str | None = None


@dataclass
class ContainerTask:
    """A task as a container: no root user, read-only root file system, no capabilities; the host's network."""

    run_log: RunLog
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
        with self.run_log.task(Task.from_command(self.full_command)) as task, task.log.open("wb") as log:
            container = client.containers.create(self._image(task), self.full_command, **self._settings(task))
            try:
                container.start()
                for chunk in container.logs(stream=True, follow=True):
                    log.write(chunk)
                task.exit_code = int(container.wait()["StatusCode"])
            finally:
                container.remove(force=True)
                client.close()
        return task.status

    def _image(self, task: Task) -> str:
        # kfp.local does not resolve pipeline parameters in the name of an image.
        return self.containers.train_image if task.name == "train" else self.containers.stage_image

    def _settings(self, task: Task) -> dict[str, Any]:
        from docker.types import DeviceRequest

        user = os.getuid() or CONTAINER_USER
        folders = (Path(self.pipeline_root), *self.containers.folders)
        volumes = {str(folder): {"bind": str(folder), "mode": "rw"} for folder in folders}
        if certificates := self.containers.certificates:
            volumes[certificates] = {"bind": certificates, "mode": "ro"}
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
            "volumes": volumes,
            "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if wants_gpu else None,
        }


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module in the block. kfp.local has no place to register another task handler."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def as_processes(run_log: RunLog) -> Iterator[Any]:
    """Let kfp.local execute tasks as processes in the block; yield the runner to initialise it with."""
    from kfp import local
    from kfp.local import subprocess_task_handler

    with _replaced(subprocess_task_handler, "SubprocessTaskHandler", partial(ProcessTask, run_log)):
        yield local.SubprocessRunner(use_venv=False)


@contextmanager
def as_containers(run_log: RunLog, containers: Containers) -> Iterator[Any]:
    """Let kfp.local execute tasks as containers in the block; yield the runner to initialise it with."""
    from kfp import local
    from kfp.local import docker_task_handler

    with _replaced(docker_task_handler, "DockerTaskHandler", partial(ContainerTask, run_log, containers)):
        yield local.DockerRunner()


def image_id(name: str) -> str:
    """Return the id of a local image, which is the key of the cache: a tag can move.

    Raises:
        UserError: Docker does not answer, or there is no such image.
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
            f"there is no image {name!r} on this machine: build it with `make images`, or choose another"
        ) from None
    finally:
        client.close()


def limited_threads() -> dict[str, str]:
    """Return the setting that avoids oversubscribing the CPU: kfp.local runs two tasks at a time."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))}
