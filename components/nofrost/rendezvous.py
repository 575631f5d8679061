"""How the members of a group find each other: the processes that compute together, or the starters of a job's nodes.

:mod:`nofrost.heartbeat` notices that one no longer lives.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from nofrost.errors import PeerLostError, UserError, reason, remark, shortened
from nofrost.ranks import Node, ProcessRank

# Time is counted in heartbeats, not by the clock: members that were all stopped, and continue, have missed nothing.
HEARTBEAT_S = 1.0
# Missed heartbeats, until standard error says so, and until the member is lost. All members end within a minute after
# one was lost.
WARNED_AFTER = 15
LOST_AFTER = 40
# Starting takes longer: machines get their images and load torch at different speeds.
LATE_AFTER = 600
# A name that does not resolve is soon said: it is rather wrong than late.
UNRESOLVED_AFTER = 3


# Numbers the groups of this process, which all processes join in the same order.
_groups = itertools.count()


@dataclass(frozen=True)
class Member:
    """One of those that share a store of torch.distributed.

    Attributes:
        rank: its number, from 0.
        size: number of all members.
        host, port: where the store listens.
        kind: what the members are, in words.
        prefix: of the variables MASTER_ADDR and MASTER_PORT, which say so.
        store_host: who hosts the store, in words; None for the first member.
        hosts_store: whether this one does.
        can_outlive_store: whether it continues if the store falls silent, as the store's host may be stopped by hand
            (Ctrl-Z).
    """

    rank: int
    size: int
    host: str
    port: int
    kind: str = "process"
    prefix: str = ""
    store_host: str | None = None
    hosts_store: bool = False
    can_outlive_store: bool = False

    @classmethod
    def of_process(cls, process: ProcessRank) -> Member:
        """Return this process as a member, where the variables of torchrun say."""
        torchrun_hosts = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return cls(
            process.rank,
            process.size,
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            store_host="the starter of process 0" if torchrun_hosts else None,
            hosts_store=process.rank == 0 and not torchrun_hosts,
            # Torchrun hosts the store on the first machine, where the local rank is the rank.
            can_outlive_store=torchrun_hosts and process.rank == process.local_rank,
        )

    @classmethod
    def of_node(cls, node: Node) -> Member:
        """Return the starter of this node as a member."""
        return cls(node.rank, node.count, node.host, node.port, "node", "PET_", hosts_store=node.rank == 0)

    @property
    def place(self) -> str:
        """Where the store is, as the end of a sentence about a member that has not started."""
        at, names = f"{self.host}:{self.port}", f"{self.prefix}MASTER_ADDR and {self.prefix}MASTER_PORT"
        return f" or cannot be reached at {at}, which {names} name"

    @property
    def name(self) -> str:
        """This member in words."""
        return self.name_of(self.rank)

    def name_of(self, other: int) -> str:
        """Return a member in words; -1 is the host of the store."""
        if other < 0:
            return self.store_host or self.name_of(0)
        return f"{self.kind} {other} of {self.size}"


def open_store(member: Member) -> PrefixStore:
    """Return the store of torch.distributed in which the members of a group find each other.

    Raises:
        PeerLostError: the first member has not started, or the name of its machine has not resolved.
        UserError: the first member cannot open the store.
    """
    _await_name(member)
    # torchrun hosts one store for all groups and all its attempts, whose keys must differ.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    prefix = "nofrost/nodes" if member.kind == "node" else f"nofrost/{attempt}/{next(_groups)}"
    waited = 0
    while True:
        connection = _Connection(member, prefix)
        try:
            while not connection.has_ended.wait(HEARTBEAT_S):
                waited += 1
                _report_late(member, 0, waited, member.place)
        except BaseException:
            # A thread that returns from torch while Python ends would abort the process.
            connection.has_ended.wait(LOST_AFTER * HEARTBEAT_S)
            raise
        if connection.store is not None:
            return connection.store
        if member.hosts_store:
            other_way = ", or start with torchrun" if member.kind == "process" else ""
            raise UserError(
                f"{member.name} cannot open port {member.port} for the others, which {member.prefix}MASTER_PORT gives "
                f"({shortened(connection.error)}): choose another port{other_way}"
            )
        # Some addresses are refused at once.
        time.sleep(HEARTBEAT_S)
        waited += 1
        _report_late(member, 0, waited, member.place)


def barrier(member: Member, store: PrefixStore) -> None:
    """Wait until all members have called this.

    Raises:
        PeerLostError: one has not started, or the host of the store has ended.
    """
    waited, pause_s = 0, HEARTBEAT_S / 16
    try:
        store.set(f"at-barrier/{member.rank}", "")
        for other in range(member.size):
            # torch prints two lines whenever a `wait` of its store takes too long.
            while not store.check([f"at-barrier/{other}"]):
                time.sleep(pause_s)
                if pause_s < HEARTBEAT_S:
                    pause_s *= 2
                else:
                    waited += 1
                    _report_late(member, other, waited)
    except RuntimeError as error:
        raise PeerLostError(
            f"{member.name_of(-1)} has ended before all had started: look for its error, and start all again"
        ) from error


def _await_name(member: Member) -> None:
    """Wait until the name of the place resolves: names of pods do so some time after their start."""
    resolved, reasons = threading.Event(), ["no answer"]

    def look_up() -> None:
        for _ in range(LATE_AFTER):
            try:
                socket.getaddrinfo(member.host, None)
                resolved.set()
                return
            except (OSError, UnicodeError) as error:
                reasons[0] = reason(error)
            time.sleep(HEARTBEAT_S)

    # A look-up can take long, and nothing interrupts it.
    threading.Thread(target=look_up, daemon=True).start()
    if resolved.wait(UNRESOLVED_AFTER * HEARTBEAT_S):
        return
    name = f"the name {shortened(member.host)}, which {member.prefix}MASTER_ADDR gives,"
    remark(f"{member.name} waits: {name} does not resolve ({reasons[0]})")
    if not resolved.wait(LATE_AFTER * HEARTBEAT_S):
        raise PeerLostError(
            f"{name} has not resolved within {LATE_AFTER * HEARTBEAT_S:g} s ({reasons[0]}): correct it, and start "
            "all again"
        )


class _Connection:
    """Connects to the store in a thread, as torch waits without limit for a server that accepts and then is silent.

    Attributes:
        has_ended: set when there is a store, or an error.
        store: None without one, or if it is that of an earlier start of the first node.
        error: why there is no store, in one line.
    """

    def __init__(self, member: Member, prefix: str) -> None:
        self.has_ended, self.error = threading.Event(), ""
        self.store: PrefixStore | None = None
        threading.Thread(target=self._connect, args=(member, prefix), daemon=True).start()

    def _connect(self, member: Member, prefix: str) -> None:
        try:
            store = PrefixStore(prefix, _tcp_store(member))
            # The operator may start one node again while the first still ends.
            if member.kind == "process" or store.add(f"started/{member.rank}", 1) == 1:
                self.store = store
        except (RuntimeError, ValueError, OSError) as error:
            self.error = next(iter(str(error).splitlines()), "")
        finally:
            self.has_ended.set()


def _tcp_store(member: Member) -> TCPStore:
    store = TCPStore(
        # The name of a pod may not lead to it yet, or to the pod of before: its own store is here.
        "localhost" if member.hosts_store else member.host,
        member.port,
        member.size,
        is_master=member.hosts_store,
        timeout=timedelta(seconds=WARNED_AFTER * HEARTBEAT_S),
        wait_for_workers=False,
        multi_tenant=True,
    )
    # The time to connect was shorter. From here on, a request waits as long as a silent member is waited for.
    store.set_timeout(timedelta(seconds=LOST_AFTER * HEARTBEAT_S))
    return store


def _report_late(member: Member, other: int, waited: int, at: str = "") -> None:
    """Report a member that has not started: once in a sentence, and at the end as an error."""
    if waited == WARNED_AFTER:
        remark(f"{member.name} waits for {member.kind} {other}, which has not started yet{at}")
    if waited >= LATE_AFTER:
        raise PeerLostError(
            f"{member.name_of(other)} has not started within {LATE_AFTER * HEARTBEAT_S:g} s{at}: look for its "
            "error, and start all again"
        )
