"""CronJobs of schedules: people make them with the Role of operators, and they fit the overlay beside them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("cronsim")

from tests.cluster.conftest import kubeconfig, server  # noqa: F401  (fixtures)
from tests.cluster.double.resources import CRONJOBS
from tests.k8s.rendering import FOLDER, needs_kubectl, render
from tests.k8s.rights import asked
from tests.k8s.semantics import defects
from tests.k8s.test_rights import role
from tests.pipelines.schedule.conftest import command, kfp, kubernetes  # noqa: F401  (fixtures)
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

# A study is compiled.
pytestmark = pytest.mark.slow
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
