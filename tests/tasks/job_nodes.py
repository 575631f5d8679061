"""Runs the nodes of a job in forks: each calls all_nodes with a block of BLOCKS. `python job_nodes.py`

A line of standard input is a list of names of blocks as JSON, one for each node; the answer is a line with the list of
the ends of the nodes, each a list of its exit code, negative for a signal, and what it printed on standard error.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from nofrost import rendezvous
from nofrost.errors import ReportedError, StoppedError, UserError, say
from nofrost.ranks import Node
from nofrost.stopping import stop_requested, stopped_by_sigterm
from nofrost.tasks import nodes
from nofrost.tasks.nodes import Start, all_nodes
from nofrost.tasks.task_exit import FailedProcessError

# Twenty times as fast as in earnest.
rendezvous.HEARTBEAT_S, rendezvous.LATE_AFTER = 0.05, 60
LIMIT_S = 60.0
Block = Callable[[Start], None]


def ends_with(error: BaseException) -> Block:
    def block(start: Start) -> None:
        raise error

    return block


def started(*, and_then: Block) -> Block:
    """The block starts its processes first, which takes two beats."""

    def block(start: Start) -> None:
        nodes.start = lambda *_: time.sleep(2 * rendezvous.HEARTBEAT_S)
        start([], 1)
        and_then(start)

    return block


def fails_in_start(error: BaseException, after_s: float = 0.0) -> Block:
    """The processes that the block starts end in this way."""

    def block(start: Start) -> None:
        def end(*_: object) -> None:
            say("processes are started")
            time.sleep(after_s)
            raise error

        nodes.start = end
        start([], 1)

    return block


def saves_for_long(start: Start) -> None:
    """SIGTERM comes while it trains; its processes then save for longer than other nodes wait for it."""

    def end(*_: object) -> None:
        with stop_requested():
            os.kill(os.getpid(), signal.SIGTERM)
            # Longer than until a node stops itself.
            end_at = time.monotonic() + 1.2 * nodes._NOTICED_AFTER * rendezvous.HEARTBEAT_S
            handler = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, _again)
            while time.monotonic() < end_at:
                time.sleep(rendezvous.HEARTBEAT_S)
            signal.signal(signal.SIGTERM, handler)
        say("saved")
        raise StoppedError("stopped after saving")

    nodes.start = end
    start([], 1)


def _again(*_: object) -> None:
    raise KeyError("SIGTERM came again")


def stopped_at_the_end(start: Start) -> None:
    """SIGTERM comes when it is done and waits for node 0."""
    started(and_then=lambda _: None)(start)
    threading.Timer(6 * rendezvous.HEARTBEAT_S, os.kill, (os.getpid(), signal.SIGTERM)).start()


def kill(number: int) -> Block:
    return lambda _: os.kill(os.getpid(), number)


BLOCKS: dict[str, Block] = {
    "ok": started(and_then=lambda _: None),
    "wrong": ends_with(UserError("the dataset is wrong")),
    "bug": ends_with(KeyError("a bug")),
    "waits": lambda _: time.sleep(LIMIT_S),
    "killed": kill(signal.SIGKILL),
    "frozen": kill(signal.SIGSTOP),
    "trains": fails_in_start(StoppedError("cannot happen"), LIMIT_S),
    "stopped": fails_in_start(StoppedError("stopped after saving")),
    "rank lost": fails_in_start(FailedProcessError(200, "another process is gone")),
    "rank killed": fails_in_start(FailedProcessError(137, "a process was killed by signal 9")),
    "rank wrong": fails_in_start(FailedProcessError(2, "the loss is not finite"), 0.5),
    "saves for long": saves_for_long,
    "stopped at the end": stopped_at_the_end,
    "pushes slowly": started(and_then=lambda _: time.sleep(20 * rendezvous.HEARTBEAT_S)),
    "push fails": started(and_then=ends_with(ReportedError("the store is busy"))),
    "killed in push": started(and_then=kill(signal.SIGKILL)),
}


def become(name: str, node: Node, log: str) -> None:
    """Run a block as a task runs it, and end the process."""
    with open(log, "w", buffering=1) as errors:  # noqa: PTH123
        os.dup2(errors.fileno(), 2)
    code = 0
    try:
        with stopped_by_sigterm(), all_nodes(node) as start:
            BLOCKS[name](start)
    except ReportedError as error:
        error.show()
        code = error.exit_code
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def run(names: list[str], folder: str) -> list[tuple[int, str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    logs = [f"{folder}/{rank}" for rank in range(len(names))]
    children = []
    for rank, name in enumerate(names):
        if name == "absent":
            continue
        child = os.fork()
        if child == 0:
            become(name, Node(rank, len(names), "127.0.0.1", port), logs[rank])
        children.append((rank, child))
    ends = [(0, "")] * len(names)
    for rank, child in sorted(children, key=lambda pair: names[pair[0]] == "frozen"):
        if names[rank] == "frozen":
            # When all others have ended.
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ends[rank] = (os.waitstatus_to_exitcode(status), Path(logs[rank]).read_text())
    return ends


if __name__ == "__main__":
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as temporary:
            print(json.dumps(run(json.loads(line), temporary)), flush=True)
    os._exit(0)
