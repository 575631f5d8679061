"""What says nothing about a job does not end it, and what was trained is not trained again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from nofrost.cluster.launcher import rank_log
from nofrost.cluster.launcher.creation import JobEndedError, WrongInputError
from nofrost.cluster.launcher.follower import OutOfReachError, TaskError
from nofrost.cluster.outcome.job_result import JobResult, read_result, result_name
from nofrost.errors import StoppedError, UnavailableError, UserError
from nofrost.stopping import stopped_by_sigterm
from tests.cluster.double.api_server import PODS, RefusedError
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until
from tests.cluster.launcher.test_launch_waits import warn

STARTING = RefusedError(403, "Forbidden", 'pods is forbidden: User "x" cannot list resource "pods": RBAC: not found')


def refusing(fault: Exception, method: str, end: str, times: float = 1) -> Callable[[str, str], None]:
    """Refuse requests to paths with this end, so many times."""
    left = [times]

    def refuse(asked: str, path: str) -> None:
        if asked == method and path.endswith(end) and left[0] > 0:
            left[0] -= 1
            raise fault

    return refuse


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
    assert ended.result(20) == OUTPUT
    assert launched.created == 1
    assert launched.server.count("DELETE", NAME) == 1


def test_a_refusal_that_lasts_leaves_the_job(launched: LaunchedJob) -> None:
    end = launched.start(outage_s=0.2)
    launched.run()
    launched.server.faults.append(refusing(STARTING, "GET", "/pods", float("inf")))
    with pytest.raises(OutOfReachError, match="may go on: submit again to follow it") as error:
        end.result(20)
    assert error.value.exit_code == 1
    assert launched.is_there


def test_a_right_that_comes_late_is_waited_for(launched: LaunchedJob) -> None:
    launched.denied_s = 20.0
    launched.server.faults.append(refusing(STARTING, "POST", launched.resource.plural, 3))
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.created == 4


def test_a_bug_of_the_launcher_leaves_the_job(launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    end = launched.start()
    launched.run()
    monkeypatch.setattr("nofrost.cluster.launcher.follower.job_state", lambda *_: {}["x"])
    with pytest.raises(KeyError):
        end.result(20)
    assert launched.is_there


def test_a_job_of_a_strange_shape_in_the_watch(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    found = launched.server.find(launched.resource, NAME)
    with launched.server._changed:
        launched.server._version += 1
        change = (launched.server._version, "MODIFIED", f"{launched.resource.path}/{NAME}", {**found, "metadata": {
            "name": NAME, "uid": None, "labels": None, "resourceVersion": None}})  # fmt: skip
        launched.server._changes.append(change)
        launched.server._changed.notify_all()
    launched.wait_for_looks()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_a_try_after_success_trains_nothing(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.launch() == OUTPUT
    assert launched.created == 1


def test_another_run_trains_again(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT
    launched.remove_pods()
    launched.server.logs.clear()
    again = launched.start(launched.body(run="run-2"))
    wait_until(lambda: launched.is_there)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.succeed()
    assert again.result(20) == OUTPUT
    assert launched.created == 2
    assert read_result(NAME, "run-2", launched.store) == JobResult(output=OUTPUT)


def test_a_try_after_success_deletes_the_job_that_is_left(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    with launched.server.fault(refusing(RefusedError(403, "Forbidden", "no"), "DELETE", NAME)):
        launched.succeed()
        assert end.result(20) == OUTPUT
    assert launched.is_there
    assert launched.launch() == OUTPUT
    assert not launched.is_there


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
        assert end.result(20) == OUTPUT
        assert not launched.is_there
    else:
        with pytest.raises(UnavailableError) as error:
            end.result(20)
        assert error.value.exit_code == 1
        assert launched.is_there


def test_a_job_that_fails_after_it_has_trained(launched: LaunchedJob) -> None:
    """As where another node is killed in the last seconds."""
    end = launched.start()
    launched.run()
    launched.put_output()
    launched.fail(0, 137)
    assert end.result(20) == OUTPUT
    assert not launched.is_there


def test_wrong_input_is_not_tried_again_in_the_same_run(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.recorded = TaskError(2, "the dataset has no images", True)
    launched.fail(2, 200)
    with pytest.raises(WrongInputError):
        end.result(20)
    with pytest.raises(UserError, match="has failed in this run, and would fail again: the dataset has no") as error:
        launched.launch()
    assert error.value.exit_code == 2
    assert launched.created == 1


def test_a_full_disk_is_no_wrong_input(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.recorded = TaskError(2, "the disk is full", False)
    launched.fail(2, 200)
    with pytest.raises(JobEndedError) as error:
        end.result(20)
    assert error.value.exit_code == 1
    assert result_name(NAME, "run-1") not in launched.store.objects("nofrost/jobs/")


def adopted(job: LaunchedJob, owner: str) -> bool:
    found: Any = job.server.find(job.resource, NAME)
    return bool(found["metadata"]["ownerReferences"][0]["name"] == owner)


@pytest.mark.parametrize("run", ["run-1", "run-2"])
def test_sigterm_leaves_a_job_that_another_launcher_has_adopted(run: str, launched: LaunchedJob) -> None:
    ends: list[Any] = []

    def take_over() -> None:
        wait_until(lambda: launched.is_there)
        launched.run()
        ends.append(launched.start(launched.body(run=run, owner="launcher-2")))
        wait_until(lambda: adopted(launched, "launcher-2"))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=take_over)
    thread.start()
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    thread.join()
    assert launched.is_there
    assert launched.server.count("DELETE", NAME) == 0
    launched.succeed()
    assert ends[0].result(20) == OUTPUT
    assert not launched.is_there


def test_a_deadline_of_a_launcher_that_lost_the_job_leaves_it(launched: LaunchedJob) -> None:
    first = launched.start(deadline_s=1.0)
    launched.run()
    second = launched.start(launched.body(owner="launcher-2"))
    wait_until(lambda: adopted(launched, "launcher-2"))
    with pytest.raises(JobEndedError, match="its deadline"):
        first.result(20)
    assert launched.is_there
    launched.succeed()
    assert second.result(20) == OUTPUT


def test_a_run_that_stops_before_it_has_adopted_leaves_the_job(launched: LaunchedJob) -> None:
    first = launched.start()
    launched.run()

    def stop(method: str, path: str) -> None:
        if method == "PATCH":
            launched.server.faults.remove(stop)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            raise RefusedError(500, "InternalError", "lost")

    launched.server.faults.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch(launched.body(run="run-2", owner="launcher-2"))
    assert launched.is_there
    launched.succeed()
    assert first.result(20) == OUTPUT


def test_two_followers_of_one_success(launched: LaunchedJob) -> None:
    """The slower one finds the job deleted."""
    first = launched.start()
    launched.run()
    second = launched.start(launched.body(run="run-2", owner="launcher-2"))
    wait_until(lambda: adopted(launched, "launcher-2"))
    launched.wait_for_looks()
    launched.put_output()
    launched.server.remove(launched.resource, NAME)
    assert (first.result(20), second.result(20)) == (OUTPUT, OUTPUT)


def test_sigterm_while_the_server_takes_its_time_to_create(launched: LaunchedJob) -> None:
    def stop(method: str, path: str) -> None:
        if method == "POST":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    launched.server.faults.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    # Where nobody has looked for it again, it has been made by now.
    time.sleep(0.8)
    assert launched.created == 1
    assert not launched.is_there


def test_a_busy_queue_of_a_gang_scheduler_is_waited_for(
    launched: LaunchedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    end = launched.start(start_s=0.1)
    warn(launched, NAME, "Unschedulable", "0/0 tasks in gang unschedulable", kind="PodGroup")
    launched.wait_for_looks()
    time.sleep(0.3)
    launched.wait_for_looks()
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert f"{NAME}: queued: Unschedulable: 0/0 tasks in gang unschedulable" in capsys.readouterr().err


def test_a_job_that_lost_a_node_is_queued_and_does_not_work(launched: LaunchedJob) -> None:
    # From the first look on, as times of Kubernetes have whole seconds.
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    end = launched.start(deadline_s=1.0, queue_timeout_s=0.3)
    launched.wait_for_looks()
    launched.change_pods(launched.status("Running"), launched.unplaced("no room"))
    with pytest.raises(JobEndedError, match=r"run on 2 nodes after 0 s \(placed 1 of 2: no room\)"):
        end.result(20)


def test_an_image_that_a_restarted_node_cannot_pull_ends_no_job_that_has_run(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.1)
    launched.run()
    launched.change_pods(launched.status("Running"), launched.status("Pending", waiting="ErrImagePull"))
    launched.wait_for_looks()
    time.sleep(0.3)
    launched.wait_for_looks()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_an_adopted_job_has_waited_since_it_was_made(launched: LaunchedJob) -> None:
    body = launched.body()
    body["metadata"] |= {"creationTimestamp": "2026-01-02T03:04:05Z"}
    launched.server.add(launched.resource, NAME, metadata={**body["metadata"]}, spec=body["spec"])
    with pytest.raises(JobEndedError, match="does not run on 2 nodes"):
        launched.launch(queue_timeout_s=3600)


def test_signs_say_when_a_job_was_followed_and_for_how_long_it_has_worked(launched: LaunchedJob) -> None:
    end = launched.start(sign_s=0.0)
    launched.run()
    wait_until(lambda: "nofrost/seen" in launched.server.find(launched.resource, NAME)["metadata"]["annotations"])
    annotations = launched.server.find(launched.resource, NAME)["metadata"]["annotations"]
    assert annotations["nofrost/spec"] == "a" * 64
    assert int(annotations["nofrost/worked-s"]) >= 0
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_the_deadline_counts_the_work_for_earlier_launchers(launched: LaunchedJob) -> None:
    body = launched.body()
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    body["metadata"]["annotations"] |= {"nofrost/seen": now, "nofrost/worked-s": "5000"}
    launched.server.add(launched.resource, NAME, metadata=body["metadata"], spec=body["spec"])
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    with pytest.raises(JobEndedError, match="has not ended in 5000 s, its deadline"):
        launched.launch(deadline_s=5000)


def test_the_log_of_a_lost_machine_does_not_hold_up_the_end(
    pytorchjob: LaunchedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_log, "_KUBELET_S", 0.1)
    end = pytorchjob.start(log_s=60.0)
    pytorchjob.run()
    away = RefusedError(500, "InternalError", "dial tcp 10.0.0.7:10250: connect: no route to host")
    pytorchjob.server.faults.append(refusing(away, "GET", "/log", float("inf")))
    pytorchjob.server.cut_connections()
    began = time.monotonic()
    pytorchjob.put_output()
    pytorchjob.condition("Succeeded")
    assert end.result(30) == OUTPUT
    assert time.monotonic() - began < 20
    assert pytorchjob.server.names(PODS)
