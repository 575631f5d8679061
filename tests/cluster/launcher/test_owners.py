"""A job belongs to the launcher that created or adopted it last, and goes with the pod of that one."""

from __future__ import annotations

import pytest

from nofrost.cluster.launcher.job_ends import JobEndedError
from tests.cluster.double.resources import PODS
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until


def test_a_deadline_of_a_launcher_that_lost_the_job_leaves_it(launched: LaunchedJob) -> None:
    first = launched.start(deadline_s=0.2)
    second = launched.start(launched.body(owner="launcher-2"))
    wait_until(lambda: launched.is_owned_by("launcher-2"))
    launched.run()
    with pytest.raises(JobEndedError, match="its deadline"):
        first.result(120)
    assert launched.is_there
    launched.succeed()
    assert second.result(120) == OUTPUT


def test_two_followers_of_one_success(launched: LaunchedJob) -> None:
    """The slower one finds the job deleted."""
    first = launched.start()
    launched.run()
    second = launched.start(launched.body(run="run-2", owner="launcher-2"))
    wait_until(lambda: launched.is_owned_by("launcher-2"))
    launched.wait_for_looks()
    launched.put_output()
    launched.server.remove(launched.resource, NAME)
    assert (first.result(120), second.result(120)) == (OUTPUT, OUTPUT)


def add_launchers(job: LaunchedJob, *names: str) -> None:
    for name in names:
        job.server.add(PODS, name, spec={}, status={"phase": "Running"})


def test_a_job_goes_with_the_pod_of_its_launcher(launched: LaunchedJob) -> None:
    add_launchers(launched, "launcher-1")
    end = launched.start()
    launched.run()
    launched.server.remove(PODS, "launcher-1")
    assert not launched.is_there
    with pytest.raises(JobEndedError, match="deleted by somebody else"):
        end.result(120)
    assert launched.created == 1


def test_an_adopted_job_stays_without_the_pod_of_its_first_launcher(launched: LaunchedJob) -> None:
    add_launchers(launched, "launcher-1", "launcher-2")
    first = launched.start()
    launched.run()
    second = launched.start(launched.body(run="run-2", owner="launcher-2"))
    wait_until(lambda: launched.is_owned_by("launcher-2"))
    launched.server.remove(PODS, "launcher-1")
    assert launched.is_there
    launched.succeed()
    assert (first.result(120), second.result(120)) == (OUTPUT, OUTPUT)
    assert not launched.is_there
