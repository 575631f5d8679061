"""What becomes of an API server, a connection, a token or a store changes nothing for the job."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.launcher.job_ends import OutOfReachError
from nofrost.cluster.launcher.launch import launch
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.errors import UnavailableError
from tests.cluster.double import refusals
from tests.cluster.double.refusals import CutError, RefusedError, refusing
from tests.cluster.double.resources import PODS
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, api_of, wait_until

STARTING = refusals.forbidden(PODS, "list")


def test_api_gone(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start()
    launched.run()
    launched.server.stop()
    wait_until(lambda: "does not answer" in said.getvalue())
    # Meanwhile the job goes on.
    launched.write("goes on")
    launched.server.start()
    wait_until(lambda: "goes on" in launched.shown)
    launched.server.stop()
    launched.write("and on")
    launched.succeed()
    launched.server.start()
    assert end.result(120) == OUTPUT
    assert launched.shown == ["started", "goes on", "and on"] == launched.stored_lines()
    assert launched.created == 1
    assert not launched.is_there
    text = said.getvalue()
    assert text.index("does not answer") < text.index("Kubernetes answers again") < text.index("succeeded")


@pytest.mark.slow
def test_api_gone_for_a_minute(pytorchjob: LaunchedJob) -> None:
    """With the limits and pauses of every day."""
    job = pytorchjob
    usual = Limits(deadline_s=600, queue_timeout_s=600)
    api = api_of(job.server, backoff=Backoff)
    options = {"api": api, "store": job.store, "limits": usual, "recorded": job.read_recorded, "show": job.shown.append}
    with ThreadPoolExecutor() as threads:
        end = threads.submit(launch, job.body(), job.kind, 2, **options)
        wait_until(lambda: job.is_there)
        job.add_pods(job.status("Running"), job.status("Running"))
        job.write("started")
        wait_until(lambda: job.shown)
        job.server.stop()
        time.sleep(70)
        job.write("goes on")
        job.server.start()
        job.succeed()
        assert end.result(60) == OUTPUT
    assert job.shown == ["started", "goes on"] == job.stored_lines()
    assert job.created == 1


def test_api_gone_for_too_long(launched: LaunchedJob) -> None:
    # A deletion would be tried for so long, and succeed when the server is back.
    launched.retry_for_s = 60
    end = launched.start(outage_s=0.2)
    launched.run()
    launched.server.stop()
    with pytest.raises(OutOfReachError, match=f"{NAME} may continue: submit again to follow it") as error:
        end.result(120)
    assert error.value.exit_code == 1
    launched.server.start()
    assert launched.is_there


@pytest.mark.parametrize("code", [429, 500, 503, 504, 0])
def test_500_and_429(code: int, launched: LaunchedJob) -> None:
    """Of any two requests of a kind one is refused, or cut (0)."""
    counts: Counter[tuple[str, str]] = Counter()

    def refuse(method: str, path: str) -> None:
        counts[method, path] += 1
        if counts[method, path] % 2:
            if not code:
                raise CutError
            raise RefusedError(code, "X", "come again", {"Retry-After": "0.01"} if code == 429 else {})

    launched.server.faults.append(refuse)
    end = launched.start()
    wait_until(lambda: launched.is_there)
    launched.run()
    launched.write("goes on")
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.shown == ["started", "goes on"] == launched.stored_lines()
    assert launched.server.added(launched.resource) == 1
    assert not launched.is_there


@pytest.mark.parametrize(
    ("fault", "end"),
    [(STARTING, "/pods"), (STARTING, NAME), (RefusedError(404, "", "404 page not found"), NAME)],
    ids=["403 of pods", "403 of the job", "404 of the kind"],
)
def test_a_server_that_has_just_started(fault: Exception, end: str, launched: LaunchedJob) -> None:
    """It knows no rights and no kinds yet."""
    # Without a watch the job itself is asked for.
    launched.server.faults.append(refusing(STARTING, "GET", launched.resource.plural, float("inf")))
    ended = launched.start()
    launched.run()
    launched.server.faults.append(refusing(fault, "GET", end, 5))
    launched.wait_for_looks()
    launched.succeed()
    assert ended.result(120) == OUTPUT
    assert launched.created == 1
    assert launched.server.count("DELETE", NAME) == 1


def test_a_server_that_starts_again_and_refuses_everything(
    launched: LaunchedJob, hear: Callable[[], io.StringIO]
) -> None:
    said = hear()
    end = launched.start()
    launched.run()
    # Refused before the connections are gone, too: of a silence the launcher says the first reason alone.
    launched.server.is_starting = True
    wait_until(lambda: "is forbidden" in said.getvalue())
    launched.server.stop()
    launched.server.start()
    launched.wait_for_looks()
    launched.server.is_starting = False
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == launched.server.count("DELETE", NAME) == 1


def test_a_refusal_that_lasts_leaves_the_job(launched: LaunchedJob) -> None:
    end = launched.start(outage_s=0.2)
    launched.run()
    launched.server.faults.append(refusing(STARTING, "GET", "/pods", float("inf")))
    with pytest.raises(OutOfReachError, match="may continue: submit again to follow it") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert launched.is_there


def test_an_expired_token_is_read_again(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    # The client's token is not valid for a moment, as while a kubelet replaces it.
    launched.server.token = "token-2"
    launched.wait_for_looks()
    launched.server.token = "token-1"
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_watch_expired(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.server.forget_changes()
    launched.server.cut_connections()
    launched.wait_for_looks()
    launched.condition("Restarting", "False")
    launched.server.forget_changes()
    launched.succeed()
    assert end.result(120) == OUTPUT
    lists = [query for method, path, query in launched.server.requests if path.endswith(launched.resource.plural)]
    assert any(query.get("watch") == "true" for query in lists)
    assert sum(query == {"fieldSelector": f"metadata.name={NAME}"} for query in lists) >= 2, "listed again"
    assert launched.created == 1
    assert not launched.is_there


def test_a_watch_that_is_refused_is_replaced_by_looks(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if path.endswith(launched.resource.plural) and method == "GET":
            raise RefusedError(403, "Forbidden", "cannot watch")

    launched.server.faults.append(refuse)
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_a_job_of_a_strange_shape_in_the_watch(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    found = launched.server.find(launched.resource, NAME)
    strange = {"name": NAME, "uid": None, "labels": None, "resourceVersion": None}
    launched.server.announce(launched.resource, {**found, "metadata": strange})
    launched.wait_for_looks()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_a_bug_of_the_launcher_leaves_the_job(launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    end = launched.start()
    launched.run()
    monkeypatch.setattr("nofrost.cluster.launcher.follower.job_state", lambda *_: {}["x"])
    with pytest.raises(KeyError):
        end.result(120)
    assert launched.is_there


@pytest.mark.parametrize("is_back", [True, False])
def test_a_store_that_is_away_at_the_end(is_back: bool, launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    end = launched.start(outage_s=20.0 if is_back else 0.1)
    launched.run()
    get, left = type(launched.store).get, [2.0 if is_back else float("inf")]

    def away(self: Any, name: str) -> bytes:
        if name.endswith("/output") and left[0] > 0:
            left[0] -= 1
            raise UnavailableError("the store does not answer")
        return get(self, name)

    monkeypatch.setattr(type(launched.store), "get", away)
    launched.succeed()
    if is_back:
        assert end.result(120) == OUTPUT
        assert not launched.is_there
    else:
        with pytest.raises(UnavailableError) as error:
            end.result(120)
        assert error.value.exit_code == 1
        assert launched.is_there
