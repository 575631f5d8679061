"""Cron expressions of five fields: which are taken, and when they are due by the clock of a zone.

Kubernetes and Kubeflow start a run in each minute in which that clock shows a matching time. A time that the clock
skips is left out, and one that it shows twice is due twice (kubernetes/kubernetes#121594); Debian's cron moves the one
and leaves out the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from nofrost.errors import UserError, shortened
from nofrost.tasks.due_times import due_times

_NUMBER = r"([0-9]{1,2}|[A-Za-z]{3})"
# What cron of old knows. Extensions (L, W, #, ?) mean different things in different places, or nothing.
_TERM = re.compile(rf"(\*|{_NUMBER}(-{_NUMBER})?)(/[0-9]+)?")
_STEP_ALONE = re.compile(rf"{_NUMBER}/[0-9]+")
_SUNDAY = re.compile(r"(^|[,-])7")
_FORM = "write five fields, minute, hour, day of month, month and day of week, such as '0 3 * * 1'"


@dataclass(frozen=True)
class Cron:
    """A cron expression that means the same to Kubernetes, to Kubeflow and to cron.

    Attributes:
        text: its five fields, with a space between two.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Return the expression that `text` is.

        Raises:
            UserError: it has other than five fields or a wrong one, is never due, or its readers disagree about it.
        """
        fields = text.split()
        if text.strip().startswith(("@", "TZ=", "CRON_TZ=")):
            raise _refused(text, f"it has words of its own: {_FORM}, and the zone with --time-zone")
        if len(fields) == 6:
            raise _refused(text, f"it has six fields, as Kubeflow writes them with seconds: {_FORM}")
        if len(fields) != 5:
            raise _refused(text, f"it has {len(fields)} field{'s' * (len(fields) != 1)}: {_FORM}")
        for field in fields:
            _check_field(text, field)
        day, weekday = fields[2], fields[4]
        if day != "*" != weekday and "*" in (day[0], weekday[0]):
            raise _refused(text, "cron, Kubernetes and Kubeflow do not agree whether both days have to match where one "
                           "is '*/N': write the days out, such as 1,3,5")  # fmt: skip
        try:
            parsed = CronSim(" ".join(fields), datetime(2001, 1, 1))
            if _SUNDAY.search(weekday):
                # Cron takes 0 and 7, Kubernetes 0 alone.
                fields[4] = ",".join(map(str, sorted({day % 7 for day in parsed.weekdays if isinstance(day, int)})))
            next(parsed)
        except CronSimError as error:
            wrong = str(error).removeprefix("Bad ").replace("-", " ")
            raise _refused(text, f"its {wrong} is impossible: {_FORM}") from None
        except StopIteration:
            raise _refused(text, f"no day matches it: {_FORM}") from None
        return cls(" ".join(fields))

    @property
    def six_fields(self) -> str:
        """The expression as Kubeflow's API takes it: with seconds first."""
        return f"0 {self.text}"

    @property
    def names_hours(self) -> bool:
        """Whether it is due at some hours of the day, and not in every hour or every so many: at most two are some."""
        hours, _, step = self.text.split()[1].partition("/")
        return hours != "*" or int(step or 1) >= 12

    def times(self, zone: tzinfo, after: datetime) -> Iterator[datetime]:
        """Yield when it is due after a time, as :func:`due_times` does."""
        return due_times(self.text, zone, after)

    def wall_times(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the times from `begin` to before `end` that a clock on the wall would show; all without a zone."""
        for time in CronSim(self.text, begin - timedelta(seconds=1)):
            if time >= end:
                return
            yield time


def _check_field(text: str, field: str) -> None:
    terms = field.split(",")
    for term in terms:
        if _STEP_ALONE.fullmatch(term):
            raise _refused(text, f"{term} has a step without a range: write */N or FIRST-LAST/N")
        if not _TERM.fullmatch(term):
            raise _refused(text, f"{shortened(term)} is no number, name, range or '*': {_FORM}")
        if "*" in term and len(terms) > 1:
            raise _refused(text, f"{shortened(field)} has a '*' among others: write the '*' alone, or leave it out")


def _refused(text: str, why: str) -> UserError:
    return UserError(f"--cron {shortened(text)}: {why}")
