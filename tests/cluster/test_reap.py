"""The reaper deletes jobs that no one needs, their logs first, and leaves all others alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.launcher import rank_log
from nofrost.cluster.reap import ReapedJob, reap
from nofrost.errors import UserError
from nofrost.tasks.run_record import RunRecord, write_record
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import PODS
from tests.cluster.launcher.launched_job import LaunchedJob, api_of

OLD = "2026-01-02T03:04:05Z"


def left(job: LaunchedJob, name: str, run: str, *, owner: str = "", created: str = "") -> None:
    """Leave a job of a run, whose launcher may have been a pod."""
    body = job.body(run=run, owner=owner or "gone")
    metadata = {key: body["metadata"][key] for key in ("labels", "ownerReferences")}
    if owner:
        metadata["ownerReferences"][0]["uid"] = job.server.find(PODS, owner)["metadata"]["uid"]
    if created:
        metadata["creationTimestamp"] = created
    job.server.add(job.resource, name, metadata=metadata, spec=body["spec"])


def reaped(job: LaunchedJob, over: set[str], *, pretend: bool = False, ended_s: float = 0.0) -> list[ReapedJob]:
    """Reap; the runs `over` have ended so many seconds ago."""
    end = datetime.now(UTC) - timedelta(seconds=ended_s)
    ends = dict.fromkeys(over, end)
    return list(reap(api_of(job.server, 0.2), job.store, ends.get, least_age_s=3600, pretend=pretend))


def test_jobs_whose_run_is_over_are_deleted_and_those_of_others_stay(launched: LaunchedJob) -> None:
    left(launched, "a", "run-1")
    left(launched, "b", "run-2")
    launched.server.add(launched.resource, "c", spec={})
    assert reaped(launched, {"run-1"}) == [ReapedJob(launched.kind.kind, "a", "run run-1 is over")]
    assert launched.server.names(launched.resource) == ["b", "c"]
    assert {path.rpartition("/")[2] for method, path, _ in launched.server.requests if method == "DELETE"} == {"a"}


def test_old_jobs_without_a_launcher_are_deleted(launched: LaunchedJob) -> None:
    launched.server.add(PODS, "launcher", spec={}, status={"phase": "Running"})
    launched.server.add(PODS, "ended", spec={}, status={"phase": "Failed"})
    left(launched, "followed", "run-1", owner="launcher", created=OLD)
    left(launched, "young", "run-1")
    left(launched, "of-nobody", "run-1", created=OLD)
    left(launched, "of-one-that-ended", "run-1", owner="ended", created=OLD)
    found = reaped(launched, set())
    assert [each.name for each in found] == ["of-nobody", "of-one-that-ended"]
    assert all("its launcher has been gone for " in each.reason for each in found)
    assert launched.server.names(launched.resource) == ["followed", "young"]


def ended_pod(job: LaunchedJob, name: str, seconds_ago: float) -> None:
    """Leave the pod of a launcher that ended so long ago."""
    end = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    state = {"terminated": {"exitCode": 1, "finishedAt": end}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": state}]}
    job.server.add(PODS, name, spec={}, status=status)


def test_a_job_between_two_tries_of_its_launcher_stays(launched: LaunchedJob) -> None:
    """However old the job is, the end of the launcher counts."""
    ended_pod(launched, "just", 60)
    ended_pod(launched, "long-ago", 4000)
    left(launched, "a", "run-1", owner="just", created=OLD)
    left(launched, "b", "run-1", owner="long-ago", created=OLD)
    assert [each.name for each in reaped(launched, set())] == ["b"]


def test_a_followed_job_without_an_owner_stays(launched: LaunchedJob) -> None:
    """As where a launcher has a kubeconfig."""
    for name, seconds in (("a", 60), ("b", 4000)):
        left(launched, name, "run-1", created=OLD)
        seen = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
        metadata = {"annotations": {"nofrost/seen": seen}, "ownerReferences": None}
        launched.server.change(launched.resource, name, metadata=metadata)
    assert [each.name for each in reaped(launched, set())] == ["b"]


def test_a_run_that_is_tried_again_after_its_end_keeps_its_job(launched: LaunchedJob) -> None:
    launched.server.add(PODS, "alive", spec={}, status={"phase": "Running"})
    ended_pod(launched, "just", 60)
    left(launched, "a", "run-1", owner="alive", created=OLD)
    left(launched, "b", "run-1", owner="just", created=OLD)
    assert reaped(launched, {"run-1"}, ended_s=3600) == []


def test_a_job_that_is_adopted_while_its_log_is_read_stays(launched: LaunchedJob) -> None:
    left(launched, launched.name, "run-1")
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started")

    def adopt(method: str, path: str) -> None:
        if path.endswith("/log"):
            launched.server.change(launched.resource, launched.name, metadata={"labels": {RUN_LABEL: "run-2"}})

    launched.server.faults.append(adopt)
    (job,) = reaped(launched, {"run-1"})
    assert job.problem == "another launcher follows it by now"
    assert launched.is_there


def test_a_job_whose_log_cannot_be_stored_stays(launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    left(launched, launched.name, "run-1")
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started")

    def refuse(*_: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(type(launched.store), "put", refuse)
    (job,) = reaped(launched, {"run-1"})
    assert job.problem == "the end of its log cannot be read, or stored"
    assert launched.is_there


def test_a_job_whose_log_cannot_be_read_stays(launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_log, "_KUBELET_S", 0.1)
    left(launched, launched.name, "run-1")
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.server.lose_machine(launched.pod_name(0))
    (job,) = reaped(launched, {"run-1"})
    assert job.problem == "the end of its log cannot be read, or stored"
    assert launched.is_there


def test_a_dry_run_deletes_nothing(launched: LaunchedJob) -> None:
    left(launched, "a", "run-1")
    assert len(reaped(launched, {"run-1"}, pretend=True)) == 1
    assert launched.server.names(launched.resource) == ["a"]
    assert not launched.store.objects("nofrost/jobs/")


def test_logs_are_stored_first(launched: LaunchedJob) -> None:
    left(launched, launched.name, "run-1")
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started", "epoch 1")
    stored: list[list[str]] = []
    launched.server.faults.append(
        lambda method, path: stored.append(launched.stored_lines()) if method == "DELETE" else None
    )
    assert len(reaped(launched, {"run-1"})) == 1
    assert stored == [["started", "epoch 1"]]


def test_a_secret_that_a_training_prints_does_not_reach_the_store(
    launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod that follows a job has the same Secret in its environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "short")
    left(launched, launched.name, "run-1")
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("{'AWS_SECRET_ACCESS_KEY': 'wJalrXUtnFEMI/K7MDENG'}", "a short line", "wJalrXUtnFEMI/K7MDENG")
    assert len(reaped(launched, {"run-1"})) == 1
    assert launched.stored_lines() == ["{'AWS_SECRET_ACCESS_KEY': '***'}", "a short line", "***"]


def test_a_job_that_may_not_be_deleted_is_said_and_others_are_deleted(launched: LaunchedJob) -> None:
    left(launched, "a", "run-1")
    left(launched, "b", "run-1")

    def refuse(method: str, path: str) -> None:
        if method == "DELETE" and path.endswith("/a"):
            raise RefusedError(403, "Forbidden", "no")

    launched.server.faults.append(refuse)
    first, second = reaped(launched, {"run-1"})
    assert "(403: no)" in first.problem
    assert second.problem == ""
    assert launched.server.names(launched.resource) == ["a"]


def test_the_command(
    pytorchjob: LaunchedJob, server: ApiServer, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    left(pytorchjob, "a", "run-1")
    left(pytorchjob, "b", "run-2")
    record = RunRecord("run-1", "failed", "it was cancelled", [], "FAILED", datetime.now(UTC).isoformat())
    write_record(record, pytorchjob.store)
    arguments = ["task", "reap", "--store", pytorchjob.store.url]
    dry = CliRunner().invoke(cli, [*arguments, "--dry-run", "--json"])
    reason = {"kind": "PyTorchJob", "name": "a", "reason": "run run-1 is over", "problem": ""}
    assert json.loads(dry.stdout) == [reason]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.stdout) == (0, "PyTorchJob a: deleted: run run-1 is over\n")
    assert server.names(pytorchjob.resource) == ["b"]
    again = CliRunner().invoke(cli, arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert server.find(pytorchjob.resource, "b")["metadata"]["labels"][RUN_LABEL] == "run-2"
