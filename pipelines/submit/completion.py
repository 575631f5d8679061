"""Bring a run to its end: wait for it, and start it again if it failed."""

import math
import time
from collections.abc import Callable

from nofrost.errors import RunFailedError, UserError, remark, say
from nofrost.store import Store
from nofrost.tasks.run_record import read_record
from nofrost.tasks.task_errors import RecordedError, errors_of
from pipelines.submit.api import Api
from pipelines.submit.api_errors import TransientApiError
from pipelines.submit.start import StartedRun
from pipelines.submit.waiting import NO_ANSWER_TIMEOUT_S, EndedError, wait


def complete(
    start: Callable[[], StartedRun],
    api: Api,
    store: Store,
    *,
    resubmit: int = 0,
    deadline: float | None = None,
    patient: bool = False,
) -> StartedRun:
    """Start a run and wait until it has succeeded.

    A run that failed is started again: what its tasks finished is in Kubeflow's cache, and what a training or an
    evaluation saved is in the store, so the new one goes on from there. Not if a task ended because of wrong input,
    which would end it again, if somebody cancelled the run, or after the deadline.

    Args:
        start: starts it, each time with the same pipeline and arguments.
        store: of the run; the errors that its tasks wrote there are printed on standard error.
        resubmit: how often it may be started again.
        deadline: of all waiting together, by the monotonic clock; None to wait forever. The first run is started
            also after it.
        patient: try also the first start again while the API does not answer, as hours of work precede it.

    Returns:
        The run that succeeded.

    Raises:
        RunFailedError: the last run did not succeed, or the waiting timed out while it goes on.
        UserError: it could not be started, or may not be read. If only the API did not answer, an UnavailableError.
    """
    resubmitted = 0
    while True:
        run = _start_patiently(start, deadline) if patient or resubmitted else start()
        say(f"run {run.run_id}: {run.url}")
        try:
            wait(run.run_id, api, timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            return run
        except EndedError as error:
            why_not = _reason_to_stop(error, _shown_errors(run.run_id, store), deadline)
            if resubmitted == resubmit or why_not:
                raise RunFailedError(f"{error}{why_not if resubmit else ''}") from None
            resubmitted += 1
            say(f"{error}; it is started again ({resubmitted} of {resubmit})")


def _start_patiently(start: Callable[[], StartedRun], deadline: float | None, poll: float = 10.0) -> StartedRun:
    """Start a run. While the API does not answer, it is asked again for up to 15 minutes, or until the deadline.

    A request that may have started the run is not sent again: a second run would repeat all the work beside the first.
    """
    begin = time.monotonic()
    end = min(begin + NO_ANSWER_TIMEOUT_S, math.inf if deadline is None else deadline)
    unreachable = False
    while True:
        try:
            return start()
        except TransientApiError as error:
            # No run begins after the deadline.
            if time.monotonic() + poll > end:
                raise
            if not unreachable:
                say(f"{error}; trying again")
            unreachable = True
        time.sleep(poll)


def _shown_errors(run_id: str, store: Store) -> list[RecordedError]:
    """Print what a run left in the store about its end, of which Kubeflow knows nothing; return the errors of tasks."""
    try:
        errors = errors_of(run_id, store)
        record = read_record(run_id, store)
    except UserError as error:
        remark(f"what run {run_id} wrote to the store about its end cannot be read: {error}")
        return []
    for each in errors:
        say(f"run {run_id}: {each.task} ended with {each.exit_code}: {each.message}")
    if record is not None:
        # The record repeats the errors of tasks.
        why = f": {record.error}" if record.error and not errors else ""
        say(f"run {run_id}: finish recorded {record.state}{why}")
    return errors


def check_deadline(deadline: float | None, name: str) -> None:
    """Raise RunFailedError if the time to wait is over, so that the run of this name is not to be started."""
    if _is_over(deadline):
        raise RunFailedError(f"{name} is not started, as the time of --timeout is over: submit the same again to go on")


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _reason_to_stop(ended: EndedError, errors: list[RecordedError], deadline: float | None) -> str:
    """Return why a run is not started again, as the end of a sentence; empty if it is."""
    if ended.state != "FAILED":
        return "; it is not started again, as it did not fail by itself"
    wrong = [error.task for error in errors if error.input_is_wrong]
    if wrong:
        return f"; it is not started again, as the input of {', '.join(wrong)} is wrong: correct it first"
    if _is_over(deadline):
        return "; it is not started again, as the time of --timeout is over"
    return ""
