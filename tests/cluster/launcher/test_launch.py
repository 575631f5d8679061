"""A launcher ends as its job ends, and leaves none behind."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from nofrost.cluster.launcher.follower import TaskError
from nofrost.cluster.launcher.job_ends import JobEndedError
from nofrost.errors import UserError
from tests.cluster.double.resources import PODS
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until


def test_succeeded(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start()
    launched.run()
    launched.write("sat: 5/10, 3 s left (loss 0.5)")
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert not launched.is_there
    assert launched.created == 1
    assert launched.shown == ["started", "sat: 5/10, 3 s left (loss 0.5)"] == launched.stored_lines()
    said = capsys.readouterr().err
    assert "running on 2 nodes" in said
    assert "succeeded" in said


@pytest.mark.parametrize("code", [1, 137, 143, 200])
def test_failed(code: int, launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.recorded = TaskError(1, "the disk is full: make room", False)
    launched.fail(code, 200)
    with pytest.raises(JobEndedError, match=f"failed: the disk is full.*{launched.pod_name(0)} with {code}") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert launched.created == 1


def test_failed_by_wrong_input_ends_with_2(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start()
    launched.run()
    launched.server.write_log(launched.pod_name(1), "the seed is a word", container=launched.container)
    launched.fail(200, 2)
    with pytest.raises(UserError, match=f"{NAME} failed: pods failed; ended: ") as error:
        end.result(120)
    assert error.value.exit_code == 2
    assert not launched.is_there
    assert f"{launched.pod_name(1)}: the seed is a word" in capsys.readouterr().err


def test_failed_with_a_recorded_error_whose_pods_are_gone(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.recorded = TaskError(2, "the recipe has no epochs", True)
    launched.remove_pods()
    launched.condition("Failed", message="the deadline is over")
    with pytest.raises(UserError, match="failed: the recipe has no epochs; the deadline is over") as error:
        end.result(120)
    assert error.value.exit_code == 2


def test_deadline(launched: LaunchedJob) -> None:
    end = launched.start(deadline_s=0.3)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started")
    with pytest.raises(JobEndedError, match="has not ended in 0 s, its deadline") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert launched.created == 1
    assert launched.stored_lines() == ["started"]


def test_deleted_by_others(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.server.remove(launched.resource, NAME)
    with pytest.raises(JobEndedError, match="deleted by somebody else") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert launched.created == 1


def test_deleted_and_created_again_by_others_stays(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.server.remove(launched.resource, NAME)
    launched.add(launched.body(spec="b" * 64))
    with pytest.raises(JobEndedError, match="deleted by somebody else"):
        end.result(120)
    assert launched.is_there


def test_adopt(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    launched.add(launched.body(run="run-1", owner="launcher-0"))
    end = launched.start(launched.body(run="run-2", owner="launcher-2"))
    launched.run()
    metadata = launched.server.find(launched.resource, NAME)["metadata"]
    assert [owner["name"] for owner in metadata["ownerReferences"]] == ["launcher-2"]
    assert metadata["labels"]["nofrost/run"] == "run-2"
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 1, "refused with 409"
    assert not launched.is_there
    assert "is there already, and is followed" in capsys.readouterr().err


def test_adopt_a_job_that_has_succeeded(launched: LaunchedJob) -> None:
    launched.add()
    launched.add_pods(launched.status("Succeeded", code=0), launched.status("Succeeded", code=0))
    launched.write("done")
    launched.succeed()
    assert launched.launch() == OUTPUT
    assert launched.shown == ["done"]
    assert not launched.is_there


def test_adopt_with_other_specification(launched: LaunchedJob) -> None:
    launched.add(launched.body(spec="b" * 64))
    with pytest.raises(UserError, match=r"with another specification \(bbbbbbbbbbbb, .*kubectl delete") as error:
        launched.launch()
    assert error.value.exit_code == 2
    assert launched.is_there, "it is somebody else's"
    assert launched.server.count("DELETE", NAME) == 0


def test_one_that_has_failed_before_is_deleted_and_started_again(launched: LaunchedJob) -> None:
    launched.add()
    launched.add_pods(launched.status("Failed", code=1))
    launched.write("its last words")
    launched.server.close_log(launched.pod_name(0), launched.container)
    launched.condition("Failed")
    first = launched.server.find(launched.resource, NAME)["metadata"]["uid"]
    end = launched.start()
    wait_until(lambda: launched.server.count("GET", "/pods") > 3)
    assert not launched.is_there, "its pods are still there"
    assert launched.stored_lines() == ["its last words"]
    launched.remove_pods()
    wait_until(lambda: launched.is_there)
    assert launched.server.find(launched.resource, NAME)["metadata"]["uid"] != first
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.stored_lines() == ["its last words", "started"]


def test_one_that_is_being_deleted_is_waited_for(launched: LaunchedJob) -> None:
    launched.add(finalizers=["example.com/slow"], deletionTimestamp="2026-01-02T03:04:05Z")
    end = launched.start()
    wait_until(lambda: launched.server.count("GET", NAME) > 3)
    launched.server.remove(launched.resource, NAME)
    wait_until(lambda: launched.is_there)
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_one_whose_deletion_does_not_end(pytorchjob: LaunchedJob) -> None:
    pytorchjob.add(finalizers=["example.com/stuck"], deletionTimestamp="2026-01-02T03:04:05Z")
    with pytest.raises(JobEndedError, match="still being deleted after 0 s"):
        pytorchjob.launch(deletion_s=0.1)


def test_succeeded_without_an_output(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.store.put("nofrost/jobs/other/output", b"x")
    ended = launched.status("Succeeded", code=0)
    launched.change_pods(ended, ended)
    launched.server.close_log(launched.pod_name(0), launched.container)
    launched.condition(launched.kind.succeeded)
    with pytest.raises(JobEndedError, match=f"holds no nofrost/jobs/{NAME}/output") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not launched.is_there


def test_placed_k_of_n_is_said_with_the_sentence_of_the_scheduler(
    launched: LaunchedJob, hear: Callable[[], io.StringIO]
) -> None:
    said = hear()
    end = launched.start()
    sentence = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    starting, running = launched.status("Pending", waiting="ContainerCreating"), launched.status("Running")
    launched.add_pods(starting, launched.unplaced(sentence))
    wait_until(lambda: f"{NAME}: placed 1 of 2: {sentence[:-1]}\n" in said.getvalue())
    launched.change_pods(running, starting)
    started = f"{NAME}: placed 2 of 2, started 1: {launched.pod_name(1)}: ContainerCreating\n"
    wait_until(lambda: started in said.getvalue())
    launched.change_pods(running, running)
    wait_until(lambda: f"{NAME}: running on 2 nodes\n" in said.getvalue())
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.server.names(PODS), "the operator deletes them"
