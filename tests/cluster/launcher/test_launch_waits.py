"""What keeps a job from running is said, and ends the launch when it lasts."""

from __future__ import annotations

import time

import pytest

from nofrost.cluster.discovery import check_runtime
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.launcher.creation import JobEndedError
from nofrost.errors import UserError
from tests.cluster.double.api_server import EVENTS, WORKLOADS, RefusedError
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, api_of, wait_until


def warn(job: LaunchedJob, of: str, reason: str, message: str, *, age_s: float = 0.0, kind: str = "") -> None:
    """Add a warning about an object."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age_s))
    involved = {"kind": kind or job.kind.kind, "namespace": "research", "name": of}
    event = {"involvedObject": involved, "type": "Warning", "reason": reason, "message": message}
    name = f"{of}.{reason.lower()}.{age_s:.0f}"
    job.server.add(EVENTS, name, **event, count=1, firstTimestamp=stamp, lastTimestamp=stamp)


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_image_cannot_be_pulled(reason: str, launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start(start_s=0.3)
    pod = launched.status("Pending", waiting=reason, message="unauthorized: no basic auth credentials")
    launched.add_pods(pod, pod)
    with pytest.raises(JobEndedError, match=rf"its image cannot be pulled \({reason}\): unauthorized") as error:
        end.result(20)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert "the launch ends if that lasts 0 s" in capsys.readouterr().err


def test_an_image_that_is_pulled_after_all(launched: LaunchedJob) -> None:
    end = launched.start()
    pod = launched.status("Pending", waiting="ErrImagePull", message="EOF")
    launched.add_pods(pod, pod)
    launched.wait_for_looks()
    launched.change_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started")
    wait_until(lambda: launched.shown)
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_quota_refused(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start(start_s=0.3)
    # The training operator warns of the job, Trainer of the Job that its JobSet makes.
    of = NAME if launched.is_v1 else f"{NAME}-node-0"
    sentence = "Error creating: pods is forbidden: exceeded quota: gpus, requested: 16, used: 8, limited: 16"
    warn(launched, of, "FailedCreate", sentence)
    with pytest.raises(JobEndedError, match=r"FailedCreate: Error creating: .* exceeded quota: gpus.*for 0 s") as error:
        end.result(20)
    assert error.value.exit_code == 1
    assert not launched.is_there
    assert sentence in capsys.readouterr().err


def test_quota_refused_for_one_pod_of_two(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.3)
    launched.add_pods(launched.status("Running"))
    warn(launched, NAME, "FailedCreate", "exceeded quota: gpus")
    with pytest.raises(JobEndedError, match="exceeded quota: gpus"):
        end.result(20)
    assert not launched.is_there


def test_an_old_warning_ends_no_job_that_starts_again(launched: LaunchedJob) -> None:
    end = launched.start(start_s=0.3)
    warn(launched, NAME, "FailedCreate", "exceeded quota")
    launched.run()
    launched.remove_pods()
    launched.condition("Restarting", message="pods start again")
    time.sleep(0.6)
    launched.succeed_without_pods()
    assert end.result(20) == OUTPUT


def test_quota_of_jobs_refused(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST":
            message = f"{launched.kind.plural} {NAME!r} is forbidden: exceeded quota: jobs, limited: 2"
            raise RefusedError(403, "Forbidden", message)

    with launched.server.fault(refuse), pytest.raises(JobEndedError, match="exceeded quota: jobs") as error:
        launched.launch()
    assert error.value.exit_code == 1


def test_a_quota_that_frees_up(launched: LaunchedJob) -> None:
    end = launched.start()
    warn(launched, NAME, "FailedCreate", "exceeded quota")
    launched.wait_for_looks()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_runtime_missing(trainjob: LaunchedJob) -> None:
    """The message has the command that installs what is missing."""
    api = api_of(trainjob.server)
    check_runtime(api, JobSettings())
    with pytest.raises(UserError, match=r"no TrainingRuntime nofrost-torch-\w{8} in namespace research: run ") as error:
        check_runtime(api, JobSettings(restarts=7))
    assert error.value.exit_code == 2
    installs = """nofrost task runtime --settings '{"restarts": 7}' | kubectl apply --namespace research -f -"""
    assert str(error.value).endswith(installs)
    with pytest.raises(UserError, match="no TrainingRuntime theirs in namespace research: create it"):
        check_runtime(api, JobSettings(runtime="theirs"))


def test_runtime_missing_by_the_event_alone(trainjob: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    """A TrainJob says nothing in its status."""
    end = trainjob.start(start_s=0.3)
    warn(trainjob, NAME, "TrainJobResourcesCreationFailed", 'trainingruntimes "nofrost-torch" not found')
    with pytest.raises(JobEndedError, match='TrainJobResourcesCreationFailed: trainingruntimes "nofrost-torch"'):
        end.result(20)
    assert not trainjob.is_there
    assert capsys.readouterr().err.count("nofrost: ") == 1, "a warning is said once"


def test_a_webhook_that_refuses(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST":
            raise RefusedError(403, "Forbidden", 'admission webhook "validator" denied the request: x is wrong')

    with (
        launched.server.fault(refuse),
        pytest.raises(UserError, match="denied the request: x is wrong") as error,
    ):
        launched.launch()
    assert error.value.exit_code == 2


def test_a_webhook_that_does_not_answer_is_asked_again(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST" and launched.created < 4:
            raise RefusedError(500, "InternalError", "Internal error occurred: failed calling webhook: refused")

    with launched.server.fault(refuse):
        end = launched.start()
        wait_until(lambda: launched.is_there)
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_warnings_about_an_earlier_job_of_the_name_are_left_out(launched: LaunchedJob) -> None:
    warn(launched, NAME, "FailedCreate", "exceeded quota", age_s=3600)
    end = launched.start(start_s=0.1)
    launched.wait_for_looks()
    time.sleep(0.2)
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_no_operator(launched: LaunchedJob) -> None:
    end = launched.start(operator_s=0.2)
    with pytest.raises(JobEndedError, match="no operator has touched"):
        end.result(20)
    assert not launched.is_there


def test_queued_for_long(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    """The deadline does not count in the queue."""
    end = launched.start(deadline_s=0.3)
    uid = launched.server.find(launched.resource, NAME)["metadata"]["uid"]
    sentence = "couldn't assign flavors to pod set node: insufficient unused quota for nvidia.com/gpu, 8 more needed"
    reserved = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": sentence}
    labels = {"kueue.x-k8s.io/job-uid": uid}
    launched.server.add(WORKLOADS, "job-1", metadata={"labels": labels}, status={"conditions": [reserved]})
    launched.suspend(True, "the job is suspended")
    time.sleep(0.5)
    launched.suspend(False)
    launched.wait_for_looks()
    launched.add_pods(launched.status("Pending", waiting="ContainerCreating"), launched.unplaced("no room"))
    launched.succeed()
    assert end.result(20) == OUTPUT
    said = capsys.readouterr().err
    assert f"{NAME}: queued: {sentence}\n" in said
    assert f"{NAME}: admitted, " in said


def test_queued_for_too_long(launched: LaunchedJob) -> None:
    # Kubernetes gives times in whole seconds: a job may seem to be one second old at once.
    end = launched.start(queue_timeout_s=1.5)
    launched.suspend(True, "the queue is full")
    with pytest.raises(JobEndedError, match=r"run on 2 nodes after 2 s \(queued: the queue is full\)") as error:
        end.result(20)
    assert error.value.exit_code == 1
    assert not launched.is_there


def test_evicted_and_admitted_again(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start()
    launched.run()
    launched.server.close_log(launched.pod_name(0), launched.container)
    launched.suspend(True, "Preempted to accommodate a workload")
    launched.remove_pods()
    launched.wait_for_looks()
    launched.suspend(False)
    running = launched.status("Running")
    if launched.is_v1:
        launched.server.logs.clear()
    launched.add_pods(running, running, attempt="bbbbb")
    launched.write("goes on", attempt="bbbbb")
    wait_until(lambda: "goes on" in launched.shown)
    launched.store.put(f"nofrost/jobs/{NAME}/output", OUTPUT.encode())
    launched.server.close_log(launched.pod_name(0, "bbbbb"), launched.container)
    launched.condition(launched.kind.succeeded)
    assert end.result(20) == OUTPUT
    assert launched.created == 1
    assert launched.shown == ["started", "goes on"] == launched.stored_lines()
    said = capsys.readouterr().err
    assert f"{NAME}: evicted, queued: Preempted to accommodate a workload\n" in said
    assert said.index("evicted, ") < said.index("admitted, ") < said.rindex("running on 2 nodes")


def test_a_pod_that_is_evicted_from_its_node_is_said(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start()
    launched.run()
    evicted = launched.status("Failed", code=143)
    evicted["conditions"].append({"type": "DisruptionTarget", "status": "True", "message": "the node is drained"})
    launched.change_pods(launched.status("Running"), evicted)
    launched.wait_for_looks()
    launched.change_pods(launched.status("Running"), launched.status("Running"))
    launched.wait_for_looks()
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert f"{NAME}: evicted: {launched.pod_name(1)}: the node is drained\n" in capsys.readouterr().err
