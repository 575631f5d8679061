"""The double of the API server answers as the real one: compared with shapes written down from its documentation.

Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/ (lists, watches, bookmarks, 410, deletion), the
reference of Status, ListMeta and WatchEvent, and that of the sub-resource log of pods.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from tests.cluster.double.api_server import (
    EVENTS,
    NAMESPACE,
    PODS,
    PYTORCHJOBS,
    TOKEN,
    TRAINJOBS,
    ApiServer,
    RefusedError,
)

JSON, MERGE = "application/json", "application/merge-patch+json"
STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}


_connections: list[HTTPConnection] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes all connections of a test."""
    yield
    while _connections:
        _connections.pop().close()


def send(
    server: ApiServer, method: str, path: str, body: Any = None, kind: str = JSON, token: str = TOKEN
) -> HTTPResponse:
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    _connections.append(connection)
    headers = {"Authorization": f"Bearer {token}", **({} if body is None else {"Content-Type": kind})}
    connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
    return connection.getresponse()


def ask(server: ApiServer, method: str, path: str, body: Any = None, kind: str = JSON) -> tuple[int, Any]:
    response = send(server, method, path, body, kind)
    return response.status, json.loads(response.read())


def job(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name, **metadata}, "spec": {}}


def test_discovery(server: ApiServer) -> None:
    code, groups = ask(server, "GET", "/apis")
    assert (code, groups["kind"], groups["apiVersion"]) == (200, "APIGroupList", "v1")
    version = {"groupVersion": "kubeflow.org/v1", "version": "v1"}
    assert {"name": "kubeflow.org", "versions": [version], "preferredVersion": version} in groups["groups"]
    code, resources = ask(server, "GET", "/apis/kubeflow.org/v1")
    assert (resources["kind"], resources["groupVersion"]) == ("APIResourceList", "kubeflow.org/v1")
    (found,) = (each for each in resources["resources"] if each["name"] == "pytorchjobs")
    assert found["kind"] == "PyTorchJob"
    assert found["namespaced"] is True
    assert {"create", "delete", "get", "list", "patch", "watch"} <= set(found["verbs"])
    response = send(server, "GET", "/apis/example.com/v1/namespaces/research/things")
    assert (response.status, response.read()) == (404, b"404 page not found")


def test_an_object_that_is_created(server: ApiServer) -> None:
    body = {**job(labels={"a": "b"}), "status": {"conditions": []}}
    code, made = ask(server, "POST", PYTORCHJOBS.path, body)
    assert code == 201
    assert "status" not in made, "it is a sub-resource"
    metadata = made["metadata"]
    assert metadata["namespace"] == NAMESPACE
    assert metadata["generation"] == 1
    assert int(metadata["resourceVersion"]) > 0
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert len(metadata["creationTimestamp"]) == len("2026-01-02T03:04:05Z")
    assert ask(server, "GET", f"{PYTORCHJOBS.path}/a") == (200, made)


def test_conflict(server: ApiServer) -> None:
    ask(server, "POST", PYTORCHJOBS.path, job())
    details = {"name": "a", "group": "kubeflow.org", "kind": "pytorchjobs"}
    message = 'pytorchjobs.kubeflow.org "a" already exists'
    refused = {**STATUS, "message": message, "reason": "AlreadyExists", "details": details, "code": 409}
    assert ask(server, "POST", PYTORCHJOBS.path, job()) == (409, refused)


def test_not_found(server: ApiServer) -> None:
    details = {"name": "a", "group": "kubeflow.org", "kind": "pytorchjobs"}
    message = 'pytorchjobs.kubeflow.org "a" not found'
    missing = {**STATUS, "message": message, "reason": "NotFound", "details": details, "code": 404}
    assert ask(server, "GET", f"{PYTORCHJOBS.path}/a") == (404, missing)
    details = {"name": "a", "kind": "pods"}
    missing |= {"message": 'pods "a" not found', "details": details}
    assert ask(server, "GET", f"{PODS.path}/a/log") == (404, missing)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (job("A_b"), 422),
        (job("", generateName="a-"), 422),
        (job(resourceVersion="1"), 400),
        (job(namespace="other"), 400),
        ({**job(), "kind": "TrainJob"}, 400),
        (job(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "x"}]), 422),
        ([], 400),
    ],
)
def test_what_cannot_be_created(body: Any, code: int, server: ApiServer) -> None:
    answered, status = ask(server, "POST", PYTORCHJOBS.path, body)
    assert (answered, status["code"], status["status"]) == (code, code, "Failure")
    assert not server.names(PYTORCHJOBS)


@pytest.mark.parametrize(
    "query", ["labelselector=a", "labelSelector=", "watch=true&timeout=1", "limit=1&limit=2", "fieldSelector=spec.x=1"]
)
def test_unknown_parameters_and_selectors(query: str, server: ApiServer) -> None:
    code, status = ask(server, "GET", f"{PYTORCHJOBS.path}?{query}")
    assert (code, status["reason"]) == (400, "BadRequest")


