"""The built images, and containers of them as locked down as a cluster's strictest rules have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

IMAGES = {"stage": "NOFROST_STAGE_IMAGE", "train": "NOFROST_TRAIN_IMAGE"}
# As a namespace with the pod security standard `restricted` and a read-only root.
RESTRICTED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "network_mode": "none",
    "environment": {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
}
END_LIMIT_S = 200


@dataclass(frozen=True)
class Ended:
    code: int
    output: str


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The ids of both images."""
    if missing := [variable for variable in IMAGES.values() if not os.environ.get(variable)]:
        pytest.skip(f"{' and '.join(missing)} not set: run `python tests/servers/docker.py -- pytest tests/docker`")
    return {name: os.environ[variable] for name, variable in IMAGES.items()}


@pytest.fixture(scope="session")
def engine(images: dict[str, str]) -> Iterator[Any]:
    import docker

    client = docker.from_env(timeout=END_LIMIT_S)
    yield client
    client.close()


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest, images: dict[str, str]) -> str:
    """Each image in turn."""
    return images[request.param]


@pytest.fixture(scope="session")
def started(engine: Any) -> Callable[..., Any]:
    """A context in which a container runs a command, restricted unless told otherwise; it is removed afterwards."""

    @contextmanager
    def start(image: str, *command: str, **settings: Any) -> Iterator[Any]:
        container = engine.containers.create(image, list(command) or None, **(RESTRICTED | settings))
        try:
            container.start()
            yield container
        finally:
            container.remove(force=True, v=True)

    return start


@pytest.fixture(scope="session")
def run(started: Callable[..., Any]) -> Callable[..., Ended]:
    """Run a command in a container to its end; output is standard output and error together."""

    def run_to_end(image: str, *command: str, **settings: Any) -> Ended:
        with started(image, *command, **settings) as container:
            code = container.wait(timeout=END_LIMIT_S)["StatusCode"]
            return Ended(code, container.logs().decode())

    return run_to_end


@pytest.fixture
def volume(engine: Any) -> Iterator[dict[str, dict[str, str]]]:
    """An empty volume, mounted where Kubeflow mounts the outputs of a component."""
    made = engine.volumes.create()
    yield {made.name: {"bind": "/s3", "mode": "rw"}}
    made.remove(force=True)
