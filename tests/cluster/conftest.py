"""Fixtures of the tests of training jobs: a double of the API server with its kubeconfig, and a job on it."""

from __future__ import annotations

import io
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from nofrost.cluster.api import connection as connections
from nofrost.cluster.job.kinds import JOB_KINDS
from tests.cluster.double.api_server import TOKEN, ApiServer
from tests.cluster.double.certificate import make_certificate
from tests.cluster.double.resources import NAMESPACE
from tests.cluster.launcher.launched_job import LaunchedJob


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A running double."""
    double = ApiServer()
    double.start()
    yield double
    double.stop()


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    """The kubeconfig of somebody outside of the cluster."""
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "double", "cluster": {"server": server.url}}],
        "users": [{"name": "us", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "double", "user": "us", "namespace": NAMESPACE}}],
        "current-context": "here",
    }
    path.write_text(yaml.safe_dump(config))
    return path


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


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.StringIO]:
    """Returns what is said on stderr from its call on; it may be read while launchers go on, and `capsys` may not."""

    def begin() -> io.StringIO:
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        return stderr

    return begin


@pytest.fixture
def pod(tmp_path: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets this process be a pod, whose API server has a certificate; returns the folder of its account."""
    make_certificate(tmp_path / "key", tmp_path / "ca.crt", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
    server.stop()
    server.context = context
    server.start()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("research\n")
    monkeypatch.setattr(connections, "ACCOUNT", tmp_path)
    host, port = server.url.removeprefix("http://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    return tmp_path
