"""What a CronJob of a schedule does: it asks Kubeflow's API to start a run, once for each time of the schedule.

It needs no client of Kubeflow: everything but the name of the run is in the request that `python -m pipelines schedule`
has written into the CronJob.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from nofrost.errors import UnavailableError, UserError, printable, reason, remark
from nofrost.store import open_store
from nofrost.tasks.run_lease import RunGoesOnError, give_to_run, take_run_lease

# Environment variables of the pod: address of the API, and name of the job, which the time of the schedule ends.
HOST, JOB = "NOFROST_KFP_HOST", "NOFROST_SCHEDULED_JOB"
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"

_RUNS = "/apis/v2beta1/runs"
_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}


class Outcome(NamedTuple):
    """What became of a time of a schedule.

    Attributes:
        run_id: of the run that is started, or prevents it; "" where that one is being started.
        started: whether it is of this time; False where another run of the name goes on.
    """

    run_id: str
    started: bool


def start_scheduled_run(schedule: str, request: str, token_file: Path = Path(TOKEN_FILE)) -> Outcome:
    """Start the run of a time of a schedule, unless it was started before or another one of the name goes on.

    Args:
        schedule: its name, which is also that of the lease.
        request: body of the API's request as JSON, without the name of the run: that is the one of the job.
        token_file: file with the token of this pod for Kubeflow; without one there is no authorization.

    Raises:
        UserError: the API or the store refuses, or the environment or the request is not that of a schedule.
        UnavailableError: one of them cannot be reached, or the API may have started the run without saying so.
    """
    host, job = os.environ.get(HOST), os.environ.get(JOB)
    if not host or not job:
        raise UserError(f"{HOST} and {JOB} are not set: this command is for CronJobs of `python -m pipelines schedule`")
    try:
        body = json.loads(request)
        description, experiment = body["description"], body["experiment_id"]
        store = body["runtime_config"]["parameters"]["store"]
    except (ValueError, KeyError, TypeError):
        raise UserError("--request is not that of a schedule: make the CronJob again with `python -m pipelines "
                        "schedule`") from None  # fmt: skip
    api = _Api(host.rstrip("/"), token_file)
    body["display_name"] = job
    before = api.runs(experiment)
    # A pod before this one may have started it and not lived to see that.
    own = next((str(run["run_id"]) for run in before if run.get("display_name") == job), None)
    for run in before if own is None else ():
        if run.get("description") == description and run.get("state") not in _ENDED:
            return Outcome(str(run["run_id"]), started=False)
    # One that was killed without `finish` has no record, and would have the lease until the next time of a week.
    ended = {str(run["run_id"]) for run in before if run.get("state") in _ENDED}
    try:
        lease = take_run_lease(open_store(store), schedule, job, scheduled=True, ended=ended)
    except RunGoesOnError as error:
        if own:
            return Outcome(own, started=True)
        remark(str(error))
        return Outcome(error.run_id, started=False)
    run_id = own or api.start(body)
    give_to_run(lease, run_id, scheduled=True)
    return Outcome(run_id, started=True)


class _Api:
    """Kubeflow's API, asked once for each thing: the job is tried again by Kubernetes."""

    def __init__(self, host: str, token_file: Path) -> None:
        self._host, self._token_file = host, token_file
        self._pool = urllib3.PoolManager(retries=False)

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Return the newest runs of an experiment."""
        query = urlencode({"experiment_id": experiment, "page_size": 100, "sort_by": "created_at desc"})
        answer = self._ask("GET", f"{_RUNS}?{query}", None, "to list the runs")
        return list(answer.get("runs") or ())

    def start(self, body: Mapping[str, Any]) -> str:
        """Start a run and return its id."""
        run_id = self._ask("POST", _RUNS, body, "to start the run").get("run_id")
        if not run_id:
            raise UserError(f"{self._host} answers, but is not a KFP API: give its address with --cluster-host")
        return str(run_id)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, action: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._token_file.exists():
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        content = None if body is None else json.dumps(body).encode()
        try:
            response = self._pool.request(
                method, self._host + path, headers=headers, body=content, timeout=_TIMEOUT, redirect=False
            )
        except (HTTPError, OSError) as error:
            why = f"the KFP API at {self._host} does not answer when asked {action} ({reason(error)})"
            raise UnavailableError(f"{why}: check that pods of this namespace may reach it") from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if response.status >= 300:
            said = str(answer.get("message") or answer.get("error") or response.reason or "no reason given")
            what = f"the KFP API at {self._host} refuses {action} ({response.status}: {printable(said)[:400]})"
            if response.status == 429 or response.status >= 500:
                raise UnavailableError(f"{what}: it is tried again")
            remedy = "let the administrator of Kubeflow allow this pod's service account to do so"
            raise UserError(f"{what}: {remedy if response.status in (401, 403) else 'schedule it again'}")
        return answer
