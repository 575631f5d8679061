"""A schedule: when it starts runs, and what each of them is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from nofrost.errors import UserError, shortened
from pipelines.schedule.cron import Cron

PREFIX = "nofrost-schedule-"
LABEL = "nofrost/schedule"
# The name of a CronJob has at most 52 characters, as its jobs have the time after it.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,33}[a-z0-9])?")


def can_name_a_schedule(name: str) -> bool:
    """Whether a schedule can have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return the name of a schedule.

    Raises:
        UserError: it cannot be one.
    """
    if not can_name_a_schedule(name):
        raise UserError(f"{shortened(name)} cannot name a schedule: write up to 35 characters of a-z, 0-9 and '-', "
                        "without '-' at either end")  # fmt: skip
    return name


@dataclass(frozen=True)
class RunSettings:
    """What each run of a schedule is started with; ids are those of Kubeflow's API.

    Attributes:
        parameters: of the pipeline.
        service_account, pipeline_root: None for the installation's own.
    """

    pipeline_id: str
    version_id: str
    experiment_id: str
    parameters: Mapping[str, str]
    service_account: str | None = None
    pipeline_root: str | None = None


@dataclass(frozen=True)
class Schedule:
    """A schedule as it is to be.

    Attributes:
        name: of the schedule, as :func:`check_name` allows it.
        study: name of the study.
    """

    name: str
    study: str
    cron: Cron
    zone: ZoneInfo
    run: RunSettings

    @property
    def full_name(self) -> str:
        """The name of what starts its runs: a recurring run, or a CronJob."""
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True)
class FoundSchedule:
    """What starts the runs of a schedule, as it is.

    Attributes:
        name: of the schedule.
        id: of the recurring run; uid of the CronJob.
        spec: how it is now.
        applied: how it was made; None where that cannot be read any more.
        zone, cron: as it was made for; "" where that cannot be read.
        enabled: whether it starts runs.
        content: the recurring run or CronJob itself.
    """

    name: str
    id: str
    spec: Mapping[str, Any]
    applied: Mapping[str, Any] | None
    cron: str
    zone: str
    enabled: bool
    content: Any