def test_a_list_by_pages_and_selectors(server: ApiServer) -> None:
    for number in range(5):
        server.add(PODS, f"p{number}", metadata={"labels": {"job": "x" if number % 2 else "y"}}, spec={})
    code, page = ask(server, "GET", f"{PODS.path}?limit=2")
    assert code == 200
    assert (page["kind"], page["apiVersion"]) == ("PodList", "v1")
    assert page["metadata"].keys() == {"resourceVersion", "continue", "remainingItemCount"}
    assert [item.keys() >= {"metadata", "spec"} for item in page["items"]] == [True, True]
    assert all("kind" not in item for item in page["items"]), "lists of what is built in leave it out"
    _, last = ask(server, "GET", f"{PODS.path}?limit=9&continue={page['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in last["items"]] == ["p2", "p3", "p4"]
    assert last["metadata"].keys() == {"resourceVersion"}
    for selector, names in (("job=x", "13"), ("job", "01234"), ("job%3D%3Dy", "024"), ("job=z", "")):
        _, page = ask(server, "GET", f"{PODS.path}?labelSelector={selector}")
        assert [item["metadata"]["name"][1:] for item in page["items"]] == list(names)
    involved = {"kind": "Pod", "name": "p1", "namespace": NAMESPACE}
    server.add(EVENTS, "e1", involvedObject=involved, type="Warning", reason="Failed", message="x")
    for selector, count in (("involvedObject.name=p1,type=Warning", 1), ("involvedObject.name=p2", 0)):
        _, page = ask(server, "GET", f"{EVENTS.path}?fieldSelector={selector}")
        assert len(page["items"]) == count
    server.add(TRAINJOBS, "t", spec={})
    _, page = ask(server, "GET", f"{TRAINJOBS.path}?fieldSelector=metadata.name=t")
    assert page["items"][0]["kind"] == "TrainJob"


def test_a_patch(server: ApiServer) -> None:
    ask(server, "POST", PYTORCHJOBS.path, job(labels={"a": "1", "b": "2"}))
    path = f"{PYTORCHJOBS.path}/a"
    change = {"metadata": {"labels": {"a": "9", "b": None}}, "status": {"x": 1}}
    code, made = ask(server, "PATCH", path, change, MERGE)
    assert code == 200
    assert made["metadata"]["labels"] == {"a": "9"}
    assert "status" not in made
    code, status = ask(server, "PATCH", path, change, "application/strategic-merge-patch+json")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")
    code, status = ask(server, "PATCH", path, {"metadata": {"uid": "another"}}, MERGE)
    assert (code, status["reason"]) == (422, "Invalid")
    code, status = ask(server, "PATCH", path, {"metadata": {"resourceVersion": "1"}}, MERGE)
    assert (code, status["reason"]) == (409, "Conflict")


def test_a_deletion(server: ApiServer) -> None:
    _, made = ask(server, "POST", PYTORCHJOBS.path, job())
    path, uid = f"{PYTORCHJOBS.path}/a", made["metadata"]["uid"]
    options = {"kind": "DeleteOptions", "apiVersion": "v1"}
    code, status = ask(server, "DELETE", path, {**options, "preconditions": {"uid": "another"}})
    assert (code, status["reason"]) == (409, "Conflict")
    code, status = ask(server, "DELETE", path, {**options, "preconditions": {"uid": uid, "resourceVersion": "1"}})
    assert (code, status["reason"]) == (409, "Conflict")
    code, status = ask(server, "DELETE", path, {**options, "propagationPolicy": "background"})
    assert code == 400
    code, status = ask(server, "DELETE", path, {**options, "preconditions": {"uid": uid}})
    details = {"name": "a", "group": "kubeflow.org", "kind": "pytorchjobs", "uid": uid}
    expected = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    assert (code, status) == (200, expected)
    assert ask(server, "DELETE", path)[0] == 404


def test_a_deletion_with_finalizers(server: ApiServer) -> None:
    ask(server, "POST", PYTORCHJOBS.path, job(finalizers=["example.com/x"]))
    code, left = ask(server, "DELETE", f"{PYTORCHJOBS.path}/a")
    assert code == 200
    assert left["metadata"]["deletionTimestamp"].endswith("Z")
    assert server.names(PYTORCHJOBS) == ["a"]


def watched(server: ApiServer, query: str, count: int) -> list[dict[str, Any]]:
    response = send(server, "GET", f"{PYTORCHJOBS.path}?watch=true{query}")
    assert response.status == 200
    assert response.headers["Transfer-Encoding"] == "chunked"
    lines = [json.loads(response.readline()) for _ in range(count)]
    response.close()
    return lines


def test_a_watch_with_bookmarks(server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    version = server.find(PYTORCHJOBS, "a")["metadata"]["resourceVersion"]
    threading.Timer(0.01, lambda: server.change(PYTORCHJOBS, "a", status={"x": 1})).start()
    changed, bookmark = watched(server, f"&resourceVersion={version}&allowWatchBookmarks=true", 2)
    assert (changed["type"], changed["object"]["status"]) == ("MODIFIED", {"x": 1})
    assert changed["object"]["kind"] == "PyTorchJob"
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"].keys() == {"kind", "apiVersion", "metadata"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == changed["object"]["metadata"]["resourceVersion"]
    server.remove(PYTORCHJOBS, "a")
    (first,) = watched(server, f"&resourceVersion={bookmark['object']['metadata']['resourceVersion']}", 1)
    assert first["type"] == "DELETED"
    assert int(first["object"]["metadata"]["resourceVersion"]) > int(version)


def test_a_watch_without_a_version_begins_with_what_there_is(server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    server.add(PYTORCHJOBS, "b", spec={})
    assert [each["type"] for each in watched(server, "", 2)] == ["ADDED", "ADDED"]
    (only,) = watched(server, "&fieldSelector=metadata.name%3Db", 1)
    assert only["object"]["metadata"]["name"] == "b"


def test_a_watch_that_expired(server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    server.forget_changes()
    (error,) = watched(server, "&resourceVersion=1", 1)
    message = "too old resource version: 1"
    assert error == {"type": "ERROR", "object": {**STATUS, "message": message, "reason": "Expired", "code": 410}}


def test_a_watch_ends_after_its_time(server: ApiServer) -> None:
    version = server.add(PYTORCHJOBS, "a", spec={})["metadata"]["resourceVersion"]
    response = send(server, "GET", f"{PYTORCHJOBS.path}?watch=true&timeoutSeconds=1&resourceVersion={version}")
    assert response.read() == b""


def pod_with_log(server: ApiServer) -> None:
    running = {"name": "c", "restartCount": 0, "state": {"running": {}}}
    server.add(PODS, "p", spec={"containers": [{"name": "c"}]}, status={"containerStatuses": [running]})


def test_a_log(server: ApiServer) -> None:
    pod_with_log(server)
    server.write_log("p", "first", "second", container="c")
    path = f"{PODS.path}/p/log"
    assert send(server, "GET", path).read() == b"first\nsecond\n"
    assert send(server, "GET", f"{path}?tailLines=1").read() == b"second\n"
    stamp, _, text = send(server, "GET", f"{path}?timestamps=true&container=c").readline().partition(b" ")
    assert text == b"first\n"
    assert len(stamp) == len("2026-01-02T03:04:05.123456789Z")
    assert send(server, "GET", f"{path}?sinceTime={stamp.decode()[:19]}Z").read() == b"first\nsecond\n", "whole seconds"
    assert send(server, "GET", f"{path}?sinceTime=2100-01-02T03:04:05Z").read() == b""
    for query, code in (("sinceTime=now", 400), ("previous=true", 400), ("container=d", 400), ("since=1", 400)):
        assert ask(server, "GET", f"{path}?{query}")[0] == code


def test_a_log_that_is_followed_and_breaks(server: ApiServer) -> None:
    pod_with_log(server)
    response = send(server, "GET", f"{PODS.path}/p/log?follow=true")
    server.write_log("p", "first", container="c")
    assert response.readline() == b"first\n"
    server.cut_connections()
    assert response.readline() == b"", "no end of the chunks"
    response = send(server, "GET", f"{PODS.path}/p/log?follow=true")
    server.close_log("p", container="c")
    assert response.read() == b"first\n"


def test_a_container_that_has_not_started_has_no_log(server: ApiServer) -> None:
    server.add(PODS, "p", spec={"containers": [{"name": "c"}]})
    code, status = ask(server, "GET", f"{PODS.path}/p/log")
    assert (code, status["reason"]) == (400, "BadRequest")
    assert status["message"] == 'container "c" in pod "p" is waiting to start: ContainerCreating'


def test_a_token_that_is_not_valid(server: ApiServer) -> None:
    response = send(server, "GET", PODS.path, token="another")
    unauthorized = {**STATUS, "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
    assert (response.status, json.loads(response.read())) == (401, unauthorized)


def test_faults(server: ApiServer) -> None:
    def busy(method: str, path: str) -> None:
        raise RefusedError(429, "TooManyRequests", "too many requests", {"Retry-After": "1"})

    with server.fault(busy):
        response = send(server, "GET", PODS.path)
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        send(server, "GET", PODS.path)
    server.start()
    assert ask(server, "GET", PODS.path)[0] == 200


def streams() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_no_stream_is_left_when_the_server_has_stopped(server: ApiServer) -> None:
    before = streams()
    running = {"name": "c", "restartCount": 0, "state": {"running": {}}}
    server.add(PODS, "a", spec={"containers": [{"name": "c"}]}, status={"containerStatuses": [running]})
    for path in (f"{PODS.path}?watch=true", f"{PODS.path}/a/log?container=c&follow=true"):
        assert send(server, "GET", path).status == 200
    assert streams() == before + 2
    server.stop()
    deadline = time.monotonic() + 10
    while streams() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_watch_without_bookmarks_waits_and_does_not_run_in_a_circle(server: ApiServer) -> None:
    server.bookmark_s = 0.01
    assert send(server, "GET", f"{PODS.path}?watch=true").status == 200
    time.sleep(0.1)
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.1
