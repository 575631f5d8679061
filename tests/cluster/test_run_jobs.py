"""The jobs of a run are deleted by their label, through the client of Kubernetes; what may be left is said."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nofrost.cluster import run_jobs
from nofrost.cluster.api import connection
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.run_jobs import delete_run_jobs

RUN = "3f2b8c1e-7a54-4f0b-9d3c-2b1a0c9e8d7f"
TOKEN = "secret-of-the-pod"
PYTORCH = "/apis/kubeflow.org/v1/namespaces/research/pytorchjobs"
TRAIN = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/research/trainjobs"


class Api:
    """What a Kubernetes API server has of jobs.

    Attributes:
        jobs: labels by path; the paths of kinds that are known have an entry.
        faults: called with method and path; returns a status to answer with, -1 to close the connection, 0 for none.
        deleted: paths and queries, in order.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, dict[str, str]]] = {PYTORCH: {}, TRAIN: {}}
        self.faults: Callable[[str, str], int] = lambda method, path: 0
        self.deleted: list[tuple[str, str]] = []
        self.seen: list[str] = []

    def identity(self, folder: str, name: str) -> dict[str, str]:
        """What changes when a job is made anew (uid) or gets other labels."""
        return {"uid": f"uid-{name}", "resourceVersion": str(hash(str(self.jobs[folder][name])))}

    def answer(self, method: str, target: str, token: str, options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = urlsplit(target)
        self.seen.append(f"{method} {url.path}")
        if fault := self.faults(method, url.path):
            return fault, {"reason": "a fault"}
        scheme, _, secret = token.partition(" ")
        if (scheme.lower(), secret) != ("bearer", TOKEN):
            return 401, {"reason": "Unauthorized"}
        folder, _, name = url.path.rpartition("/")
        if method == "GET" and url.path in self.jobs:
            key, _, value = parse_qs(url.query)["labelSelector"][0].partition("=")
            jobs = self.jobs[url.path]
            found = [job for job in jobs if jobs[job].get(key) == value]
            return 200, {
                "items": [{"metadata": {"name": job, **self.identity(folder=url.path, name=job)}} for job in found]
            }
        if method == "DELETE" and name in self.jobs.get(folder, {}):
            if options.get("preconditions") != self.identity(folder, name):
                return 409, {"reason": "Conflict"}
            assert options["propagationPolicy"] == "Background"
            del self.jobs[folder][name]
            self.deleted.append((url.path, url.query))
            return 200, {"status": "Success"}
        return 404, {"reason": "NotFound"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self) -> None:
        options = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        status, content = self.api.answer(self.command, self.path, self.headers.get("Authorization", ""), options)
        if status < 0:
            self.close_connection = True
            return
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that a pod has of its service account."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text("research\n")
    certificate = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=127.0.0.1")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "ca.crt")
    subprocess.run((*certificate, *names), check=True, capture_output=True)
    monkeypatch.setattr(connection, "ACCOUNT", folder)
    monkeypatch.setattr(run_jobs, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    return folder


@pytest.fixture
def api(account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server that this process, as if it were a pod, finds as pods do."""
    served = Api()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account / "ca.crt", account / "key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisApi", (Handler,), {"api": served}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def test_all_jobs_of_the_run_are_deleted_and_those_of_others_stay(api: Api) -> None:
    api.jobs[PYTORCH] = {"a": {RUN_LABEL: RUN}, "b": {RUN_LABEL: "another"}, "c": {}, "d": {RUN_LABEL: RUN, "x": "y"}}
    api.jobs[TRAIN] = {"e": {RUN_LABEL: RUN}}
    assert delete_run_jobs(RUN) == []
    assert api.jobs == {PYTORCH: {"b": {RUN_LABEL: "another"}, "c": {}}, TRAIN: {}}
    assert [path.rpartition("/")[2] for path, _ in api.deleted] == ["a", "d", "e"]


def test_a_kind_of_job_that_the_cluster_does_not_know_is_no_error(api: Api) -> None:
    del api.jobs[PYTORCH]
    api.jobs[TRAIN] = {"e": {RUN_LABEL: RUN}}
    assert delete_run_jobs(RUN) == []
    assert api.jobs == {TRAIN: {}}


def test_a_job_that_is_gone_before_it_is_deleted_is_no_error(api: Api) -> None:
    api.jobs[PYTORCH] = {"a": {RUN_LABEL: RUN}, "b": {RUN_LABEL: RUN}}
    api.faults = lambda method, path: 404 if (method, path) == ("DELETE", f"{PYTORCH}/a") else 0
    assert delete_run_jobs(RUN) == []
    assert list(api.jobs[PYTORCH]) == ["a"]


def test_a_job_that_another_run_adopts_meanwhile_stays(api: Api) -> None:
    api.jobs[PYTORCH] = {"a": {RUN_LABEL: RUN}, "b": {RUN_LABEL: RUN}}

    def adopt(method: str, path: str) -> int:
        if (method, path) == ("DELETE", f"{PYTORCH}/a"):
            api.jobs[PYTORCH]["a"] = {RUN_LABEL: "another"}
        return 0

    api.faults = adopt
    assert delete_run_jobs(RUN) == []
    assert api.jobs[PYTORCH] == {"a": {RUN_LABEL: "another"}}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_jobs_that_may_not_be_deleted_are_one_line_and_others_are_deleted(method: str, api: Api) -> None:
    api.jobs = {PYTORCH: {"a": {RUN_LABEL: RUN}}, TRAIN: {"e": {RUN_LABEL: RUN}}}
    api.faults = lambda asked, path: 403 if asked == method and path.startswith(PYTORCH) else 0
    (line,) = delete_run_jobs(RUN)
    assert "may not list or delete them (403" in line
    assert line.endswith(f"kubectl delete pytorchjobs.kubeflow.org --namespace research --selector nofrost/run={RUN}")
    assert "\n" not in line
    assert api.jobs == {PYTORCH: {"a": {RUN_LABEL: RUN}}, TRAIN: {}}


@pytest.mark.parametrize("fault", [429, 500, 503, -1])
def test_passing_faults_are_repeated(fault: int, api: Api) -> None:
    api.jobs[PYTORCH] = {"a": {RUN_LABEL: RUN}}
    api.faults = lambda method, path: fault if api.seen.count(f"{method} {path}") <= 2 else 0
    assert delete_run_jobs(RUN) == []
    assert not api.jobs[PYTORCH]


@pytest.mark.parametrize("fault", [503, -1])
def test_lasting_faults_are_one_line_for_each_kind(fault: int, api: Api) -> None:
    api.faults = lambda method, path: fault
    lines = delete_run_jobs(RUN)
    assert [line.partition(" ")[0] for line in lines] == ["pytorchjobs.kubeflow.org", "trainjobs.trainer.kubeflow.org"]
    assert all("\n" not in line and TOKEN not in line for line in lines)
    assert len(api.seen) == 2 * 4


def test_a_pod_that_cannot_reach_kubernetes_says_so_in_one_line(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (line,) = delete_run_jobs(RUN)
    assert "cannot use Kubernetes" in line
    assert "kubectl delete pytorchjobs,trainjobs --namespace research" in line


def test_nothing_happens_outside_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ACCOUNT", tmp_path / "no such folder")
    monkeypatch.setattr(run_jobs, "_connect", lambda: pytest.fail("there is no cluster"))
    assert delete_run_jobs(RUN) == []


@pytest.mark.parametrize("run", ["", "a b", "-a", "a" * 64, "a,b", "a=b"])
def test_a_run_whose_id_no_label_can_hold_has_no_jobs(run: str, api: Api) -> None:
    assert delete_run_jobs(run) == []
    assert not api.seen


def test_the_label_is_valid() -> None:
    """As the documentation of labels defines it: a DNS name, "/", and a name of at most 63 characters."""
    prefix, _, name = RUN_LABEL.partition("/")
    assert prefix.replace(".", "").replace("-", "").isalnum()
    assert prefix == prefix.lower()
    assert name.isalnum()
    assert len(name) <= 63
