"""Wait for a run. Only what the API reports of the run decides its outcome: a lost connection does not end it.

kfp's own `wait_for_run_completion` ends with the first request that fails, and never for a run that was cancelled.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nofrost.errors import RunFailedError, say
from pipelines.submit.api import Api
from pipelines.submit.api_errors import TransientApiError

ACTIVE = {None, "RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "CANCELING", "PAUSED"}
UNSUCCESSFUL = {"FAILED": "failed", "CANCELED": "was cancelled", "SKIPPED": "was skipped"}
NO_ANSWER_TIMEOUT_S = 900.0

DRIVER = "-driver"
# Kubeflow's own tasks, and those that only hold others: the nested pipeline of each recipe and seed is called run.
HOLDERS = re.compile(r"root|executor|run|exit-handler|exit-hook-.*")
# Kubeflow numbers the tasks of one component: evaluate-shard, evaluate-shard-2.
NUMBER = re.compile(r"-\d+(?=(-driver)?$)")


class EndedError(RunFailedError):
    """A run ended without success.

    Attributes:
        state: in which it ended, such as FAILED or CANCELED.
    """

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


def wait(run_id: str, api: Api, *, timeout: float | None = None, poll: float = 10.0) -> None:
    """Wait until the run has succeeded; print its tasks on standard error when they change.

    When the API does not answer, it is asked again for up to 15 minutes.

    Args:
        timeout: of the waiting, in seconds; None to wait forever.
        poll: seconds between two requests.

    Raises:
        EndedError: the run did not succeed.
        RunFailedError: the waiting timed out, or the API did not answer for too long, while the run goes on.
        UserError: there is no such run, or it may not be read with these credentials.
    """
    api.connect()
    shown = ""
    try:
        for run in _poll(run_id, api, math.inf if timeout is None else timeout, poll):
            line = f"run {run_id}: {describe(run)}"
            if line != shown:
                say(line)
                shown = line
            if has_ended(run):
                break
    except KeyboardInterrupt:
        say(f"no longer waiting; run {run_id} goes on: see {api.endpoint.run_url(run_id)}")
        raise
    if run.state != "SUCCEEDED":
        raise EndedError(f"{failure(run)}: see {api.endpoint.run_url(run_id)}", run.state)


def _poll(run_id: str, api: Api, timeout: float, poll: float) -> Iterator[Any]:
    """Yield the state of the run at each request; raise an error at the timeout or after too long without an answer."""
    last_answer = time.monotonic()
    deadline = last_answer + timeout
    unreachable = False
    while True:
        try:
            run = api.run(run_id)
        except TransientApiError as error:
            if time.monotonic() - last_answer > NO_ANSWER_TIMEOUT_S:
                why = f"no answer about run {run_id} for {NO_ANSWER_TIMEOUT_S:g} s ({error})"
                raise RunFailedError(f"{why}: see {api.endpoint.run_url(run_id)}") from None
            if not unreachable:
                say(f"{error}; trying again, the run goes on")
            unreachable = True
        else:
            if unreachable:
                say("the KFP API answers again")
            last_answer, unreachable = time.monotonic(), False
            yield run
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            why = f"run {run_id} has not ended after {timeout:g} s and goes on"
            raise RunFailedError(f"{why}: see {api.endpoint.run_url(run_id)}")
        time.sleep(min(poll, remaining))


def has_ended(run: Any) -> bool:
    """Return whether a run has ended. A run in a state that is unknown here has ended if it has an end time."""
    if run.state in ACTIVE:
        return False
    # A run that has not finished may have the Unix epoch as its end time.
    finished = run.finished_at is not None and run.finished_at.year > 1970
    return run.state in {"SUCCEEDED", *UNSUCCESSFUL} or finished


def describe(run: Any) -> str:
    """Return a run's state, and the names of its tasks by state."""
    by_state: dict[str, Counter[str]] = {}
    for task in _tasks(run):
        by_state.setdefault(str(task.state).lower(), Counter())[_title(task)] += 1
    groups = [
        f"{state}: {', '.join(name if count == 1 else f'{name} x{count}' for name, count in sorted(names.items()))}"
        for state, names in sorted(by_state.items())
    ]
    return "; ".join([str(run.state), *groups])


def failure(run: Any) -> str:
    """Return how an unsuccessful run ended, with the tasks that failed and their error messages."""
    how = UNSUCCESSFUL.get(run.state, f"ended in the unknown state {run.state}")
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    # If no task of the pipeline failed, one of Kubeflow's own did.
    failed = failed or [task for task in _details(run) if task.state == "FAILED"]
    causes: dict[str, str] = {}
    for task in failed:
        causes[_title(task)] = causes.get(_title(task)) or _message(task)
    tasks = ", ".join(f"{name} ({message})" if message else name for name, message in causes.items())
    reasons = "; ".join(text for text in (tasks, _message(run)) if text)
    return f"run {run.run_id} {how}" + (f" at {reasons}" if tasks else f" ({reasons})" if reasons else "")


def _tasks(run: Any) -> list[Any]:
    """Return the tasks of the pipeline, and those of their drivers that failed."""
    tasks = []
    for task in _details(run):
        name = task.display_name or ""
        base = _title(task).removesuffix(DRIVER)
        workflow = any((child.pod_name or "").startswith(f"{name}-") for child in task.child_tasks or ())
        attempt = "(" in name  # as in executor(0)
        if not name or workflow or attempt or HOLDERS.fullmatch(base):
            continue
        if not name.endswith(DRIVER) or task.state == "FAILED":
            tasks.append(task)
    return tasks


def _title(task: Any) -> str:
    return NUMBER.sub("", task.display_name or "")


def _details(run: Any) -> list[Any]:
    return list(run.run_details.task_details or ()) if run.run_details else []


def _message(run_or_task: Any) -> str:
    """Return the error message of a run or a task, or nothing: many servers leave it out."""
    errors = [run_or_task.error, *(entry.error for entry in reversed(run_or_task.state_history or ()))]
    return next((" ".join(error.message.split()) for error in errors if error and error.message), "")
