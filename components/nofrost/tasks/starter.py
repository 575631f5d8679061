"""The starter: starts the processes of one node, passes signals on to them, and ends as the first failure ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofrost.cluster.job.settings import POD_GRACE_S
from nofrost.ends import End, first_cause
from nofrost.error_file import read_errors
from nofrost.errors import PeerLostError, StoppedError, reason, remark
from nofrost.network_interface import check_chosen_interface, interface_to
from nofrost.ranks import Node
from nofrost.tasks.task_exit import FailedProcessError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Processes that are asked to stop have this long to save; in the rest of the grace of a pod the save is published.
SHUTDOWN_S = POD_GRACE_S // 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_ON_REQUEST = (StoppedError.exit_code, -signal.SIGTERM)


def start(arguments: Sequence[str], gpus: int, node: Node) -> None:
    """Run `nofrost ARGUMENTS` in the processes of this node, and wait for all of them.

    They are started by torch's elastic library, but never restarted: all nodes of a job start again together, which the
    operator of the job cares for. torchrun itself always ends with exit code 1; here the code is the truth, of several
    failures that which caused the others.

    SIGTERM is passed on to the processes. They have 60 s to save with torch 2.12 or later; before, and after another
    process has failed, torch kills them after 30 s.

    Args:
        gpus: number of processes, one for each GPU; 0 is one process without.
        node: this machine among those of the job; on all of them this has to be called at about the same time.

    Raises:
        UserError: GLOO_SOCKET_IFNAME names no network interface of this machine.
        PeerLostError: another node has ended before all had started their processes.
        StoppedError: SIGTERM arrived, and the processes have ended.
        FailedProcessError: a process failed and printed its error; the others were stopped. The code is its exit
            code, or 128 and the number of the signal that ended it; 200 if it only lost processes of other nodes.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    # The processes would take each other for lost.
    check_chosen_interface()
    if node.count > 1:
        if interface := interface_to(node):
            # Gloo would take that of the host's name, which may be the loopback.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        chosen = {name: os.environ.get(name, "not set") for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
        remark(f"node {node.rank} of {node.count}, network interfaces: {', '.join(map('='.join, chosen.items()))}")
    with tempfile.TemporaryDirectory(prefix="nofrost-") as logs, _handlers_kept():
        try:
            elastic_launch(_config(max(gpus, 1), node, logs), sys.executable)("-m", "nofrost", *arguments)
            return
        except SignalException as error:
            number, failures = error.sigval, {}
        except ChildFailedError as error:
            number, failures = None, error.failures
        except RuntimeError as error:
            # From the store: in torch the starters wait for each other again, and one may end meanwhile.
            if node.count == 1:
                raise
            raise PeerLostError(
                f"another node has ended before all had started ({reason(error)}): start all again"
            ) from error
        ends = _ends(Path(logs), failures)
    _raise_cause(ends, number, max(gpus, 1))


def _config(processes: int, node: Node, logs: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    several: dict[str, Any] = {
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{node.host}:{node.port}",
        "rdzv_configs": {"rank": node.rank, "timeout": 600},
    }
    alone: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    if any(field.name == "shutdown_timeout" for field in dataclasses.fields(LaunchConfig)):
        several["shutdown_timeout"] = alone["shutdown_timeout"] = SHUTDOWN_S
    return LaunchConfig(
        min_nodes=node.count,
        max_nodes=node.count,
        nproc_per_node=processes,
        logs_specs=DefaultLogsSpecs(logs),
        run_id="nofrost",
        max_restarts=0,
        **(several if node.count > 1 else alone),
    )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the handlers of signals, which torch replaces by its own."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ends(logs: Path, failures: Mapping[int, ProcessFailure]) -> list[End]:
    """Return how the processes of this node ended: what they said themselves, else what torch saw."""
    seen = {
        # Torch counts whole seconds.
        str(failure.local_rank): End(failure.exitcode, at=failure.timestamp + 1.0)
        for failure in failures.values()
    }
    # A process that has said that it fails is also stopped, and one that was killed has said nothing.
    return list({**seen, **read_errors(logs)}.values())


def _raise_cause(ends: Sequence[End], number: signal.Signals | None, processes: int) -> None:
    """Raise the error for these ends of processes.

    Args:
        number: of the signal that the starter has got and passed on.
        processes: how many there were.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    cause = first_cause(ends) if ends else None
    if cause is None or cause.code in _ON_REQUEST:
        if number not in (None, signal.SIGTERM):
            raise FailedProcessError(128 + number, f"stopped by {number.name}")
        # Each process leaves a word before it ends by itself.
        has_saved = sum(end.code == StoppedError.exit_code for end in ends) == processes
        since = "after saving: the same command resumes from there" if has_saved else (
            "before all had saved: the same command resumes from the last save"
        )  # fmt: skip
        raise StoppedError(f"stopped {since}")
    if cause.code > 0:
        message = cause.message or f"a process ended with exit code {cause.code}: see the log"
        raise FailedProcessError(cause.code, message)
    message = f"a process was killed by signal {-cause.code} ({signal.strsignal(-cause.code)})"
    if cause.code == -signal.SIGKILL:
        message += ": look whether memory was short (of the machine, or the limit of the pod)"
    remark(message)
    raise FailedProcessError(128 - cause.code, message)
