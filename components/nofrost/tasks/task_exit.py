"""How a task ends its process: message, exit code, and the record of its error."""

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, ParamSpec, TypeVar

from nofrost.cluster.job.identity import FAILURE_CODE, JOB_NAME, RUN_ID
from nofrost.errors import UserError, reason
from nofrost.stopping import stopped_by_sigterm
from nofrost.system_errors import as_reported, comes_from_machine, exit_code_of_task
from nofrost.tasks.task_errors import clear_error, record_error
from nofrost.telemetry import log

P = ParamSpec("P")
R = TypeVar("R")


class FailedProcessError(SystemExit):
    """Ends a task with the exit code of one of its processes, which has printed its error.

    Attributes:
        message: that error.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code)
        self.message = message


def exit_on_error(label: Callable[..., str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a task end the process with the message and exit code of a ReportedError; SIGTERM ends it with 143.

    What the disk or memory refuses is such an error too, a disk with exit code 1, as another machine may have a better
    one; others keep their traceback. The error is recorded in the
    store that the task's argument `store` names (:mod:`nofrost.tasks.task_errors`), and deleted there by a later try
    that succeeds. The fields of a dataclass count as arguments. The original function, which raises, is
    ``__wrapped__``.

    Args:
        label: returns the name of the task in words, such as "train sat, seed 0", from its arguments, by their names.
    """

    def decorate(task: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(task)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = _flat(inspect.signature(task).bind(*args, **kwargs).arguments)
            name, store = _label(label, arguments, task.__name__), str(arguments["store"])
            try:
                with stopped_by_sigterm():
                    log.begin(os.environ.get(RUN_ID, ""), os.environ.get(JOB_NAME, ""))
                    output = task(*args, **kwargs)
            except FailedProcessError as error:
                code = int(error.code or 0)
                record_error(name, code, error.message, store, input_is_wrong=code == UserError.exit_code)
                raise
            except Exception as error:
                explained = as_reported(error)
                if explained is None:
                    record_error(name, 1, reason(error), store)
                    raise
                # First of all: recording it may take a while, or be ended by a kill.
                explained.show()
                code = exit_code_of_task(error, explained)
                is_wrong = code == UserError.exit_code and not comes_from_machine(error)
                record_error(name, code, str(explained), store, input_is_wrong=is_wrong)
                sys.exit(code)
            finally:
                log.end()
            clear_error(name, store)
            return output

        return run

    return decorate


@contextmanager
def failure_code() -> Iterator[None]:
    """End the process with the code that NOFROST_FAILURE_CODE names, where the block would end it for another try.

    Those are all codes below 128 but 0 and 2, of which some operators make the end of a job.
    """
    code = os.environ.get(FAILURE_CODE)
    if code is None:
        yield
        return
    try:
        yield
    except SystemExit as error:
        if isinstance(error.code, int) and 0 < error.code < 128 and error.code != UserError.exit_code:
            sys.exit(int(code))
        raise
    except Exception:
        traceback.print_exc()
        sys.exit(int(code))


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a task by their names, with the fields of dataclasses in their place."""
    return dict(
        pair
        for name, value in arguments.items()
        for pair in (vars(value).items() if is_dataclass(value) else [(name, value)])
    )


def _label(label: Callable[..., str], arguments: Mapping[str, Any], fallback: str) -> str:
    # The arguments may be what is wrong.
    try:
        return label(**arguments)
    except Exception:
        return fallback.replace("_", "-")
