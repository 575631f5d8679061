"""A job is created once, or adopted, whatever becomes of the requests and of other jobs of its name."""

from __future__ import annotations

import threading
import time

import pytest

from nofrost.cluster.discovery import check_runtime
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.launcher.creation import await_deletion, create_or_adopt
from nofrost.cluster.launcher.job_ends import JobEndedError
from nofrost.errors import UserError
from tests.cluster.double import refusals
from tests.cluster.double.refusals import CutError, RefusedError, refusing
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, api_of, wait_until


@pytest.mark.parametrize("fault", [CutError(), RefusedError(500, "InternalError", "etcd is slow")], ids=["cut", "500"])
def test_the_answer_to_the_creation_is_lost(fault: Exception, launched: LaunchedJob) -> None:
    """The job is there: it is not created twice, and not refused."""

    def lose(method: str, path: str) -> None:
        if method == "POST":
            launched.server.after.remove(lose)
            raise fault

    launched.server.after.append(lose)
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 1


def test_the_creation_is_lost_before_it_is_carried_out(launched: LaunchedJob) -> None:
    def lose(method: str, path: str) -> None:
        if method == "POST" and launched.created < 3:
            raise CutError

    launched.server.faults.append(lose)
    end = launched.start()
    wait_until(lambda: launched.is_there)
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 3


def test_a_right_that_comes_late_is_waited_for(launched: LaunchedJob) -> None:
    launched.denied_s = 20.0
    denied = refusals.forbidden(launched.resource, "create")
    launched.server.faults.append(refusing(denied, "POST", launched.resource.plural, 3))
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 4


def test_rights_are_missing(launched: LaunchedJob) -> None:
    denied = refusals.forbidden(launched.resource, "create")
    launched.server.faults.append(refusing(denied, "POST", launched.resource.plural))
    with pytest.raises(UserError, match=r"cannot create.*let the service account of this pod") as error:
        launched.launch()
    assert error.value.exit_code == 2


def test_quota_of_jobs_refused(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST":
            message = f"{launched.kind.plural} {NAME!r} is forbidden: exceeded quota: jobs, limited: 2"
            raise RefusedError(403, "Forbidden", message)

    with launched.server.fault(refuse), pytest.raises(JobEndedError, match="exceeded quota: jobs") as error:
        launched.launch()
    assert error.value.exit_code == 1


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
    assert end.result(120) == OUTPUT


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


def test_a_new_job_of_the_name_ends_the_wait_for_the_old_one(launched: LaunchedJob) -> None:
    launched.server.add(launched.resource, NAME, spec={})
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    began = time.monotonic()
    await_deletion(api_of(launched.server), launched.kind, NAME, "uid-of-the-old-one", 200.0, 0.05)
    assert time.monotonic() - began < 100


def test_a_job_that_is_made_anew_before_it_is_adopted(launched: LaunchedJob) -> None:
    body = launched.body(run="run-1", owner="launcher-1")
    launched.add(body)

    def replace(method: str, path: str) -> None:
        if method == "PATCH":
            launched.server.faults.remove(replace)
            launched.server.remove(launched.resource, NAME)
            launched.add(body)

    launched.server.faults.append(replace)
    found = create_or_adopt(
        api_of(launched.server),
        launched.kind,
        launched.body(run="run-2", owner="launcher-2"),
        save_log=lambda: None,
        deletion_s=10.0,
        interval_s=0.05,
        asked=threading.Event(),
    )
    assert found["metadata"]["labels"]["nofrost/run"] == "run-2"
    assert launched.server.find(launched.resource, NAME)["metadata"]["uid"] == found["metadata"]["uid"]
