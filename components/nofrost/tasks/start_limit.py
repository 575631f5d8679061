"""The start limit: a training that was started again and again without a new save ends for good.

Operators restart without end, and Kubeflow counts its own tries only. So the starts are counted in the store, in the
object ``nofrost/unfinished/KEY/starts`` beside the saves of the training; `nofrost store gc` deletes it with those.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nofrost.cluster.job.identity import RUN_ID
from nofrost.errors import StoppedError, UserError
from nofrost.stopping import TerminatedError
from nofrost.store import MissingError, Store
from nofrost.tasks.run_record import json_bytes
from nofrost.tasks.stored_saves import STARTS, read_pointer
from nofrost.tasks.task_errors import errors_of

START_LIMIT = 3


@contextmanager
def limited_start(saves: Store, title: str, store: Store) -> Iterator[None]:
    """Count the block as a start of a training since its newest save, and refuse it beyond the start limit.

    Starts count for the run that NOFROST_RUN_ID names, and not at all without that variable. A block that SIGTERM ends
    does not count: an eviction says nothing about the training. To be entered by one process, before it waits for other
    nodes, which may be what does not work.

    Args:
        saves: the store of the saves of this training alone.
        title: the training in words, such as "train sat, seed 0".
        store: of the errors of the run.

    Raises:
        UserError: START_LIMIT starts in this run have made no new save.
    """
    run = os.environ.get(RUN_ID)
    if not run:
        yield
        return
    save = _save(saves)
    starts = _starts_since(save, saves)
    if starts.get(run, 0) >= START_LIMIT:
        vain = f"{title} was started {starts[run]} times in run {run} without a new save, and is not started again"
        last = _last_error(run, title, store)
        # That of another start after the last one is this sentence.
        raise UserError(last if last.startswith(vain) else f"{vain}: {_advice(last)}")
    _put(save, {**starts, run: starts.get(run, 0) + 1}, saves)
    try:
        yield
    except (StoppedError, TerminatedError):
        # The process ends as it was asked to, also if the store refuses.
        with suppress(Exception):
            starts = _starts_since(save, saves)
            if starts.get(run) and _save(saves) == save:
                _put(save, {**starts, run: starts[run] - 1}, saves)
        raise


def _last_error(run: str, title: str, store: Store) -> str:
    """Return the newest error that a start has recorded; "" without one."""
    with suppress(UserError):
        return next((error.message for error in reversed(errors_of(run, store)) if error.task == title), "")
    return ""


def _advice(last: str) -> str:
    ended = f"the last start ended with: {last}: " if last else ""
    return f"{ended}look at the logs, such as for memory; then submit again, as a new run counts from zero"


def _save(saves: Store) -> str | None:
    pointer = read_pointer(saves)
    return pointer.decode(errors="replace") if pointer else None


def _put(save: str | None, starts: dict[str, int], saves: Store) -> None:
    saves.put(STARTS, json_bytes({"save": save, "starts": starts}))


def _starts_since(save: str | None, saves: Store) -> dict[str, int]:
    """Return the starts of each run that have not got beyond this save."""
    try:
        text = saves.get(STARTS)
    except MissingError:
        return {}
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        counted = json.loads(text)
        if counted["save"] == save:
            return {str(run): int(starts) for run, starts in counted["starts"].items()}
    return {}
