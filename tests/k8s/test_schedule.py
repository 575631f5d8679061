"""CronJobs of schedules: people make them with the Role of operators, and they fit the overlay beside them."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("cronsim")

from tests.cluster.conftest import kubeconfig, server  # noqa: F401  (fixtures)
from tests.cluster.double.resources import CRONJOBS
from tests.k8s.rendering import FOLDER, find, needs_kubectl, render
from tests.k8s.rights import allowed, asked
from tests.k8s.semantics import defects
from tests.k8s.test_rights import role
from tests.pipelines.schedule.conftest import command, kfp, kubernetes  # noqa: F401  (fixtures)
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

# A study is compiled.
pytestmark = pytest.mark.slow
# Kubeflow's API calls recurring runs jobs when it asks Kubernetes for rights.
RECURRING = re.compile(r"(GET|POST|DELETE) [^ ]*/recurringruns(?:/[^/:]+(:enable)?)?")
VERBS = {"GET": "list", "POST": "create", "DELETE": "delete"}
WEEKLY = ("schedule", "weekly", "--time-zone", "Europe/Berlin", "--service-account", "nofrost", "--cron")


@needs_kubectl
def test_a_schedule_is_complete_and_finds_its_account_in_the_overlay(kubernetes: Any, command: Any) -> None:  # noqa: F811
    command(*WEEKLY, "0 3 * * 1")
    job = kubernetes.find(CRONJOBS, "nofrost-schedule-weekly")
    assert defects([job], pinned=True, beside=render(FOLDER / "overlays/gpu")) == []


def test_operators_may_do_what_schedules_take(kubernetes: Any, command: Any) -> None:  # noqa: F811
    """`get` is what `doctor` does with the CronJob of the reaper."""
    command(*WEEKLY, "0 3 * * 1")
    command(*WEEKLY, "0 4 * * 1")
    command("status", "weekly")
    command("unschedule", "weekly")
    used = asked(kubernetes.requests)
    assert used | {("batch", "cronjobs", "get")} == {right for right in role("nofrost-operator") if right[0] == "batch"}


@needs_kubectl
def test_operators_may_do_what_recurring_runs_take(kfp: Any, kubernetes: Any, command: Any) -> None:  # noqa: F811
    """Of KFP for several users, which also lists them where a schedule is a CronJob."""
    kfp.version = "2.17.0"
    command("schedule", "weekly", "--service-account", "nofrost", "--cron", "0 3 * * 1")
    command("unschedule", "weekly")
    requests = (RECURRING.fullmatch(f"{method} {path}") for method, path, _ in kfp.requests)
    used = {(match[2] or VERBS[match[1]]).removeprefix(":") for match in requests if match}
    rights = allowed(find(render(FOLDER / "overlays/gpu"), "Role", "nofrost-operator"))
    assert used == {verb for group, resource, verb in rights if (group, resource) == ("pipelines.kubeflow.org", "jobs")}
