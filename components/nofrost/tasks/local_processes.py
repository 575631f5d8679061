"""The processes of a task on this machine: how one ends, and how several are started."""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from nofrost.errors import ReportedError, StoppedError

P = ParamSpec("P")
R = TypeVar("R")


def exit_on_error(task: Callable[P, R]) -> Callable[P, R]:
    """Make `task` end its process with one sentence and the exit code of its error; a bug stays a traceback.

    The function itself, which raises, is its ``__wrapped__``.
    """

    @functools.wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return task(*args, **kwargs)
        except ReportedError as error:
            error.exit()

    return run


def launch(arguments: Sequence[str], count: int) -> None:
    """Run `nofrost ARGUMENTS` in `count` processes as torchrun would, and wait for all.

    torchrun itself ends with exit code 1 whatever happened; here the code is that of the first process that failed.

    Raises:
        StoppedError: SIGTERM came; it was passed on, and the processes have saved and ended.
        SystemExit: a process failed, after saying why; the others were stopped. The code is its exit code, or 128 and
            the number of the signal that ended it.
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
