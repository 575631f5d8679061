"""The client of Kubernetes: where the server is, what it repeats, and what it makes of refusals."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nofrost.cluster.api import connection as connections
from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.connection import Connection, connection
from nofrost.cluster.api.errors import Backoff, KubernetesError
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.launcher.rank_log import RankLog
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.errors import UserError
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.certificate import make_certificate
from tests.cluster.double.refusals import CutError, RefusedError, refusing
from tests.cluster.double.resources import PODS, PYTORCHJOBS
from tests.cluster.launcher.launched_job import LaunchedJob, api_of, wait_until


def in_pod() -> KubernetesApi:
    return KubernetesApi(connection(), 20.0, lambda: Backoff(0.005, 0.05))


def test_a_pod_finds_its_server_and_its_namespace(pod: Path, server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    api = in_pod()
    assert api.namespace == "research"
    assert api.get(f"{PYTORCHJOBS.path}/a")["metadata"]["name"] == "a"


def test_a_token_that_is_replaced_is_read_anew(pod: Path, server: ApiServer) -> None:
    api = in_pod()
    assert api.get(PODS.path)["items"] == []
    server.token = "token-2"
    (pod / "token").write_text("token-2\n")
    assert api.get(PODS.path)["items"] == []
    assert server.count("GET", "/pods") == 2, "no request was refused"


@pytest.mark.parametrize(("replaced_at", "is_in_time"), [(1, True), (2, False)])
def test_a_token_that_expired_is_read_once_more(
    replaced_at: int, is_in_time: bool, pod: Path, server: ApiServer
) -> None:
    """The file changes while request number `replaced_at` is on its way."""
    api = in_pod()
    server.token = "token-2"

    def replace(method: str, path: str) -> None:
        if server.count("GET", "/pods") == replaced_at:
            (pod / "token").write_text("token-2")

    server.faults.append(replace)
    if is_in_time:
        assert api.get(PODS.path)["items"] == []
    else:
        with pytest.raises(KubernetesError, match="401: Unauthorized"):
            api.get(PODS.path)
    assert server.count("GET", "/pods") == 2


def test_a_log_that_is_silent_is_ended_at_once(pod: Path, server: ApiServer, tmp_path: Path) -> None:
    """Over TLS, while the thread waits for the next line."""
    job = LaunchedJob(server, JOB_KINDS[0], tmp_path / "store")
    job.add_pods(job.status("Running"), job.status("Running"))
    job.write("started")
    stored = StoredLog(job.name, job.store)
    log = RankLog(in_pod(), job.kind, job.name, stored, job.shown.append, 0.02)
    wait_until(lambda: job.shown)
    began = time.monotonic()
    log.finish(200)
    assert time.monotonic() - began < 100
    assert job.shown == ["started"] == job.stored_lines()
    job.end()


def test_another_server_is_not_trusted(pod: Path, server: ApiServer) -> None:
    make_certificate(pod / "other-key", pod / "ca.crt", "other")
    with pytest.raises(KubernetesError, match=r"does not answer.*CERTIFICATE_VERIFY_FAILED"):
        KubernetesApi(connection(), 0.0).get(PODS.path)
    assert not server.requests


def test_outside_of_a_cluster_a_kubeconfig_counts(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ACCOUNT", tmp_path / "nothing")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    api = KubernetesApi(connection())
    assert api.namespace == "research"
    assert api.get(PODS.path)["items"] == []


def test_without_pod_and_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ACCOUNT", tmp_path / "nothing")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="no pod with a service account, and there is no kubeconfig") as error:
        connection()
    assert error.value.exit_code == 2
    (tmp_path / "kubeconfig").write_text("clusters: 1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with pytest.raises(UserError, match="the kubeconfig cannot be used"):
        connection()


@pytest.mark.parametrize("code", [0, 408, 429, 500, 502, 503, 504])
def test_what_passes_is_repeated(code: int, server: ApiServer) -> None:
    fault = RefusedError(code, "X", "later") if code else CutError()
    server.faults.append(refusing(fault, "GET", "", 3))
    assert api_of(server).get(PODS.path)["items"] == []
    assert server.count("GET", "/pods") == 4


@pytest.mark.parametrize("code", [400, 403, 404, 409, 410, 422])
def test_what_does_not_pass_is_not_repeated(code: int, server: ApiServer) -> None:
    server.faults.append(refusing(RefusedError(code, "X", "never\nwith \x1b[31m colours"), "GET", "", 9))
    with pytest.raises(KubernetesError) as error:
        api_of(server).get(PODS.path)
    assert (error.value.status, error.value.is_transient) == (code, False)
    assert str(error.value) == rf"Kubernetes refuses to give {PODS.path} ({code}: never with \x1b[31m colours)"
    assert error.value.exit_code == 1
    assert server.count("GET", "/pods") == 1


def test_the_server_says_how_long_to_wait(server: ApiServer) -> None:
    server.faults.append(refusing(RefusedError(429, "TooManyRequests", "later", {"Retry-After": "0.3"}), "GET", "", 1))
    began = time.monotonic()
    api_of(server).get(PODS.path)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("text", ["nan", "-1", "soon", "Sun, 29 Nov 2026 15:00:00 GMT"])
def test_what_is_no_number_of_seconds_is_no_wait(text: str, server: ApiServer) -> None:
    server.faults.append(refusing(RefusedError(429, "TooManyRequests", "later", {"Retry-After": text}), "GET", "", 1))
    assert api_of(server).get(PODS.path)["items"] == []


def test_an_outage_of_a_minute_is_survived_by_the_usual_patience() -> None:
    """The pauses of a request that is repeated, without chance, and the time for which all are repeated."""
    backoff, total, count = Backoff(), 0.0, 0
    while total < 60:
        total, count = total + backoff.next_s(), count + 1
    assert count <= 18, "a server that comes back is not overrun"
    api = KubernetesApi(Connection("http://127.0.0.1:1", "x", lambda: None, {}))
    assert api.retry_for_s >= 120


def test_pauses_grow_and_differ() -> None:
    pauses = [Backoff(1.0, 8.0) for _ in range(20)]
    rounds = [[each.next_s() for each in pauses] for _ in range(6)]
    for expected, values in zip((1, 2, 4, 8, 8, 8), rounds, strict=True):
        assert all(expected / 2 <= value <= expected for value in values)
        assert len(set(values)) > 10
    assert pauses[0].next_s(least_s=100) >= 100
    pauses[0].reset()
    assert pauses[0].next_s() <= 1


def test_patience_ends(server: ApiServer) -> None:
    server.stop()
    with pytest.raises(KubernetesError, match="does not answer to give") as error:
        api_of(server, 0.1).get(PODS.path)
    assert error.value.status == 0
    assert error.value.is_transient


def test_a_collection_comes_by_pages(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        server.add(PYTORCHJOBS, f"j{number}", metadata={"labels": {"a": "b"}}, spec={})
    monkeypatch.setattr("nofrost.cluster.api.client._PAGE", "3")
    items = api_of(server).items(PYTORCHJOBS.path, labelSelector="a")
    assert [item["metadata"]["name"] for item in items] == [f"j{number}" for number in range(7)]
    assert server.count("GET", "/pytorchjobs") == 3


def test_deleting_what_is_gone_or_another_one_is_no_error(server: ApiServer) -> None:
    uid = server.add(PYTORCHJOBS, "a", spec={})["metadata"]["uid"]
    api = api_of(server)
    api.delete(f"{PYTORCHJOBS.path}/a", "the uid of the one before")
    assert server.names(PYTORCHJOBS) == ["a"]
    api.delete(f"{PYTORCHJOBS.path}/a", uid)
    api.delete(f"{PYTORCHJOBS.path}/a", uid)
    assert server.names(PYTORCHJOBS) == []
