"""How the tasks of a local run are executed: as processes, or as containers as locked down as on the cluster."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nofrost.cluster.job.identity import RUN_ID
from nofrost.ends import End, first_cause
from nofrost.errors import UserError, reason
from nofrost.store import Store
from nofrost.telemetry.log import VARIABLE as LOG
from nofrost.telemetry.metrics.exposition import VARIABLE as METRICS_PORT
from pipelines.children import Children
from pipelines.local_nodes import node_commands
from pipelines.run_log import RunLog, Task

CONTAINER_USER = 1000
ON_GPU = ("train", "evaluate")  # prefixes of the names of tasks that use GPUs
DOCKER_FAILED = 125  # exit code of `docker run` for its own errors
CLOSING = "finish"  # records how the run ended, also of one that was stopped
NOTICED_S = 10.0  # after one node of a training has failed, the others have this long to end by themselves


@dataclass(frozen=True)
class Tasks(ABC):
    """Executes the tasks of a run. Their output goes to log files.

    Attributes:
        run_id: which tasks find in NOFROST_RUN_ID.
    """

    run_log: RunLog
    children: Children
    run_id: str

    def __call__(self, command: list[str], variables: Mapping[str, str]) -> bool:
        """Execute one task, given its command and environment variables, and return whether it succeeded."""
        task = Task.from_command(command)
        if not self.children.may_begin(closing=task.name == CLOSING):
            return False
        # The port is that of a pod: here, whoever wants metrics says where.
        variables = {name: value for name, value in variables.items() if name != METRICS_PORT}
        # People read these logs.
        variables = {LOG: os.environ.get(LOG, "text"), **variables, RUN_ID: self.run_id}
        with self.run_log.task(task):
            if task.name == "launch":
                self._run_nodes(task, variables)
            else:
                self._run_logged(task, command, variables)
        return task.exit_code == 0

    def _run_logged(self, task: Task, command: Sequence[str], variables: Mapping[str, str]) -> None:
        with task.log.open("wb") as log:
            task.exit_code = self._run(task, command, variables, log, task.name == CLOSING)

    def _run_nodes(self, launch: Task, variables: Mapping[str, str]) -> None:
        """Run the nodes of a training side by side, in the place of the task that would start them as a job.

        As on a cluster, one that fails ends the others, but quicker: there they end by themselves, with 200, when they
        have missed its heartbeats for up to a minute; here this process sees the end of a node at once, and asks those
        that have not ended after NOTICED_S to stop, which end with 143. Exit code and log are those of the node that
        was the cause.
        """
        nodes = node_commands(launch)
        with ThreadPoolExecutor(len(nodes)) as threads:
            running = {
                threads.submit(self._run_logged, node.task, node.command, {**variables, **node.variables}): node.task
                for node in nodes
            }
            for ended in as_completed(running):
                ended.result()
                if running[ended].exit_code:
                    # Those whose connection to it broke, or to whom it has told its end, say better what happened.
                    _, others = wait(running, timeout=NOTICED_S)
                    self.children.end([running[other].title for other in others])
                    break
        ends = [End(node.task.exit_code or 0) for node in nodes]
        cause = nodes[ends.index(first_cause(ends))].task
        launch.exit_code, launch.log = cause.exit_code, cause.log

    @abstractmethod
    def _run(
        self, task: Task, command: Sequence[str], variables: Mapping[str, str], log: IO[bytes], closing: bool
    ) -> int:
        """Return the exit code of a task. Those of several nodes are run by several threads."""


class ProcessTasks(Tasks):
    """Executes tasks as processes of this Python environment."""

    def _run(
        self, task: Task, command: Sequence[str], variables: Mapping[str, str], log: IO[bytes], closing: bool
    ) -> int:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return self.children.run(task.title, command, log, {**os.environ, **variables, "PATH": path}, closing)


@dataclass(frozen=True)
class ContainerTasks(Tasks):
    """Executes tasks as containers: no root user, read-only root file system, no capabilities; the host's network.

    Attributes:
        stage_image, train_image: image ids.
        gpus: whether training and evaluation get the GPUs of this machine.
        store: which they reach as this machine does: its endpoint, credentials, certificates and proxies.
        credentials: file for these, any of which may hold a secret that `docker inspect` would show as a variable.
        root: folder for the outputs of tasks.
    """

    stage_image: str
    train_image: str
    gpus: bool
    store: Store
    credentials: Path
    root: Path
    _writing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def _run(
        self, task: Task, command: Sequence[str], variables: Mapping[str, str], log: IO[bytes], closing: bool
    ) -> int:
        import docker

        # kfp.local does not resolve pipeline parameters in the name of an image.
        image = self.train_image if task.name == "train" else self.stage_image
        settings = self.settings(task.name, command, variables)
        try:
            with contextlib.closing(docker.from_env()) as client:
                container = client.containers.create(image, **settings)
                try:
                    with self.children.container(task.title, str(container.id), closing):
                        container.start()
                        for chunk in container.logs(stream=True, follow=True):
                            log.write(chunk)
                        return int(container.wait()["StatusCode"])
                finally:
                    container.remove(force=True)
        # A lost connection is an OSError.
        except (docker.errors.DockerException, OSError) as error:
            log.write(f"{reason(error)}\n".encode())
            return DOCKER_FAILED

    def settings(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings of a task's container, after writing the credentials, which may be new ones.

        Raises:
            UserError: a setting of the store cannot be passed on.
        """
        from docker.types import DeviceRequest

        user = os.getuid() or CONTAINER_USER
        settings = self.store.container_environment()
        volumes = {str(self.root): "rw"}
        if not self.store.url.startswith("s3://"):
            volumes[self.store.url] = "rw"
        if "AWS_CA_BUNDLE" in settings:
            volumes[settings["AWS_CA_BUNDLE"]] = "ro"
        if settings:
            exports = [f"export {variable}={shlex.quote(value)}\n" for variable, value in settings.items()]
            with self._writing:
                write_private(self.credentials, "".join(exports))
            volumes[str(self.credentials)] = "ro"
            command = ["sh", "-c", '. "$0" && exec "$@"', str(self.credentials), *command]
        wants_gpu = self.gpus and name.startswith(ON_GPU)
        return {
            "command": list(command),
            "user": f"{user}:{os.getgid() or CONTAINER_USER}",
            "read_only": True,
            "tmpfs": {"/tmp": ""},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "network_mode": "host",
            "shm_size": "256m",
            "environment": dict(variables),
            # Proxies of Docker's own configuration would be variables; those of this machine are in the file.
            "use_config_proxy": False,
            # Everything is mounted under the same path.
            "volumes": {path: {"bind": path, "mode": mode} for path, mode in volumes.items()},
            "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if wants_gpu else None,
        }


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
    """Write a file that only the user of the containers can ever read, unless it says the same already."""
    content = os.fsencode(text)
    # Another container may be about to mount it.
    if path.is_file() and path.read_bytes() == content:
        return
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    if os.getuid() == 0:
        os.chown(path, CONTAINER_USER, CONTAINER_USER)
