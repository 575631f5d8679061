"""Several processes of `nofrost` on this machine, started as torchrun starts them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence

from nofrost.errors import StoppedError


def launch(arguments: Sequence[str], count: int) -> None:
    """Run `nofrost ARGUMENTS` in `count` processes that know of one another, to the end of all.

    Like torchrun, but that its exit code is 1 whatever happened: here it is that of the first process that failed.

    Raises:
        StoppedError: SIGTERM came; it was passed on, and the processes have saved and ended.
        SystemExit: a process failed, after saying why; the others were stopped. The code is its exit code, or 128 and
            the number of the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    before = signal.getsignal(signal.SIGTERM)  # the launcher leaves its own
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
            raise StoppedError("stopped after saving: the same command goes on from there") from error
        except ChildFailedError as error:
            code = error.get_first_failure()[1].exitcode
            sys.exit(code if code > 0 else 128 - code)
        finally:
            signal.signal(signal.SIGTERM, before)
