"""The nodes of a job, on each of which this task runs: they begin together, and each tells the others how it ended.

The text of a node's heartbeats (:mod:`nofrost.heartbeat`) is where it stands, in this order:

- empty: it prepares its input;
- ``ready``: its processes are started once no node is before this, so that none waits for processes that never come;
- ``end CODE STARTED MESSAGE``: it ended with this exit code and error; STARTED is 1 if its processes were started;
- ``read CODE STARTED MESSAGE``: the same, and it has read how the others ended. Node 0, which hosts the store, leaves
  last.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from nofrost import rendezvous
from nofrost.ends import End, first_cause
from nofrost.errors import PeerLostError, ReportedError, StoppedError, UserError, reason
from nofrost.heartbeat import Heartbeat
from nofrost.ranks import Node
from nofrost.rendezvous import Member, barrier, open_store
from nofrost.stopping import MAIN_THREAD_GRACE_S, TerminatedError, sigterm_received, stop_requested
from nofrost.system_errors import as_reported, exit_code_of_task
from nofrost.tasks.starter import start
from nofrost.tasks.task_exit import FailedProcessError

Start = Callable[[Sequence[str], int], None]

# In heartbeats. Processes whose peers have ended notice it by themselves, and torch needs 30 s to end those that hang.
_NOTICED_AFTER = 45
# A node that is to stop, and is in a call that nothing interrupts, ends after that many heartbeats: before
# MAIN_THREAD_GRACE_S, after which it would end as if somebody had asked for it.
_STOPPED_AFTER = 8
assert _STOPPED_AFTER * rendezvous.HEARTBEAT_S < MAIN_THREAD_GRACE_S
# A node that ends waits for the ends of the others as long as they live, but not forever.
_GONE_AFTER, _SETTLED_AFTER = 10, 60
_READY = "ready"


@dataclass(frozen=True)
class _ToldEnd:
    """What a node tells the others of its end.

    Attributes:
        end: its end.
        has_started: whether it had started its processes.
        is_read: whether it has read the ends of the others.
    """

    end: End
    has_started: bool
    is_read: bool = False

    def __str__(self) -> str:
        return f"{'read' if self.is_read else 'end'} {self.end.code} {int(self.has_started)} {self.end.message}"

    @classmethod
    def parse(cls, state: str) -> _ToldEnd | None:
        """Return the end in what a node tells of itself; None as long as it has not ended."""
        match = re.fullmatch("(read|end) ([0-9]+) ([01]) (.*)", state, re.DOTALL)
        return cls(End(int(match[2]), match[4]), match[3] == "1", match[1] == "read") if match else None


def _end_by(error: BaseException) -> End:
    """Return how a node ends with an error."""
    if isinstance(error, FailedProcessError):
        return End(int(error.code or 0), error.message)
    if isinstance(error, TerminatedError):
        return End(StoppedError.exit_code)
    explained = as_reported(error) if isinstance(error, Exception) else None
    return End(exit_code_of_task(error, explained), str(explained)) if explained else End(1, reason(error))


@contextmanager
def all_nodes(node: Node) -> Iterator[Start]:
    """Run the block on every node of a job, once all have started; yield the function by which it starts its processes.

    That is :func:`nofrost.tasks.starter.start` for this node; it begins when all nodes have called it. A block that
    fails on one node ends on the others as well. A node ends as its block does, but for two things: wrong input of one
    is that of all, and a node other than 0 only succeeds if node 0 does, which alone writes the output. With one node
    nothing of this is needed.

    Raises:
        PeerLostError: another node has not started, or is lost, or has failed, and this one has no error of its own.
        UserError: the block has raised it on one of the nodes.
    """
    if node.count == 1:
        yield partial(start, node=node)
        return
    nodes = _Nodes(node)
    error: BaseException | None = None
    try:
        nodes.await_all()
        yield nodes.start
    except BaseException as raised:
        error = raised
        # Without the wish of others it would not have been stopped.
        if nodes.lost and isinstance(raised, TerminatedError | StoppedError):
            error = nodes.lost
    own = End(0) if error is None else _end_by(error)
    if (wrong := nodes.settle(own)) and own.code != wrong.exit_code:
        raise wrong from error
    if error is not None:
        raise error


class _Nodes:
    """What this node knows of the others.

    Attributes:
        lost: why this node has to end, which is one of the others.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._member = node, Member.of_node(node)
        self._others = [other for other in range(node.count) if other != node.rank]
        self.lost: ReportedError | None = None
        self._has_started, self._is_alone = False, threading.Event()
        self._store = open_store(self._member)
        self._heartbeat = Heartbeat(self._store.clone(), self._member, self._stop)
        threading.Thread(target=self._look_for_ends, daemon=True).start()

    def await_all(self) -> None:
        """Wait until all nodes have started."""
        barrier(self._member, self._store)
        self._heartbeat.all_have_started = True

    def start(self, arguments: Sequence[str], gpus: int) -> None:
        """Run processes on this node when all nodes have called this, and wait for them.

        Raises:
            PeerLostError: another node ended without having started its processes, or by wrong input.
        """
        self._heartbeat.state = _READY
        # Without a limit: a node that is lost meanwhile ends this by the SIGTERM of `_stop`.
        while not all(state == _READY or _ToldEnd.parse(state) for state in self._heartbeat.states.values()):
            time.sleep(rendezvous.HEARTBEAT_S / 4)
        # Processes would wait in vain for those of that node.
        for other, told in self._told().items():
            if told.end.is_wrong_input or not told.has_started:
                raise _lost_error(f"{self._member.name_of(other)} has ended with {told.end.code}")
        self._has_started = True
        try:
            start(arguments, gpus, self._node)
        finally:
            # What comes now, such as the last save, needs no other node.
            self._is_alone.set()

    def settle(self, own: End) -> ReportedError | None:
        """Tell the others how this node ended, and hear how they did; return the error that they have for this one."""
        self._is_alone.set()
        self._heartbeat.all_have_started = True
        # SIGTERM ends the waiting, but changes nothing about how the block ended.
        with stop_requested() as stop:
            if own.code == 0 and self._node.rank != 0:
                own = self._end_with_node_0(stop)
            self._heartbeat.state = str(_ToldEnd(own, self._has_started))
            self._await(self._others, _is_end, _GONE_AFTER, _SETTLED_AFTER, stop)
            ends = {other: told.end for other, told in self._told().items()}
            # Node 0 hosts the store: it stays until the others have read it.
            self._heartbeat.state = str(_ToldEnd(own, self._has_started, is_read=True))
            if self._node.rank == 0:
                self._await(self._others, _is_read, _GONE_AFTER, _SETTLED_AFTER, stop)
            self._heartbeat.leave()
        cause = first_cause([own, *ends.values()])
        if cause.is_wrong_input and not own.is_wrong_input:
            other = min(other for other, end in ends.items() if end == cause)
            return UserError(f"{self._member.name_of(other)}: {cause.message}")
        by_code = {error.exit_code: error for error in (PeerLostError, StoppedError)}
        return by_code[own.code](own.message) if own.code in by_code else None

    def _end_with_node_0(self, stop: threading.Event) -> End:
        """Return how this node ends, whose own part has succeeded, when node 0 has written the output or failed to."""
        self._await([0], _is_end, rendezvous.LOST_AFTER, None, stop)
        told = self._told().get(0)
        if told is None and stop.is_set():
            return End(StoppedError.exit_code, "stopped before node 0 had written the output: start all again")
        if told is None or told.end.code:
            how = f"has ended with {told.end.code}: {told.end.message}" if told else "is gone"
            return End(PeerLostError.exit_code, f"{self._member.name_of(0)} {how}")
        return End(0)

    def _await(
        self,
        others: Collection[int],
        is_told: Callable[[_ToldEnd | None], bool],
        gone_after: int,
        at_most: int | None,
        stop: threading.Event,
    ) -> None:
        """Wait until all of `others` have told something or are gone; at most for that many heartbeats."""
        for waited in itertools.count():
            told = self._told()
            silent = [other for other in others if not is_told(told.get(other))]
            are_gone = all(self._heartbeat.missed(other) >= gone_after for other in silent)
            if are_gone or stop.is_set() or waited == at_most:
                return
            time.sleep(rendezvous.HEARTBEAT_S)

    def _told(self) -> dict[int, _ToldEnd]:
        states = self._heartbeat.states.items()
        return {other: told for other, state in states if (told := _ToldEnd.parse(state))}

    def _look_for_ends(self) -> None:
        """Stop this node some time after another one has failed."""
        while not self._is_alone.wait(rendezvous.HEARTBEAT_S):
            failed = {other: told for other, told in self._told().items() if told.end.code}
            # Processes of the one that has failed were started only when this one was about to start its own.
            has_started = self._has_started or any(told.has_started for told in failed.values())
            if failed and not self._is_alone.wait(_NOTICED_AFTER * rendezvous.HEARTBEAT_S if has_started else 0):
                other, told = next(iter(failed.items()))
                self._stop(f"{self._member.name_of(other)} has ended with {told.end.code}")

    def _stop(self, what: str) -> None:
        """Stop this node, as a request to stop does; not one that was asked already, and saves, or ends as it can."""
        if self.lost or self._is_alone.is_set() or sigterm_received():
            return
        self.lost = _lost_error(what)
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._is_alone.wait(_STOPPED_AFTER * rendezvous.HEARTBEAT_S):
            self.lost.show()
            os._exit(self.lost.exit_code)


def _lost_error(what: str) -> PeerLostError:
    return PeerLostError(f"{what}: start all nodes again, and the work continues from the last save")


def _is_end(told: _ToldEnd | None) -> bool:
    return told is not None


def _is_read(told: _ToldEnd | None) -> bool:
    return told is not None and told.is_read
