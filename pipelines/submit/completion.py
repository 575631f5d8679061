"""Bring a run to its end: wait for it, and start it again if it failed."""

import time
from collections.abc import Callable

from nofrost.errors import RunFailedError, UserError, say
from nofrost.store import Store
from pipelines.submit.api import Api
from pipelines.submit.run_notes import TaskError, errors_of_tasks, note_of_finish
from pipelines.submit.start import StartedRun
from pipelines.submit.waiting import EndedError, wait


def complete(
    start: Callable[[], StartedRun], api: Api, store: Store, *, resubmit: int = 0, deadline: float | None = None
) -> StartedRun:
    """Start a run and wait until it has succeeded.

    A run that failed is started again: what its tasks finished is in Kubeflow's cache, and what a training or an
    evaluation saved is in the store, so the new one goes on from there. Not if a task ended because of wrong input,
    which would end it again, nor if somebody cancelled the run.

    Args:
        start: starts it, each time with the same pipeline and arguments.
        store: of the run; the errors that its tasks wrote there are printed on standard error.
        resubmit: how often it may be started again.
        deadline: of all waiting together, by the monotonic clock; None to wait for ever.

    Returns:
        The run that succeeded.

    Raises:
        RunFailedError: the last run did not succeed, or the waiting timed out while it goes on.
        UserError: it could not be started, or may not be read.
    """
    left = resubmit
    while True:
        run = start()
        say(f"run {run.run_id}: {run.url}")
        try:
            wait(run.run_id, api, timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            return run
        except EndedError as error:
            why_not = _reason_to_stop(error, _shown_errors(run.run_id, store))
            if not left or why_not:
                raise RunFailedError(f"{error}{why_not if resubmit else ''}") from None
            left -= 1
            say(f"{error}; it is started again, and may be {left} more times")


def _shown_errors(run_id: str, store: Store) -> list[TaskError]:
    """Print what a run left in the store about its end, and return the errors of its tasks."""
    errors = errors_of_tasks(run_id, store)
    for error in errors:
        say(f"run {run_id}: task {error.task} ended with {error.exit_code}: {error.message}")
    if note := note_of_finish(run_id, store):
        say(f"run {run_id}: finish recorded {note}")
    return errors


def _reason_to_stop(ended: EndedError, errors: list[TaskError]) -> str:
    """Return why a run is not started again, as the end of a sentence; empty if it is."""
    if ended.state != "FAILED":
        return "; it is not started again, as it did not fail by itself"
    wrong = [error.task for error in errors if error.exit_code == UserError.exit_code]
    if wrong:
        return f"; it is not started again, as the input of {', '.join(wrong)} is wrong: correct it first"
    return ""
