"""Schedules by the clock of a zone, as CronJobs: made once, changed only where they differ, and what their pods may."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("kubernetes")

from nofrost.cluster.api.errors import KubernetesError
from nofrost.errors import UserError
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.refusals import RefusedError, forbidden, refusing
from tests.cluster.double.resources import CRONJOBS
from tests.cluster.job.pod_security import problems
from tests.pipelines.schedule.conftest import IMAGE, Command
from tests.pipelines.schedule.recurring_double import RecurringDouble

pytestmark = pytest.mark.slow

WEEKLY = ("schedule", "weekly", "--cron", "0 3 * * 1", "--time-zone", "Europe/Berlin")
NAME = "nofrost-schedule-weekly"
CHANGES = {"POST", "PATCH", "DELETE"}


def changes(server: ApiServer) -> int:
    return sum(method in CHANGES for method, _, _ in server.requests)


def test_a_schedule_is_made_with_everything_said(kfp: RecurringDouble, kubernetes: ApiServer, command: Command) -> None:
    made = command(*WEEKLY)
    assert made["form"] == "cronjob"
    assert "the clock of Europe/Berlin" in made["why"]
    assert {run[11:16] for run in made["next_runs"]} == {"03:00"}
    assert made["changes"] == [f"CronJob {NAME}: to be created"]
    assert (kfp.recurring, kfp.runs) == ([], [])
    job = kubernetes.find(CRONJOBS, NAME)
    assert job["metadata"]["labels"] == {"nofrost/schedule": "weekly"}
    spec = job["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * 1", "Europe/Berlin")
    assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Forbid", False)
    template = spec["jobTemplate"]["spec"]["template"]
    assert template["metadata"]["labels"]["nofrost/schedule"] == "weekly"
    pod = template["spec"]
    assert problems(pod) == []
    assert pod["serviceAccountName"] == "default-editor"
    (container,) = pod["containers"]
    assert container["image"] == IMAGE.format("stage")
    words = container["args"]
    assert words[:3] == ["nofrost", "task", "start-run"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    request = json.loads(options.pop("--request"))
    assert options == {"--study": "digits", "--schedule": "weekly", "--cron": "0 3 * * 1",
                       "--time-zone": "Europe/Berlin"}  # fmt: skip
    assert request["runtime_config"]["parameters"]["train_image"] == IMAGE.format("train")
    assert request["runtime_config"]["parameters"]["schedule"] == "", "the CronJob takes the lease for the run"
    assert request["experiment_id"] == kfp.experiments[0]["experiment_id"]
    assert "service_account" not in request


@pytest.mark.parametrize("version", ["1.27", "1.32"])
def test_kubernetes_takes_the_manifest(kubernetes: ApiServer, command: Command, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    command(*WEEKLY, "--service-account", "nofrost")
    job = kubernetes.find(CRONJOBS, NAME)
    sent = {key: job["metadata"][key] for key in ("name", "labels", "annotations")}
    validate({**job, "metadata": sent}, version, strict=True)


def test_its_pod_starts_the_run(
    kfp: RecurringDouble, kubernetes: ApiServer, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments and variables are those of the manifest."""
    from click.testing import CliRunner

    from nofrost.cli import cli

    command(*WEEKLY, "--cluster-host", kfp.url, "--service-account", "nofrost", "--pipeline-root", "s3://$(HOME)/x")
    pod = kubernetes.find(CRONJOBS, NAME)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {each["name"]: each.get("value", f"{NAME}-29410740") for each in container["env"][:2]}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = [word.replace("$$", "$") for word in container["args"][1:]]
    started = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert json.loads(started.stdout) == {"run_id": "run-1", "started": True}
    (run,) = kfp.runs
    assert (run["display_name"], run["service_account"]) == (f"{NAME}-29410740", "nofrost")
    assert run["runtime_config"]["pipeline_root"] == "s3://$(HOME)/x"
    assert run["runtime_config"]["parameters"]["store"].startswith("s3://bucket/")
    kfp.states["run-1"] = "RUNNING"
    monkeypatch.setenv("NOFROST_SCHEDULED_JOB", f"{NAME}-29420820")
    again = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert again.stdout == "run run-1 goes on: no other one is started\n"
    (status,) = command("status", "weekly")
    assert (status["last_run"], status["state"]) == ("run-1", "RUNNING")


