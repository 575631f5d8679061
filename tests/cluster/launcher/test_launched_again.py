"""A launcher that is started again follows the job of the one before, and what was trained is not trained again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nofrost.cluster.launcher.follower import TaskError
from nofrost.cluster.launcher.job_ends import JobEndedError, WrongInputError
from nofrost.cluster.outcome.job_result import JobResult, read_result, result_name
from nofrost.errors import UserError
from tests.child_process import running
from tests.cluster.double.refusals import RefusedError, refusing
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until


def test_launcher_killed_and_started_again(launched: LaunchedJob, tmp_path: Path) -> None:
    """With -9, while the job runs: the next one follows the same job, and shows no line twice."""
    script = tmp_path / "ranks.py"
    script.write_text(_script(launched))
    with running([sys.executable, script], stderr=subprocess.PIPE, env=_environment(), text=True) as first:
        wait_until(lambda: launched.is_there)
        launched.add_pods(launched.status("Running"), launched.status("Running"))
        launched.write("started", "epoch 1")
        wait_until(lambda: "epoch 1" in launched.stored_lines())
        first.kill()
        _, said = first.communicate(timeout=120)
    assert "epoch 1" in said
    assert launched.is_there
    launched.write("epoch 2")
    end = launched.start(launched.body(owner="launcher-2"))
    wait_until(lambda: "epoch 2" in launched.shown)
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 2, "the second is refused with 409"
    assert launched.shown == ["epoch 2"]
    assert launched.stored_lines() == ["started", "epoch 1", "epoch 2"]
    assert not launched.is_there


def test_a_try_after_success_trains_nothing(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.launch() == OUTPUT
    assert launched.created == 1


def test_another_run_trains_again(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(120) == OUTPUT
    launched.remove_pods()
    again = launched.start(launched.body(run="run-2"))
    wait_until(lambda: launched.is_there)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.succeed()
    assert again.result(120) == OUTPUT
    assert launched.created == 2
    assert read_result(NAME, "run-2", launched.store) == JobResult(output=OUTPUT)


def test_a_try_after_success_deletes_the_job_that_is_left(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    with launched.server.fault(refusing(RefusedError(403, "Forbidden", "no"), "DELETE", NAME)):
        launched.succeed()
        assert end.result(120) == OUTPUT
    assert launched.is_there
    assert launched.launch() == OUTPUT
    assert not launched.is_there


def test_a_job_that_fails_after_it_has_trained(launched: LaunchedJob) -> None:
    """As where another node is killed in the last seconds."""
    end = launched.start()
    launched.run()
    launched.put_output()
    launched.fail(0, 137)
    assert end.result(120) == OUTPUT
    assert not launched.is_there


def test_wrong_input_is_not_tried_again_in_the_same_run(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.recorded = TaskError(2, "the dataset has no images", True)
    launched.fail(2, 200)
    with pytest.raises(WrongInputError):
        end.result(120)
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
        end.result(120)
    assert error.value.exit_code == 1
    assert result_name(NAME, "run-1") not in launched.store.objects("nofrost/jobs/")


def _script(launched: LaunchedJob) -> str:
    settings = {"url": launched.server.url, "store": launched.store.url, "body": launched.body()}
    return f"""
import json
from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.api.connection import Connection
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.launcher import launch
from nofrost.store import open_store

settings = json.loads({json.dumps(json.dumps(settings))})
StoredLog.__init__.__kwdefaults__["flush_s"] = 0.01
kind = next(kind for kind in JOB_KINDS if kind.kind == {launched.kind.kind!r})
connection = Connection(settings["url"], "research", lambda: "Bearer token-1", {{}})
api = KubernetesApi(connection, 20, lambda: Backoff(0.005, 0.05))
launch.launch(settings["body"], kind, 2, api=api, store=open_store(settings["store"]), recorded=lambda *_: None,
              limits=Limits(deadline_s=60, queue_timeout_s=60, interval_s=0.02))
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
