"""How a task ends when it cannot do its work: as `nofrost` does, with one sentence and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nofrost.errors import ReportedError

P = ParamSpec("P")
R = TypeVar("R")


def exit_on_error(task: Callable[P, R]) -> Callable[P, R]:
    """Let `task` end the process in which it runs: code 2 for wrong input, 143 when stopped; a bug stays a traceback.

    The function itself, which raises, is its ``__wrapped__``.
    """

    @functools.wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return task(*args, **kwargs)
        except ReportedError as error:
            error.exit()

    return run