def test_applied_twice_it_changes_nothing(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    job = kubernetes.find(CRONJOBS, NAME)
    # The server fills in what was left out.
    defaults = {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    kubernetes.change(CRONJOBS, NAME, spec={"jobTemplate": {"spec": {"template": {"spec": defaults}}}})
    before = changes(kubernetes)
    assert command(*WEEKLY)["changes"] == []
    assert command("status", "weekly")[0]["edited"] == []
    assert changes(kubernetes) == before
    assert kubernetes.find(CRONJOBS, NAME)["metadata"]["uid"] == job["metadata"]["uid"]


def test_a_dry_run_prints_the_difference_and_does_nothing(
    kfp: RecurringDouble, kubernetes: ApiServer, command: Command
) -> None:
    assert command(*WEEKLY, "--dry-run")["changes"] == [f"CronJob {NAME}: to be created"]
    assert changes(kubernetes) == 0
    assert kfp.count("POST .*") == 0
    command(*WEEKLY)
    before = changes(kubernetes)
    moved = command(*WEEKLY[:3], "0 4 * * 1", "--time-zone", "America/New_York", "--dry-run")["changes"]
    assert moved[:2] == ["schedule: 0 3 * * 1 -> 0 4 * * 1", "timeZone: Europe/Berlin -> America/New_York"]
    assert all(".containers[0].args[" in line for line in moved[2:])
    assert changes(kubernetes) == before


def test_only_what_differs_is_changed_and_what_went_is_removed(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY, "--service-account", "nofrost", "--pipeline-root", "s3://other")
    job = kubernetes.find(CRONJOBS, NAME)
    assert len(command(*WEEKLY)["changes"]) == 2, "the account of the pod, and the request"
    changed = kubernetes.find(CRONJOBS, NAME)
    assert changed["metadata"]["uid"] == job["metadata"]["uid"]
    (container,) = changed["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "s3://other" not in container["args"][-1]
    assert command(*WEEKLY)["changes"] == []


def test_placement_of_the_cluster_comes_and_goes(kubernetes: ApiServer, command: Command, tmp_path: Any) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("placement: {node_selector: {pool: cpu}}\n")
    command(*WEEKLY, "--cluster", str(file))

    def pod() -> Any:
        return kubernetes.find(CRONJOBS, NAME)["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    assert pod()["nodeSelector"] == {"pool": "cpu"}
    gone = command(*WEEKLY)["changes"]
    assert any("nodeSelector" in line and line.endswith("-> none") for line in gone)
    assert "nodeSelector" not in pod()


def test_what_somebody_edited_is_shown_and_put_right(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    kubernetes.change(CRONJOBS, NAME, spec={"schedule": "0 5 * * *", "suspend": True})
    (status,) = command("status")
    assert status["edited"] == ["schedule: 0 3 * * 1 -> 0 5 * * *", "suspend: false -> true"]
    assert (status["cron"], status["enabled"], status["next_run"]) == ("0 5 * * *", False, None)
    assert len(command(*WEEKLY)["changes"]) == 2
    spec = kubernetes.find(CRONJOBS, NAME)["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("0 3 * * 1", False)


def test_one_without_the_note_of_how_it_was_made_is_put_right(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    kubernetes.change(CRONJOBS, NAME, metadata={"annotations": {"nofrost/made": "{"}}, spec={"suspend": True})
    assert command("status")[0]["edited"] == ["what it was made with is not noted in it any more"]
    assert command(*WEEKLY)["changes"] == ["suspend: true -> false"]
    assert command("status")[0]["edited"] == []
    kubernetes.change(CRONJOBS, NAME, metadata={"annotations": {"nofrost/made": "{"}})
    assert command(*WEEKLY)["changes"] == ["the note of how it was made: to be written again"]
    assert command("status")[0]["edited"] == []


def test_one_without_its_label_is_in_the_way_and_said(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    kubernetes.change(CRONJOBS, NAME, metadata={"labels": None})
    assert command("status") == []
    with pytest.raises(
        UserError, match=r"without the label nofrost/schedule.*kubectl delete cronjob nofrost-schedule-"
    ):
        command(*WEEKLY)


def test_another_zone_takes_the_place_of_the_recurring_run_and_back(
    kfp: RecurringDouble, kubernetes: ApiServer, command: Command
) -> None:
    in_utc = ("schedule", "weekly", "--cron", "0 3 * * 1")
    command(*in_utc)
    assert len(kfp.recurring) == 1
    assert command(*WEEKLY)["changes"] == [
        f"CronJob {NAME}: to be created", "recurring run nofrost-schedule-weekly: to be deleted"
    ]  # fmt: skip
    assert kfp.recurring == []
    assert command(*in_utc)["changes"][-1] == "CronJob nofrost-schedule-weekly: to be deleted"
    assert kubernetes.names(CRONJOBS) == []
    assert len(kfp.recurring) == 1


def test_the_next_run_is_by_the_clock_of_the_zone(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    (status,) = command("status", "weekly")
    assert status["next_run"][11:16] == "03:00"
    assert status["next_run"][-6:] in ("+01:00", "+02:00")
    assert (status["kind"], status["last_run"]) == ("CronJob", "")


def test_a_run_of_it_is_shown(kfp: RecurringDouble, kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    kfp.runs.append({"display_name": f"{NAME}-1", "description": "schedule weekly", "experiment_id": "x"})
    kfp.states["run-1"] = "FAILED"
    (status,) = command("status")
    assert (status["last_run"], status["state"]) == ("run-1", "FAILED")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (forbidden(CRONJOBS, "list"), "ask for the right to list cronjobs of batch in this namespace"),
        (RefusedError(500, "InternalError", "etcd is away"), "etcd is away"),
    ],
)
def test_an_error_of_kubernetes_is_one_sentence(
    kubernetes: ApiServer, command: Command, fault: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.schedule.cronjob.RETRY_S", 0.1)
    with kubernetes.fault(refusing(fault, "GET", "/cronjobs", 9)), pytest.raises((UserError, KubernetesError)) as error:
        command(*WEEKLY)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_kubernetes_a_zone_is_refused_and_utc_is_not(
    kfp: RecurringDouble, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"Kubernetes cannot be reached"):
        command(*WEEKLY)
    assert kfp.count("POST .*") == 0
    assert len(command("schedule", "weekly", "--cron", "0 3 * * 1")["changes"]) == 1


def test_of_two_changes_of_the_object_one_is_refused(kubernetes: ApiServer, command: Command) -> None:
    """As with kubectl, which knows of no lease."""
    command(*WEEKLY)
    armed = [True]

    def edit(method: str, _: str) -> None:
        if method == "PATCH" and armed.pop() if armed else False:
            kubernetes.change(CRONJOBS, NAME, spec={"suspend": True})

    with kubernetes.fault(edit), pytest.raises(UserError, match="somebody else changes the schedule at this moment"):
        command(*WEEKLY[:3], "0 4 * * 1", *WEEKLY[4:])
    command(*WEEKLY[:3], "0 4 * * 1", *WEEKLY[4:])
    spec = kubernetes.find(CRONJOBS, NAME)["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("0 4 * * 1", False)


def test_unschedule_deletes_it(kubernetes: ApiServer, command: Command) -> None:
    command(*WEEKLY)
    command("unschedule", "weekly")
    assert kubernetes.names(CRONJOBS) == []
