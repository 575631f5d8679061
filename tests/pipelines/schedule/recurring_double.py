"""The double of the KFP API with recurring runs, and with their controller, for which a test is the clock.

What it does is what the server and the controller of scheduled workflows do (kubeflow/pipelines): cron expressions
have seconds first, and one of five fields is read so; without `no_catchup` all missed times are made up for, with it
the last one; `max_concurrency` is 1 to 10 and counts the runs of one recurring run alone. Before 2.17 its service
account is dropped (#13311). After 2.17 an account other than the default one has to be on a list (#14181; the words of
that refusal are ours).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError

from tests.pipelines.submit.kfp_double import API, ROUTES, Handler, KfpDouble

DEFAULT_ACCOUNT = "pipeline-runner"


class RecurringDouble(KfpDouble):
    """The API server and the controller.

    Attributes:
        recurring: the recurring runs, as the API shows them.
        allowed_accounts: service accounts that may be asked for; None for any.
        states: of runs, by id; others have succeeded.
        started: id, and account that its pods have, of each run that the controller started.
        lost: the next request that matches this is carried out, and its answer lost.
    """

    def __init__(self) -> None:
        super().__init__(RecurringHandler)
        self.recurring: list[dict[str, Any]] = []
        self.allowed_accounts: set[str] | None = None
        self.states: dict[str, str] = {}
        self.started: list[tuple[str, str]] = []
        self.lost = ""
        self.clock = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)

    def advance(self, to: datetime) -> list[str]:
        """Let the time pass, and return the ids of the runs that are started meanwhile."""
        before = len(self.runs)
        for recurring in self.recurring:
            if recurring["mode"] == "ENABLE":
                times = list(_due(recurring["trigger"]["cron_schedule"]["cron"], self.clock, to))
                for _ in times[-1:] if recurring.get("no_catchup") else times:
                    self._start(recurring)
        self.clock = to
        return [run_id(number) for number in range(before, len(self.runs))]

    def state(self, identifier: str) -> str:
        return self.states.get(identifier, "SUCCEEDED")

    def _start(self, recurring: dict[str, Any]) -> None:
        mine = [run_id(number) for number, run in enumerate(self.runs)
                if run.get("recurring_run_id") == recurring["recurring_run_id"]]  # fmt: skip
        if sum(self.state(each) == "RUNNING" for each in mine) >= int(recurring["max_concurrency"]):
            return
        kept = ("experiment_id", "pipeline_version_reference", "runtime_config", "recurring_run_id")
        self.runs.append({"display_name": f"{recurring['display_name']}-{len(mine) + 1}"}
                         | {key: recurring[key] for key in kept})  # fmt: skip
        drops = self.version < "2.17"
        account = DEFAULT_ACCOUNT if drops else recurring.get("service_account", DEFAULT_ACCOUNT)
        self.started.append((run_id(len(self.runs) - 1), account))


def run_id(number: int) -> str:
    return f"run-{number + 1}"


def _due(cron: str, after: datetime, until: datetime) -> Iterator[datetime]:
    fields = cron.split()
    # As robfig/cron reads it: seconds first, and the day of week may be left out.
    fields += ["*"] * (6 - len(fields))
    for time in CronSim(" ".join(fields), after):
        if time > until:
            return
        yield time


class RecurringHandler(Handler):
    server: RecurringDouble

    def answer(self, *arguments: Any, **options: Any) -> None:
        if self.server.lost and re.fullmatch(self.server.lost, f"{self.command} {self.path}"):
            self.server.lost = ""
            self.close_connection = True
            return
        super().answer(*arguments, **options)

    def routes(self) -> dict[str, Callable[..., None]]:
        return {**ROUTES, **RECURRING_ROUTES}

    def list_recurring(self) -> None:
        found = self.in_namespace(self.server.recurring)
        size, first = int(self.query.get("page_size", 10)), int(self.query.get("page_token", 0))
        page: dict[str, Any] = {"recurringRuns": found[first : first + size]}
        if first + size < len(found):
            page["next_page_token"] = str(first + size)
        self.answer(200, page if found else {})

    def create_recurring(self) -> None:
        asked = json.loads(self.body)
        try:
            next(_due(asked["trigger"]["cron_schedule"]["cron"], self.server.clock, datetime.max.replace(tzinfo=UTC)))
        except (CronSimError, StopIteration):
            self.error(400, "Invalid input error: The cron expression is not valid.", 3)
            return
        account = asked.get("service_account")
        if account and self.server.allowed_accounts is not None and account not in self.server.allowed_accounts:
            self.error(403, f"service account {account} is not in ALLOWEDSERVICEACCOUNTS", 7)
            return
        reference = asked["pipeline_version_reference"]
        known = {(each["pipeline_id"], each["pipeline_version_id"]) for each in self.server.versions}
        assert (reference["pipeline_id"], reference["pipeline_version_id"]) in known
        asked["max_concurrency"] = str(min(10, max(1, int(asked.get("max_concurrency") or 1))))
        asked.setdefault("service_account", DEFAULT_ACCOUNT)
        asked["created_at"] = (self.server.clock + timedelta(seconds=len(self.server.recurring))).isoformat()
        if self.server.multi_user:
            experiments = {each["experiment_id"]: each for each in self.server.experiments}
            asked["namespace"] = experiments[asked["experiment_id"]].get("namespace", "")
        self.answer(200, self.server.add(self.server.recurring, "recurring_run_id", **asked))

    def enable(self, identifier: str) -> None:
        self._find(identifier)["mode"] = "ENABLE"
        self.answer(200, {})

    def delete(self, identifier: str) -> None:
        found = [each for each in self.server.recurring if each["recurring_run_id"] == identifier]
        if not found:
            self.error(404, f"ResourceNotFoundError: Job {identifier} not found.", 5)
            return
        self.server.recurring.remove(found[0])
        self.answer(200, {})

    def _find(self, identifier: str) -> dict[str, Any]:
        return next(each for each in self.server.recurring if each["recurring_run_id"] == identifier)

    def list_runs(self) -> None:
        assert self.query.get("sort_by") == "created_at desc"
        runs = [{**run, "run_id": run_id(number), "state": self.server.state(run_id(number))}
                for number, run in enumerate(self.server.runs)]  # fmt: skip
        if "experiment_id" in self.query:
            runs = [run for run in runs if run["experiment_id"] == self.query["experiment_id"]]
        self.answer(200, {"runs": runs[::-1][: int(self.query["page_size"])]})


RECURRING_ROUTES: dict[str, Callable[..., None]] = {
    f"GET {API}/recurringruns": RecurringHandler.list_recurring,
    f"POST {API}/recurringruns": RecurringHandler.create_recurring,
    f"POST {API}/recurringruns/([^/]+):enable": RecurringHandler.enable,
    f"DELETE {API}/recurringruns/([^/]+)": RecurringHandler.delete,
    f"GET {API}/runs": RecurringHandler.list_runs,
}
