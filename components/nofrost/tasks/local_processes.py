"""Processes of a task on this machine: exit codes, and the start of several processes."""

import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from nofrost.errors import ReportedError, StoppedError
from nofrost.stopping import stopped_by_sigterm

P = ParamSpec("P")
R = TypeVar("R")


def exit_on_error(task: Callable[P, R]) -> Callable[P, R]:
    """Make `task` end the process with the message and exit code of a ReportedError; other errors keep their traceback.
    SIGTERM ends it with exit code 143.
    The original function, which raises, is ``__wrapped__``.
    """

    @functools.wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with stopped_by_sigterm():
                return task(*args, **kwargs)
        except ReportedError as error:
            error.exit()

    return run


def launch(arguments: Sequence[str], count: int) -> None:
    """Run `nofrost ARGUMENTS` in `count` processes as torchrun would, and wait for all.

    torchrun itself always ends with exit code 1; here the code is that of the first process that failed.

    Raises:
        StoppedError: SIGTERM arrived and was forwarded; the processes have saved their state and ended.
        SystemExit: a process failed and printed its error; the others were stopped. The code is its exit code,
            or 128 and the number of the signal that ended it.
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
            code = error.get_first_failure()[1].exitcode
            sys.exit(code if code > 0 else 128 - code)
        finally:
            signal.signal(signal.SIGTERM, handler)
