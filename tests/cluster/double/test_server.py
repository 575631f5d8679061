"""The double as a server: what it knows, whom it refuses, how it starts and stops, and what is left of it."""

from __future__ import annotations

import json
import threading

import pytest

from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.conftest import Client
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import PODS

STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}


def test_discovery(client: Client) -> None:
    code, groups = client.ask("GET", "/apis")
    assert (code, groups["kind"], groups["apiVersion"]) == (200, "APIGroupList", "v1")
    version = {"groupVersion": "kubeflow.org/v1", "version": "v1"}
    group = {"name": "kubeflow.org", "versions": [version], "preferredVersion": version}
    assert group in groups["groups"]
    assert client.ask("GET", "/apis/kubeflow.org") == (200, {"kind": "APIGroup", "apiVersion": "v1", **group})
    code, resources = client.ask("GET", "/apis/kubeflow.org/v1")
    assert (resources["kind"], resources["groupVersion"]) == ("APIResourceList", "kubeflow.org/v1")
    (found,) = (each for each in resources["resources"] if each["name"] == "pytorchjobs")
    assert found["kind"] == "PyTorchJob"
    assert found["namespaced"] is True
    assert {"create", "delete", "get", "list", "patch", "watch"} <= set(found["verbs"])


@pytest.mark.parametrize("path", ["/apis/example.com/v1/namespaces/research/things", f"{PODS.path}/p/exec"])
def test_an_unknown_path(path: str, client: Client) -> None:
    response = client.send("GET", path)
    assert (response.status, response.read()) == (404, b"404 page not found")


def test_a_token_that_is_not_valid(client: Client) -> None:
    response = client.send("GET", PODS.path, token="another")
    unauthorized = {**STATUS, "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
    assert (response.status, json.loads(response.read())) == (401, unauthorized)


@pytest.mark.parametrize(
    ("method", "path", "verb", "what"),
    [
        ("GET", PODS.path, "list", "pods"),
        ("GET", f"{PODS.path}/p", "get", 'pods "p"'),
        ("DELETE", f"{PODS.path}/p", "delete", 'pods "p"'),
    ],
)
def test_a_server_that_has_just_started(method: str, path: str, verb: str, what: str, client: Client) -> None:
    """It has not read the rules yet, by which it would allow that."""
    client.server.is_starting = True
    code, status = client.ask(method, path)
    user = f'User "system:serviceaccount:research:launcher" cannot {verb} resource "pods" in API group ""'
    assert status["message"] == f'{what} is forbidden: {user} in the namespace "research"'
    assert (code, status["reason"], status["details"]["kind"]) == (403, "Forbidden", "pods")
    assert client.ask("GET", "/apis")[0] == 403
    client.server.is_starting = False
    assert client.ask("GET", PODS.path)[0] == 200


def test_faults(client: Client, server: ApiServer) -> None:
    def busy(method: str, path: str) -> None:
        raise RefusedError(429, "TooManyRequests", "too many requests", {"Retry-After": "1"})

    with server.fault(busy):
        response = client.send("GET", PODS.path)
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        client.send("GET", PODS.path)
    server.start()
    assert client.ask("GET", PODS.path)[0] == 200


def test_no_thread_is_left_when_the_server_has_stopped(client: Client) -> None:
    before = set(threading.enumerate())
    server = client.server = ApiServer()
    server.start()
    running = {"name": "c", "restartCount": 0, "state": {"running": {}}}
    server.add(PODS, "a", spec={"containers": [{"name": "c"}]}, status={"containerStatuses": [running]})
    for path in (f"{PODS.path}?watch=true", f"{PODS.path}/a/log?container=c&follow=true", PODS.path):
        assert client.send("GET", path).status == 200
    assert len(set(threading.enumerate()) - before) == 4
    server.stop()
    assert set(threading.enumerate()) <= before
