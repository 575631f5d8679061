"""How the tasks of a local run are executed: as processes, or as containers as locked down as on the cluster.

kfp.local runs the graph; its task handlers are replaced for the time of a run. Its process handler rejects components
that are commands (training is one), and its Docker handler can mistake a failed task for a success: it lets containers
remove themselves and reads "not found" as exit code 0.
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from kfp.local import status

from nofrost.errors import UserError
from nofrost.store import Store
from pipelines.children import Children
from pipelines.run_log import RunLog, Task

CONTAINER_USER = 1000
ON_GPU = ("train", "evaluate")  # prefixes of the names of tasks that use GPUs
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
FILE_VARIABLES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE")


@dataclass
class ProcessTask:
    """A task as a process of this Python environment."""

    run_log: RunLog
    children: Children
    image: str
    full_command: list[str]
    pipeline_root: str
    runner: Any
    env_vars: dict[str, str] | None = None

    def run(self) -> status.Status:
        """Run the task; its output goes to a log file."""
        if self.children.stopped:
            return status.Status.FAILURE
        with self.run_log.task(Task.from_command(self.full_command)) as task, task.log.open("wb") as log:
            environment = {**os.environ, **limited_threads(), **(self.env_vars or {})}
            environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
            task.exit_code = self.children.run(task.title, self.full_command, log, environment)
        return task.status


@dataclass(frozen=True)
class Containers:
    """What the containers of a local run have in common.

    Attributes:
        stage_image, train_image: image ids.
        gpus: whether training and evaluation get the GPUs.
        store: which they reach as this machine does: its endpoint, credentials, certificates and proxies.
        credentials: file for the credentials, which `docker inspect` would show as environment variables.
    """

    stage_image: str
    train_image: str
    gpus: bool
    store: Store
    credentials: Path
    _writing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def environment(self) -> dict[str, str]:
        """Return the environment variables for the store, after writing its credentials, which may be new ones.

        Raises:
            UserError: a setting of the store cannot be passed on.
        """
        # Two tasks may begin at once, and the later credentials are those to keep.
        with self._writing:
            return self._environment()

    def _environment(self) -> dict[str, str]:
        variables = self.store.container_environment()
        secrets = {name: variables.pop(name) for name in SECRETS if name in variables}
        if secrets:
            lines = [f"{name.lower()} = {value}" for name, value in secrets.items()]
            write_private(self.credentials, "\n".join(["[default]", *lines, ""]))
            variables["AWS_SHARED_CREDENTIALS_FILE"] = str(self.credentials)
        return variables

    def mounts(self, environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return what of this machine is mounted under the same path: a local store, and files that variables name."""
        files = [environment[name] for name in FILE_VARIABLES if name in environment]
        read_only = {path: {"bind": path, "mode": "ro"} for path in files}
        if self.store.url.startswith("s3://"):
            return read_only
        return read_only | {self.store.url: {"bind": self.store.url, "mode": "rw"}}


@dataclass
class ContainerTask:
    """A task as a container: no root user, read-only root file system, no capabilities; the host's network."""

    run_log: RunLog
    children: Children
    containers: Containers
    image: str
    full_command: list[str]
    pipeline_root: str
    runner: Any
    env_vars: dict[str, str] | None = None

    def run(self) -> status.Status:
        """Create, start, follow, wait for and remove the container; its exit code is the task's."""
        import docker

        if self.children.stopped:
            return status.Status.FAILURE
        client = docker.from_env()
        with self.run_log.task(Task.from_command(self.full_command)) as task, task.log.open("wb") as log:
            container = client.containers.create(self._image(task), self.full_command, **self._settings(task))
            try:
                with self.children.container(task.title, str(container.id)):
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
        environment = self.containers.environment()
        root = {self.pipeline_root: {"bind": self.pipeline_root, "mode": "rw"}}
        wants_gpu = self.containers.gpus and task.name.startswith(ON_GPU)
        return {
            "user": f"{user}:{os.getgid() or CONTAINER_USER}",
            "read_only": True,
            "tmpfs": {"/tmp": ""},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "network_mode": "host",
            "shm_size": "256m",
            "environment": {**limited_threads(), **environment, **(self.env_vars or {})},
            "volumes": root | self.containers.mounts(environment),
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
def as_processes(run_log: RunLog, children: Children) -> Iterator[Any]:
    """Let kfp.local execute tasks as processes in the block; yield the runner to initialise it with."""
    from kfp import local
    from kfp.local import subprocess_task_handler

    with _replaced(subprocess_task_handler, "SubprocessTaskHandler", partial(ProcessTask, run_log, children)):
        yield local.SubprocessRunner(use_venv=False)


@contextmanager
def as_containers(run_log: RunLog, children: Children, containers: Containers) -> Iterator[Any]:
    """Let kfp.local execute tasks as containers in the block; yield the runner to initialise it with."""
    from kfp import local
    from kfp.local import docker_task_handler

    with _replaced(docker_task_handler, "DockerTaskHandler", partial(ContainerTask, run_log, children, containers)):
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


def write_private(path: Path, text: str) -> None:
    """Write, atomically, a file that only the user of the containers can ever read."""
    partial = path.with_name(f".{path.name}.partial")
    # Of a run that was killed.
    partial.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        if os.getuid() == 0:
            os.chown(partial, CONTAINER_USER, CONTAINER_USER)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def limited_threads() -> dict[str, str]:
    """Return the setting that avoids oversubscribing the CPU: kfp.local runs two tasks at a time."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))}
