"""Fixtures of the tests of training jobs: a double of the API server, and a launcher of a job on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nofrost.cluster.job.kinds import JOB_KINDS
from tests.cluster.double.api_server import ApiServer
from tests.cluster.launcher.launched_job import LaunchedJob


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A running double."""
    double = ApiServer()
    double.start()
    yield double
    double.stop()


@pytest.fixture(params=JOB_KINDS, ids=lambda kind: kind.kind)
def launched(request: pytest.FixtureRequest, server: ApiServer, tmp_path: Path) -> Iterator[LaunchedJob]:
    """A job of two nodes of each kind, which has not been launched yet."""
    job = LaunchedJob(server, request.param, tmp_path / "store")
    yield job
    job.end()


@pytest.fixture
def pytorchjob(server: ApiServer, tmp_path: Path) -> Iterator[LaunchedJob]:
    """The same as a PyTorchJob."""
    job = LaunchedJob(server, JOB_KINDS[0], tmp_path / "store")
    yield job
    job.end()


@pytest.fixture
def trainjob(server: ApiServer, tmp_path: Path) -> Iterator[LaunchedJob]:
    """The same as a TrainJob."""
    job = LaunchedJob(server, JOB_KINDS[1], tmp_path / "store")
    yield job
    job.end()
