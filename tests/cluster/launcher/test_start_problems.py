"""What keeps the pods of a job from starting is said, and ends the launch when it lasts."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from nofrost.cluster.launcher.job_ends import JobEndedError
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_image_cannot_be_pulled(reason: str, launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start(start_s=0.1)
    pod = launched.status("Pending", waiting=reason, message="unauthorized: no basic auth credentials")
    launched.add_pods(pod, pod)
    with pytest.raises(JobEndedError, match=rf"its image cannot be pulled \({reason}\): unauthorized") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert "the launch ends if that lasts 0 s" in capsys.readouterr().err


def test_an_image_that_is_pulled_after_all(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start()
    pod = launched.status("Pending", waiting="ErrImagePull", message="EOF")
    launched.add_pods(pod, pod)
    wait_until(lambda: "its image cannot be pulled" in said.getvalue())
    launched.change_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started")
    wait_until(lambda: launched.shown)
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_an_image_that_a_restarted_node_cannot_pull_ends_no_job_that_has_run(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.1)
    launched.run()
    launched.change_pods(launched.status("Running"), launched.status("Pending", waiting="ErrImagePull"))
    launched.let_pass(0.3)
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_quota_refused(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start(start_s=0.1)
    # The training operator warns of the job, Trainer of the Job that its JobSet makes.
    of = NAME if launched.is_v1 else f"{NAME}-node-0"
    sentence = "Error creating: pods is forbidden: exceeded quota: gpus, requested: 16, used: 8, limited: 16"
    launched.warn(of, "FailedCreate", sentence)
    with pytest.raises(JobEndedError, match=r"FailedCreate: Error creating: .* exceeded quota: gpus.*for 0 s") as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert sentence in capsys.readouterr().err


def test_quota_refused_for_one_pod_of_two(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.1)
    launched.add_pods(launched.status("Running"))
    launched.warn(NAME, "FailedCreate", "exceeded quota: gpus")
    with pytest.raises(JobEndedError, match="exceeded quota: gpus"):
        end.result(120)
    assert not launched.is_there


def test_a_quota_that_frees_up(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start()
    launched.warn(NAME, "FailedCreate", "exceeded quota")
    wait_until(lambda: "exceeded quota" in said.getvalue())
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_an_old_warning_ends_no_job_that_starts_again(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.1)
    launched.run()
    launched.warn(NAME, "FailedCreate", "exceeded quota")
    launched.remove_pods()
    launched.condition("Restarting", message="pods start again")
    launched.let_pass(0.3)
    launched.succeed_without_pods()
    assert end.result(120) == OUTPUT


def test_runtime_missing_by_the_event_alone(trainjob: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    """A TrainJob says nothing in its status."""
    end = trainjob.start(start_s=0.1)
    trainjob.warn(NAME, "TrainJobResourcesCreationFailed", 'trainingruntimes "nofrost-torch" not found')
    with pytest.raises(JobEndedError, match='CreationFailed: trainingruntimes "nofrost-torch" not found') as error:
        end.result(120)
    assert error.value.exit_code == 1
    assert not trainjob.is_there
    assert capsys.readouterr().err.count("nofrost: ") == 1, "a warning is said once"


def test_warnings_about_an_earlier_job_of_the_name_are_left_out(launched: LaunchedJob) -> None:
    launched.warn(NAME, "FailedCreate", "exceeded quota", age_s=3600)
    end = launched.start(start_s=0.1)
    launched.let_pass(0.3)
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_no_operator(launched: LaunchedJob) -> None:
    end = launched.start(operator_s=0.2)
    with pytest.raises(JobEndedError, match="no operator has touched"):
        end.result(120)
    assert not launched.is_there
