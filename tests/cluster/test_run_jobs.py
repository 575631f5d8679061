"""The jobs of a run are deleted by their label, by a pod of the run; what may be left is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.cluster import run_jobs
from nofrost.cluster.api import connection
from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.run_jobs import delete_run_jobs
from tests.cluster.double.api_server import TOKEN, ApiServer
from tests.cluster.double.refusals import AnswerError, CutError, RefusedError, refusing
from tests.cluster.double.resources import NAMESPACE, PYTORCHJOBS, TRAINJOBS, Resource

RUN = "3f2b8c1e-7a54-4f0b-9d3c-2b1a0c9e8d7f"


@pytest.fixture
def api(pod: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """The API server of this pod, whose client makes pauses of milliseconds."""
    connect = run_jobs._connect

    def connect_quickly() -> Any:
        client = connect()
        client.backoff = lambda: Backoff(0.001, 0.002)
        return client

    monkeypatch.setattr(run_jobs, "_connect", connect_quickly)
    return server


def add(api: ApiServer, resource: Resource, **runs: str | None) -> None:
    """Add jobs of these names, each of a run."""
    for name, run in runs.items():
        api.add(resource, name, metadata={"labels": {RUN_LABEL: run} if run else {}}, spec={})


def fault(error: Exception, when: Callable[[str, str], bool]) -> Callable[[str, str], None]:
    def refuse(method: str, path: str) -> None:
        if when(method, path):
            raise error

    return refuse


def test_all_jobs_of_the_run_are_deleted_and_those_of_others_stay(api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN, b="another", c=None, d=RUN)
    add(api, TRAINJOBS, e=RUN)
    assert delete_run_jobs(RUN) == []
    assert (api.names(PYTORCHJOBS), api.names(TRAINJOBS)) == (["b", "c"], [])
    deleted = [path.rpartition("/")[2] for method, path, _ in api.requests if method == "DELETE"]
    assert deleted == ["a", "d", "e"]


def test_a_kind_of_job_that_the_cluster_does_not_know_is_no_error(api: ApiServer) -> None:
    api.resources.remove(PYTORCHJOBS)
    add(api, TRAINJOBS, e=RUN)
    assert delete_run_jobs(RUN) == []
    assert api.names(TRAINJOBS) == []


def test_a_job_that_is_gone_before_it_is_deleted_is_no_error(api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN, b=RUN)

    def remove(method: str, path: str) -> None:
        if (method, path) == ("DELETE", f"{PYTORCHJOBS.path}/a"):
            api.remove(PYTORCHJOBS, "a")

    api.faults.append(remove)
    assert delete_run_jobs(RUN) == []
    assert api.names(PYTORCHJOBS) == []


def test_a_job_that_another_run_adopts_meanwhile_stays(api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN, b=RUN)

    def adopt(method: str, path: str) -> None:
        if (method, path) == ("DELETE", f"{PYTORCHJOBS.path}/a"):
            api.change(PYTORCHJOBS, "a", metadata={"labels": {RUN_LABEL: "another"}})

    api.faults.append(adopt)
    assert delete_run_jobs(RUN) == []
    assert api.names(PYTORCHJOBS) == ["a"]


def test_a_job_that_changes_all_the_time_is_left_and_said(api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN)

    def change(method: str, path: str) -> None:
        if method == "DELETE":
            api.change(PYTORCHJOBS, "a", spec={"changes": len(api.requests)})

    api.faults.append(change)
    (line,) = delete_run_jobs(RUN)
    assert "they change all the time" in line
    assert api.count("DELETE", "/a") == 5


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_jobs_that_may_not_be_deleted_are_one_line_and_others_are_deleted(method: str, api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN)
    add(api, TRAINJOBS, e=RUN)
    forbidden = RefusedError(403, "Forbidden", "no")
    api.faults.append(fault(forbidden, lambda asked, path: asked == method and path.startswith(PYTORCHJOBS.path)))
    (line,) = delete_run_jobs(RUN)
    assert "may not list or delete them (403: no)" in line
    command = f"kubectl delete pytorchjobs.kubeflow.org --namespace {NAMESPACE} --selector nofrost/run={RUN}"
    assert line.endswith(command)
    assert "\n" not in line
    assert (api.names(PYTORCHJOBS), api.names(TRAINJOBS)) == (["a"], [])


FAULTS = {429: RefusedError(429, "X", "x"), 500: RefusedError(500, "X", "x"), 503: RefusedError(503, "X", "x")}
FAULTS |= {0: CutError()}


@pytest.mark.parametrize("code", FAULTS)
def test_transient_faults_are_retried(code: int, api: ApiServer) -> None:
    add(api, PYTORCHJOBS, a=RUN)
    api.faults.append(fault(FAULTS[code], lambda method, path: api.count(method, path) <= 2))
    assert delete_run_jobs(RUN) == []
    assert api.names(PYTORCHJOBS) == []


@pytest.mark.parametrize("code", [503, 0])
def test_lasting_faults_are_one_line_for_each_kind(code: int, api: ApiServer) -> None:
    api.faults.append(fault(FAULTS[code], lambda method, path: True))
    lines = delete_run_jobs(RUN)
    assert [line.partition(" ")[0] for line in lines] == ["pytorchjobs.kubeflow.org", "trainjobs.trainer.kubeflow.org"]
    assert all("\n" not in line and TOKEN not in line for line in lines)
    assert len(api.requests) == 2 * 4


def test_the_tries_of_a_server_that_refuses_at_once_take_seconds() -> None:
    """Without chance, which shortens the pauses."""
    backoff = Backoff()
    assert sum(backoff.next_s() for _ in range(run_jobs._MOST_TRIES - 1)) <= 3.5


def test_an_answer_that_is_not_of_kubernetes_is_one_line(api: ApiServer) -> None:
    odd = AnswerError({"kind": "JobList", "items": [{"metadata": {}}]})
    api.faults.append(refusing(odd, "GET", "jobs", float("inf")))
    (line, _) = delete_run_jobs(RUN)
    assert "Kubernetes does not answer (KeyError" in line


def test_a_pod_that_cannot_reach_kubernetes_says_so_in_one_line(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (line,) = delete_run_jobs(RUN)
    assert "cannot use Kubernetes" in line
    assert f"kubectl delete pytorchjobs,trainjobs --namespace {NAMESPACE}" in line


def test_nothing_happens_outside_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ACCOUNT", tmp_path / "no such folder")
    monkeypatch.setattr(run_jobs, "_connect", lambda: pytest.fail("there is no cluster"))
    assert delete_run_jobs(RUN) == []


@pytest.mark.parametrize("run", ["", "a b", "-a", "a" * 64, "a,b", "a=b"])
def test_a_run_whose_id_no_label_can_hold_has_no_jobs(run: str, api: ApiServer) -> None:
    assert delete_run_jobs(run) == []
    assert not api.requests


def test_the_label_is_valid() -> None:
    """As the documentation of labels defines it: a DNS name, "/", and a name of at most 63 characters."""
    prefix, _, name = RUN_LABEL.partition("/")
    assert prefix.replace(".", "").replace("-", "").isalnum()
    assert prefix == prefix.lower()
    assert name.isalnum()
    assert len(name) <= 63
