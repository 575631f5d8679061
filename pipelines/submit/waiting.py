"""Waiting for a run, which ends as the run itself says and not as the connection to it does."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nofrost.errors import RunFailedError
from pipelines.submit.api import Api
from pipelines.submit.errors import ApiError
from pipelines.submit.submission import run_url

UNDER_WAY = {None, "RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "CANCELING", "PAUSED"}
UNSUCCESSFUL = {"FAILED": "failed", "CANCELED": "was cancelled", "SKIPPED": "was skipped"}
PATIENCE_S = 900.0  # without an answer

# What Kubeflow runs beside the tasks: what prepares them, the containers in them, groups and loops.
DRIVER = "-driver"
MACHINERY = {"root", "executor"}
GROUPS = ("iteration-", "for-loop-", "condition-", "exit-handler-", "exit-hook-")


def wait(run_id: str, api: Api, *, timeout: float | None = None, poll: float = 10.0) -> None:
    """Wait until the run has succeeded; show its tasks on standard error when they change.

    An API that does not answer for up to 15 minutes is asked again.

    Args:
        timeout: in seconds, after which no longer to wait; None to wait for ever.
        poll: seconds between two questions.

    Raises:
        RunFailedError: the run did not succeed, or it goes on and its end was not waited for.
        UserError: there is no such run, or we are not allowed to see it.
    """
    api.connect()
    shown = ""
    try:
        for run in _answers(run_id, api, math.inf if timeout is None else timeout, poll):
            line = f"run {run_id}: {describe(run)}"
            if line != shown:
                _say(line)
                shown = line
            if has_ended(run):
                break
    except KeyboardInterrupt:
        _say(f"no longer waiting; run {run_id} goes on: see {run_url(api, run_id)}")
        raise
    if run.state != "SUCCEEDED":
        raise RunFailedError(f"{failure(run)}: see {run_url(api, run_id)}")


def _answers(run_id: str, api: Api, timeout: float, poll: float) -> Iterator[Any]:
    """Ask for the run again and again, through times without an answer; ends with an error at last."""
    heard = time.monotonic()
    deadline = heard + timeout
    lost = False
    while True:
        try:
            run = api.run(run_id)
        except ApiError as error:
            if not error.passing:
                raise
            if time.monotonic() - heard > PATIENCE_S:
                why = f"no word of run {run_id} for {PATIENCE_S:g} s ({error})"
                raise RunFailedError(f"{why}: see {run_url(api, run_id)}") from None
            if not lost:
                _say(f"{error}; asking again, the run goes on")
            lost = True
        else:
            if lost:
                _say("the KFP API answers again")
            heard, lost = time.monotonic(), False
            yield run
        left = deadline - time.monotonic()
        if left <= 0:
            why = f"run {run_id} has not ended after {timeout:g} s and goes on"
            raise RunFailedError(f"{why}: see {run_url(api, run_id)}")
        time.sleep(min(poll, left))


def has_ended(run: Any) -> bool:
    """Return whether a run has ended; one in a state that is unknown here has when it says at what time."""
    if run.state in UNDER_WAY:
        return False
    finished = run.finished_at is not None and run.finished_at.year > 1970  # the year in which nothing happened yet
    return run.state in {"SUCCEEDED", *UNSUCCESSFUL} or finished


def describe(run: Any) -> str:
    """Return a run's state, and the names of its tasks by theirs."""
    by_state: dict[str, Counter[str]] = {}
    for task in _tasks(run):
        by_state.setdefault(str(task.state).lower(), Counter())[task.display_name] += 1
    groups = [
        f"{state}: {', '.join(name if count == 1 else f'{name} x{count}' for name, count in sorted(names.items()))}"
        for state, names in sorted(by_state.items())
    ]
    return "; ".join([str(run.state), *groups])


def failure(run: Any) -> str:
    """Return how a run ended that did not succeed, with the tasks that failed and what is said of them."""
    how = UNSUCCESSFUL.get(run.state, f"ended as {run.state}, which is not known here")
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    failed = failed or [task for task in _details(run) if task.state == "FAILED"]  # nothing but Kubeflow's own did
    causes: dict[str, str] = {}
    for task in failed:
        causes[task.display_name] = causes.get(task.display_name) or _message(task)
    tasks = ", ".join(f"{name} ({message})" if message else name for name, message in causes.items())
    reasons = "; ".join(text for text in (tasks, _message(run)) if text)
    return f"run {run.run_id} {how}" + (f" at {reasons}" if tasks else f" ({reasons})" if reasons else "")


def _tasks(run: Any) -> list[Any]:
    """Return the tasks that the pipeline names, and of their drivers those that failed."""
    tasks = []
    for task in _details(run):
        name = task.display_name or ""
        base = name.removesuffix(DRIVER)
        workflow = any((child.pod_name or "").startswith(f"{name}-") for child in task.child_tasks or ())
        attempt = "(" in name  # as in executor(0)
        if not name or workflow or attempt or base in MACHINERY or base.startswith(GROUPS):
            continue
        if base == name or task.state == "FAILED":
            tasks.append(task)
    return tasks


def _details(run: Any) -> list[Any]:
    return list(run.run_details.task_details or ()) if run.run_details else []


def _message(part: Any) -> str:
    """Return what is said of the error of a run or a task, which many servers leave out."""
    errors = [part.error, *(entry.error for entry in reversed(part.state_history or ()))]
    return next((" ".join(error.message.split()) for error in errors if error and error.message), "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
