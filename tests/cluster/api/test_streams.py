"""Answers that come line by line: whatever a container prints, and whatever a proxy answers."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.cluster.api import streams
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.api.streams import CancelToken
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.refusals import AnswerError, refusing
from tests.cluster.double.resources import PODS, PYTORCHJOBS
from tests.cluster.launcher.launched_job import api_of


def log(server: ApiServer) -> list[bytes]:
    with api_of(server).stream(f"{PODS.path}/p/log", "the log", {"container": "c"}, 20.0, CancelToken()) as lines:
        return list(lines)


@pytest.fixture
def pod(server: ApiServer) -> str:
    state = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    server.add(PODS, "p", spec={"containers": [{"name": "c"}]}, status=state)
    return "p"


def test_lines_keep_their_breaks_and_the_last_may_lack_its_own(server: ApiServer, pod: str) -> None:
    server.write_log(pod, "a", "", "b" * 100_000, container="c")
    server.write_log(pod, "rest", container="c", end="")
    assert log(server) == [b"a\n", b"\n", b"b" * 100_000 + b"\n", b"rest"]


def test_of_a_line_of_many_megabytes_the_beginning_is_kept(
    server: ApiServer, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes each time, by which the line is known again."""
    monkeypatch.setattr(streams, "_LONGEST_LINE", 100_000)
    server.write_log(pod, "a" + "x" * 1_000_000, "b", container="c")
    assert log(server) == log(server) == [b"a" + b"x" * 99_999 + b"\n", b"b\n"]


def test_a_long_line_is_read_in_linear_time(server: ApiServer, pod: str) -> None:
    """In quadratic time this takes minutes."""
    server.write_log(pod, "x" * 40_000_000, container="c")
    (line,) = log(server)
    assert len(line) == (4 << 20) + 1


@pytest.mark.parametrize("answer", [{}, {"items": []}, [], "ok", {"metadata": {"name": "a"}}])
def test_an_answer_that_is_not_of_kubernetes_is_none(answer: Any, server: ApiServer) -> None:
    server.faults.append(refusing(AnswerError(answer), "GET", PYTORCHJOBS.path))
    with pytest.raises(KubernetesError, match="no object of Kubernetes") as error:
        api_of(server, 0.0).get(PYTORCHJOBS.path)
    assert error.value.is_transient


def test_a_list_that_is_null_is_empty(server: ApiServer) -> None:
    server.faults.append(refusing(AnswerError({"kind": "PodList", "items": None}), "GET", PODS.path, 2))
    assert api_of(server).items(PODS.path) == []
    assert api_of(server).request("GET", PODS.path)["items"] == []
