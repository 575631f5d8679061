"""Logs of containers are answered, followed, cut and refused as the reference of the sub-resource log of pods says."""

from __future__ import annotations

import json

import pytest

from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.conftest import Client
from tests.cluster.double.resources import PODS

PATH = f"{PODS.path}/p/log"


@pytest.fixture(autouse=True)
def pod(server: ApiServer) -> None:
    """A pod with a container that runs."""
    running = {"name": "c", "restartCount": 0, "state": {"running": {}}}
    spec = {"containers": [{"name": "c"}], "nodeName": "machine-1"}
    server.add(PODS, "p", spec=spec, status={"containerStatuses": [running]})


def test_a_log(client: Client, server: ApiServer) -> None:
    server.write_log("p", "first", "second", container="c")
    assert client.send("GET", PATH).read() == b"first\nsecond\n"
    assert client.send("GET", f"{PATH}?tailLines=1").read() == b"second\n"
    stamp, _, text = client.send("GET", f"{PATH}?timestamps=true&container=c").readline().partition(b" ")
    assert text == b"first\n"
    assert len(stamp) == len("2026-01-02T03:04:05.123456789Z")
    since = client.send("GET", f"{PATH}?sinceTime={stamp.decode()[:19]}Z").read()
    assert since == b"first\nsecond\n", "whole seconds"
    assert client.send("GET", f"{PATH}?sinceTime=2100-01-02T03:04:05Z").read() == b""
    for query, code in (("sinceTime=now", 400), ("previous=true", 400), ("container=d", 400), ("since=1", 400)):
        assert client.ask("GET", f"{PATH}?{query}")[0] == code


def test_a_log_that_is_followed_and_breaks(client: Client, server: ApiServer) -> None:
    response = client.send("GET", f"{PATH}?follow=true")
    server.write_log("p", "first", container="c")
    assert response.readline() == b"first\n"
    server.cut_connections()
    assert response.readline() == b"", "no end of the chunks"
    response = client.send("GET", f"{PATH}?follow=true")
    server.close_log("p", container="c")
    assert response.read() == b"first\n"


def test_a_log_ends_with_its_pod(client: Client, server: ApiServer) -> None:
    response = client.send("GET", f"{PATH}?follow=true")
    server.remove(PODS, "p")
    assert response.read() == b""
    assert client.ask("GET", PATH)[0] == 404


def test_the_log_of_the_previous_container(client: Client, server: ApiServer) -> None:
    server.write_log("p", "before", container="c")
    server.restart_log("p", container="c")
    again = {"name": "c", "restartCount": 1, "state": {"running": {}}}
    server.change(PODS, "p", status={"containerStatuses": [again]})
    server.write_log("p", "after", container="c")
    assert client.send("GET", f"{PATH}?previous=true&follow=true").read() == b"before\n"
    assert client.send("GET", PATH).read() == b"after\n"


def test_a_container_that_has_not_started_has_no_log(client: Client, server: ApiServer) -> None:
    server.change(PODS, "p", status=None)
    code, status = client.ask("GET", PATH)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert status["message"] == 'container "c" in pod "p" is waiting to start: ContainerCreating'


def test_the_log_of_a_machine_that_is_gone(client: Client, server: ApiServer) -> None:
    """The API server asks the kubelet in vain, and says no reason; the pod itself is in its database."""
    followed = client.send("GET", f"{PATH}?follow=true")
    server.lose_machine("p")
    assert followed.readline() == b""
    response = client.send("GET", PATH)
    status = json.loads(response.read())
    assert response.status == status["code"] == 500
    assert "reason" not in status
    url = "https://10.0.0.7:10250/containerLogs/research/p/c"
    assert status["message"] == f'Get "{url}": dial tcp 10.0.0.7:10250: connect: no route to host'
    assert client.ask("GET", f"{PODS.path}/p")[0] == 200
