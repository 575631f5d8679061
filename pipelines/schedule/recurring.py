"""Schedules that are recurring runs of Kubeflow, which follow UTC.

One that is off is made first, then the old one is deleted and the new one enabled: there are never two that start runs,
and a process that is killed in between leaves what the next one completes. Kubeflow cannot change one
(kubeflow/pipelines#6001).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nofrost.errors import UserError
from pipelines.schedule.definition import PREFIX, FoundSchedule, RunSettings, Schedule
from pipelines.schedule.differences import differences
from pipelines.submit import Api
from pipelines.submit.versions import parse, shown

KIND = "recurring run"
# Before: kubeflow/pipelines#13311 (service account), #13472 (rights in an installation for several users).
_WHOLE = (2, 17)
_SENTENCE = "Made by `python -m pipelines schedule`, which overwrites what is edited here. "
_INSTEAD = "upgrade KFP, or give --form cronjob for a CronJob of Kubernetes"


class RecurringRuns:
    """The recurring runs of an installation that belong to schedules."""

    kind = KIND

    def __init__(self, api: Api) -> None:
        self._api = api

    def check(self, service_account: str | None) -> None:
        """Check that the server does what a schedule asks of it, as the account of its pods.

        Raises:
            UserError: it would run the schedule in another way, without saying so.
        """
        text = self._api.health.version
        version = parse(text)
        if version is None or version >= _WHOLE:
            return
        if service_account:
            why = f"KFP {text} drops the service account of a recurring run, which works from {shown(_WHOLE)} on"
            raise UserError(f"{self._api.address}: {why}: leave out --service-account, {_INSTEAD}")
        if self._api.health.multi_user:
            why = f"KFP {text} starts no recurring run in an installation for several users, {shown(_WHOLE)} does"
            raise UserError(f"{self._api.address}: {why}: {_INSTEAD}")

    def find(self, name: str | None = None) -> list[FoundSchedule]:
        """Return those of a schedule, or of all schedules."""
        found = [_found(each) for each in self._api.recurring_runs() if (each.display_name or "").startswith(PREFIX)]
        return [each for each in found if name in (None, each.name)]

    def difference(self, schedule: Schedule, found: list[FoundSchedule]) -> list[str]:
        """Return a line for each difference between what there is and the schedule."""
        if not found:
            return [f"{KIND} {schedule.full_name}: to be created"]
        wanted = _spec(schedule)
        best = min((differences(each.spec, wanted) for each in found), key=len)
        return [*best, *(f"{KIND} {schedule.full_name}: one of {len(found)} is to be deleted" for _ in found[1:])]

    def apply(self, schedule: Schedule, found: list[FoundSchedule]) -> None:
        """Bring about the schedule, where `found` is what there is of it."""
        wanted = {key: value for key, value in _spec(schedule).items() if key != "enabled"}
        kept = next((each for each in found if not differences(each.spec, wanted)), None)
        kept_id, is_enabled = (kept.id, kept.enabled) if kept else (self._create(schedule), False)
        for each in found:
            if each.id != kept_id:
                self._api.delete_recurring_run(each.id)
        if not is_enabled:
            self._api.enable_recurring_run(kept_id)

    def delete(self, found: FoundSchedule) -> None:
        """Delete one; its runs stay."""
        self._api.delete_recurring_run(found.id)

    def _create(self, schedule: Schedule) -> str:
        run = schedule.run
        return self._api.create_recurring_run(
            run.experiment_id,
            schedule.full_name,
            description=_SENTENCE + json.dumps(_made(schedule), sort_keys=True),
            cron_expression=schedule.cron.six_fields,
            max_concurrency=1,
            no_catchup=True,
            enabled=False,
            params=dict(run.parameters),
            pipeline_id=run.pipeline_id,
            version_id=run.version_id,
            pipeline_root=run.pipeline_root,
            service_account=run.service_account,
        )


def _spec(schedule: Schedule) -> dict[str, Any]:
    run = schedule.run
    return {
        "cron": schedule.cron.six_fields,
        "enabled": True,
        "no_catchup": True,
        "max_concurrency": 1,
        "experiment": run.experiment_id,
        "pipeline": run.pipeline_id,
        "version": run.version_id,
        "parameters": dict(run.parameters),
        # The server fills in its own where none is asked for, so what was asked for is in the description.
        "made": _asked(run),
        **({"service_account": run.service_account} if run.service_account else {}),
        **({"pipeline_root": run.pipeline_root} if run.pipeline_root else {}),
    }


def _asked(run: RunSettings) -> dict[str, str | None]:
    return {"service_account": run.service_account, "pipeline_root": run.pipeline_root}


def _made(schedule: Schedule) -> dict[str, Any]:
    return {"cron": schedule.cron.text, "zone": schedule.zone.key, "spec": _spec(schedule)}


def _found(content: Any) -> FoundSchedule:
    """Return a recurring run of the API as a schedule."""
    made = _read(content.description or "")
    applied = made.get("spec")
    trigger, version = content.trigger, content.pipeline_version_reference
    cron = trigger.cron_schedule if trigger else None
    runtime = content.runtime_config
    enabled = content.mode == "ENABLE"
    spec = {
        "cron": cron.cron if cron else None,
        "enabled": enabled,
        "no_catchup": bool(content.no_catchup),
        "max_concurrency": int(content.max_concurrency or 1),
        "experiment": content.experiment_id,
        "pipeline": version.pipeline_id if version else None,
        "version": version.pipeline_version_id if version else content.pipeline_version_id,
        "parameters": dict((runtime.parameters if runtime else None) or {}),
        "made": applied.get("made") if applied else None,
        "service_account": content.service_account,
        "pipeline_root": runtime.pipeline_root if runtime else None,
    }
    name = str(content.display_name).removeprefix(PREFIX)
    made_for = str(made.get("cron", "")), str(made.get("zone", ""))
    return FoundSchedule(name, str(content.recurring_run_id), spec, applied, *made_for, enabled, content)


def _read(description: str) -> Mapping[str, Any]:
    """Return what the description of a recurring run holds; nothing where somebody edited it."""
    try:
        made = json.loads(description.removeprefix(_SENTENCE))
    except ValueError:
        return {}
    is_ours = isinstance(made, dict) and isinstance(made.get("spec"), dict)
    return made if is_ours else {}
