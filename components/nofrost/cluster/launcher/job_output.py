"""What a job has trained, or why it never can, as the store tells it; asked again while the store does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.outcome.job_result import JobResult, read_result, write_result
from nofrost.cluster.outcome.stored_log import read_output
from nofrost.errors import UnavailableError, UserError, printable, remark, say
from nofrost.store import Output, Store

T = TypeVar("T")


def output_of_job(name: str, store: Store, patience_s: float) -> str | None:
    """Return the output (PATH@REF) of a job that has succeeded; None if the store has none.

    Raises:
        UnavailableError: the store has not answered for `patience_s`.
    """
    return _checked(_answered(partial(read_output, name, store), patience_s))


def output_for_runs(name: str, runs: Iterable[str], store: Store, patience_s: float) -> str | None:
    """Return what a job has trained for one of these runs: its pods note it, and launchers that follow it too.

    Raises:
        UnavailableError: the store has not answered for `patience_s`.
    """
    for run in runs:
        result = _answered(partial(read_result, name, run, store), patience_s)
        if result and result.output:
            return _checked(result.output)
    return None


def note_result(name: str, run: str, result: JobResult, store: Store) -> None:
    """Note what the job has come to; a store that refuses is no error, as only another try would read it."""
    try:
        write_result(name, run, result, store)
    except UserError as error:
        remark(f"the result of the job is not in the store: {error}")


def _checked(output: str | None) -> str | None:
    return None if output is None else str(Output.parse(printable(output)))


def _answered(ask: Callable[[], T], patience_s: float) -> T:
    """Return `ask()`, which is called again while the store does not answer, for a while."""
    backoff, end = Backoff(), time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except UnavailableError as error:
            if time.monotonic() > end:
                raise
            say(f"{error}: asked again until it answers")
            time.sleep(backoff.next_s())
