"""Lists come by pages and selectors, and watches with bookmarks and expiry, as the documentation of the API says.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, and the reference of ListMeta and WatchEvent.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.conftest import Client
from tests.cluster.double.resources import EVENTS, NAMESPACE, PODS, PYTORCHJOBS, TRAINJOBS


@pytest.mark.parametrize(
    "query", ["labelselector=a", "labelSelector=", "watch=true&timeout=1", "limit=1&limit=2", "fieldSelector=spec.x=1"]
)
def test_unknown_parameters_and_selectors(query: str, client: Client) -> None:
    code, status = client.ask("GET", f"{PYTORCHJOBS.path}?{query}")
    assert (code, status["reason"]) == (400, "BadRequest")


def test_a_list_by_pages(client: Client, server: ApiServer) -> None:
    for number in range(5):
        server.add(PODS, f"p{number}", spec={})
    code, page = client.ask("GET", f"{PODS.path}?limit=2")
    assert code == 200
    assert (page["kind"], page["apiVersion"]) == ("PodList", "v1")
    assert page["metadata"].keys() == {"resourceVersion", "continue", "remainingItemCount"}
    assert [item.keys() >= {"metadata", "spec"} for item in page["items"]] == [True, True]
    assert all("kind" not in item for item in page["items"]), "lists of what is built in leave it out"
    _, last = client.ask("GET", f"{PODS.path}?limit=9&continue={page['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in last["items"]] == ["p2", "p3", "p4"]
    assert last["metadata"].keys() == {"resourceVersion"}
    server.add(TRAINJOBS, "t", spec={})
    _, page = client.ask("GET", f"{TRAINJOBS.path}?fieldSelector=metadata.name=t")
    assert page["items"][0]["kind"] == "TrainJob"


def test_a_list_by_selectors(client: Client, server: ApiServer) -> None:
    for number in range(5):
        server.add(PODS, f"p{number}", metadata={"labels": {"job": "x" if number % 2 else "y"}}, spec={})
    for selector, names in (("job=x", "13"), ("job", "01234"), ("job%3D%3Dy", "024"), ("job=z", "")):
        _, page = client.ask("GET", f"{PODS.path}?labelSelector={selector}")
        assert [item["metadata"]["name"][1:] for item in page["items"]] == list(names)
    involved = {"kind": "Pod", "name": "p1", "namespace": NAMESPACE}
    server.add(EVENTS, "e1", involvedObject=involved, type="Warning", reason="Failed", message="x")
    for selector, count in (("involvedObject.name=p1,type=Warning", 1), ("involvedObject.name=p2", 0)):
        _, page = client.ask("GET", f"{EVENTS.path}?fieldSelector={selector}")
        assert len(page["items"]) == count


def watched(client: Client, query: str, count: int) -> list[dict[str, Any]]:
    """Return the first lines of a watch."""
    response = client.send("GET", f"{PYTORCHJOBS.path}?watch=true{query}")
    assert response.status == 200
    assert response.headers["Transfer-Encoding"] == "chunked"
    lines = [json.loads(response.readline()) for _ in range(count)]
    response.close()
    return lines


def test_a_watch_with_bookmarks(client: Client, server: ApiServer) -> None:
    version = server.add(PYTORCHJOBS, "a", spec={})["metadata"]["resourceVersion"]
    server.change(PYTORCHJOBS, "a", status={"x": 1})
    changed, bookmark = watched(client, f"&resourceVersion={version}&allowWatchBookmarks=true", 2)
    assert (changed["type"], changed["object"]["status"]) == ("MODIFIED", {"x": 1})
    assert changed["object"]["kind"] == "PyTorchJob"
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"].keys() == {"kind", "apiVersion", "metadata"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == changed["object"]["metadata"]["resourceVersion"]
    server.remove(PYTORCHJOBS, "a")
    (first,) = watched(client, f"&resourceVersion={bookmark['object']['metadata']['resourceVersion']}", 1)
    assert first["type"] == "DELETED"
    assert int(first["object"]["metadata"]["resourceVersion"]) > int(version)


def test_a_watch_waits_for_changes(client: Client, server: ApiServer) -> None:
    version = server.add(PYTORCHJOBS, "a", spec={})["metadata"]["resourceVersion"]
    response = client.send("GET", f"{PYTORCHJOBS.path}?watch=true&resourceVersion={version}")
    server.change(PYTORCHJOBS, "a", status={"x": 1})
    assert json.loads(response.readline())["object"]["status"] == {"x": 1}


def test_a_watch_without_a_version_begins_with_what_there_is(client: Client, server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    server.add(PYTORCHJOBS, "b", spec={})
    assert [each["type"] for each in watched(client, "", 2)] == ["ADDED", "ADDED"]
    (only,) = watched(client, "&fieldSelector=metadata.name%3Db", 1)
    assert only["object"]["metadata"]["name"] == "b"


def test_a_watch_that_expired(client: Client, server: ApiServer) -> None:
    server.add(PYTORCHJOBS, "a", spec={})
    server.forget_changes()
    (error,) = watched(client, "&resourceVersion=1", 1)
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    status |= {"message": "too old resource version: 1", "reason": "Expired", "code": 410}
    assert error == {"type": "ERROR", "object": status}


def test_a_watch_ends_after_its_time(client: Client, server: ApiServer) -> None:
    version = server.add(PYTORCHJOBS, "a", spec={})["metadata"]["resourceVersion"]
    response = client.send("GET", f"{PYTORCHJOBS.path}?watch=true&timeoutSeconds=1&resourceVersion={version}")
    assert response.read() == b""


def test_a_watch_without_bookmarks_waits_and_does_not_run_in_a_circle(client: Client, server: ApiServer) -> None:
    server.bookmark_s = 0.01
    assert client.send("GET", f"{PODS.path}?watch=true").status == 200
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.2
