"""Where schedules stand: when their next runs are, how the last one went, and what somebody has edited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nofrost.errors import UserError, closest
from pipelines.schedule.cron import Cron
from pipelines.schedule.definition import FoundSchedule
from pipelines.schedule.differences import differences
from pipelines.schedule.reconcile import Triggers
from pipelines.schedule.zone import load_zone
from pipelines.submit import Api


@dataclass(frozen=True)
class Status:
    """Where a schedule stands.

    Attributes:
        name: of the schedule.
        kind: of what starts its runs.
        cron, zone: as they are now.
        enabled: whether it starts runs.
        next_run: by the clock of the zone; None if there is none.
        last_run: id of the newest run among the hundred newest; "" if there is none.
        state: of that run, in Kubeflow's words.
        edited: a line for each thing that is otherwise than it was made.
    """

    name: str
    kind: str
    cron: str
    zone: str
    enabled: bool
    next_run: datetime | None
    last_run: str
    state: str
    edited: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "next_run": self.next_run.isoformat() if self.next_run else None}

    def text(self) -> str:
        """Return the lines for people."""
        lines = [f"{self.name}: {self.kind}, {self.cron} in {self.zone}{'' if self.enabled else ', switched off'}"]
        lines += [f"  next run: {clock_time(self.next_run)}"] if self.next_run else []
        lines += [f"  last run: {self.last_run}, {self.state}" if self.last_run else "  last run: none"]
        lines += [f"  edited by hand: {line}" for line in self.edited]
        return "\n".join(lines)


def clock_time(time: datetime) -> str:
    """Return a time by the clock of its zone, and in UTC."""
    offset = f"{time:%z}"
    return f"{time:%a %Y-%m-%d %H:%M} {offset[:3]}:{offset[3:]}, {time.astimezone(UTC):%Y-%m-%d %H:%M} in UTC"


def statuses(name: str | None, api: Api, all_triggers: Sequence[Triggers], now: datetime) -> list[Status]:
    """Return where the schedule of a name stands, or all of them.

    Raises:
        UserError: there is no such schedule, or an API refuses.
    """
    found = [(triggers.kind, each) for triggers in all_triggers for each in triggers.find()]
    if name is not None and name not in {each.name for _, each in found}:
        names = sorted({each.name for _, each in found})
        raise UserError(f"there is no schedule {name}: {closest(name, names)}there are {', '.join(names) or 'none'}")
    runs = api.newest_runs() if found else []
    chosen = [_status(kind, each, runs, now) for kind, each in found if name in (None, each.name)]
    return sorted(chosen, key=lambda status: status.name)


def _status(kind: str, found: FoundSchedule, runs: Sequence[Any], now: datetime) -> Status:
    # A recurring run has seconds before its five fields, and no zone of its own.
    cron = str(found.spec.get("schedule") or str(found.spec.get("cron") or "").removeprefix("0 "))
    zone = str(found.spec.get("timeZone") or "UTC")
    last = next(_runs_of(found, runs), None)
    return Status(
        name=found.name,
        kind=kind,
        cron=cron or "no times",
        zone=zone,
        enabled=found.enabled,
        next_run=_next_run(cron, zone, now) if found.enabled else None,
        last_run=str(last.run_id) if last else "",
        state=str(last.state or "PENDING") if last else "",
        edited=_edited(found),
    )


def _runs_of(found: FoundSchedule, runs: Sequence[Any]) -> Iterator[Any]:
    return (run for run in runs if run.recurring_run_id == found.id or run.description == f"schedule {found.name}")


def _next_run(cron: str, zone: str, now: datetime) -> datetime | None:
    """Return the next time; None where somebody has edited the schedule to what is none of ours."""
    try:
        return next(Cron.parse(cron).times(load_zone(zone), now), None)
    except UserError:
        return None


def _edited(found: FoundSchedule) -> tuple[str, ...]:
    if found.applied is None:
        return ("what it was made with is not noted in it any more",)
    return tuple(differences(found.applied, _seen(found.spec, found.applied)))


def _seen(spec: Any, applied: Any) -> Any:
    """Return what is in `spec` of the keys of `applied`: the server adds others."""
    if isinstance(spec, dict) and isinstance(applied, dict):
        return {key: _seen(spec.get(key), value) for key, value in applied.items()}
    if isinstance(spec, list) and isinstance(applied, list) and len(spec) == len(applied):
        return [_seen(old, new) for old, new in zip(spec, applied, strict=True)]
    return spec
