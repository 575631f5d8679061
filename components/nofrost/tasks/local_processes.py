"""Processes of a task on this machine: exit codes, and the start of several processes."""

import functools
import inspect
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from nofrost.errors import StoppedError, UserError, reason
from nofrost.stopping import stopped_by_sigterm
from nofrost.system_errors import as_reported, comes_from_machine
from nofrost.tasks.task_errors import clear_error, record_error

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

    What the disk or memory refuses is such an error too; others keep their traceback. The error is recorded in the
    store that the task's argument `store` names (:mod:`nofrost.tasks.task_errors`), and deleted there by a later try
    that succeeds. The original function, which raises, is ``__wrapped__``.

    Args:
        label: returns the name of the task in words, such as "train sat, seed 0", from its arguments, by their names.
    """

    def decorate(task: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(task)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = inspect.signature(task).bind(*args, **kwargs).arguments
            name, store = _label(label, arguments, task.__name__), str(arguments["store"])
            try:
                with stopped_by_sigterm():
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
                is_wrong = explained.exit_code == UserError.exit_code and not comes_from_machine(error)
                record_error(name, explained.exit_code, str(explained), store, input_is_wrong=is_wrong)
                sys.exit(explained.exit_code)
            clear_error(name, store)
            return output

        return run

    return decorate


def _label(label: Callable[..., str], arguments: Mapping[str, Any], fallback: str) -> str:
    # The arguments may be what is wrong.
    try:
        return label(**arguments)
    except Exception:
        return fallback.replace("_", "-")


def launch(arguments: Sequence[str], count: int) -> None:
    """Run `nofrost ARGUMENTS` in `count` processes as torchrun would, and wait for all.

    torchrun itself always ends with exit code 1; here the code is that of the first process that failed.

    Raises:
        StoppedError: SIGTERM arrived and was forwarded; the processes have saved their state and ended.
        FailedProcessError: a process failed and printed its error; the others were stopped. The code is its exit
            code, or 128 and the number of the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # elastic_launch installs a handler of its own and does not restore the old one.
    handler = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory(prefix="nofrost-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            logs_specs=DefaultLogsSpecs(logs),
            run_id=f"nofrost-{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "nofrost", *arguments)
        except SignalException as error:
            raise StoppedError("stopped after saving: the same command resumes from there") from error
        except ChildFailedError as error:
            failure = error.get_first_failure()[1]
            code = failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
            # Of a process that left no word (`nofrost.launcher.tell_torchrun`), torch has one for a signal only.
            has_message = failure.exitcode < 0 or Path(failure.error_file).is_file()
            message = failure.message if has_message else f"a process ended with exit code {code}: see the log"
            raise FailedProcessError(code, message) from None
        finally:
            signal.signal(signal.SIGTERM, handler)
