"""How the members of a group notice that one no longer lives.

A process that is stopped, or whose machine vanished, closes no connection: a collective would wait for it silently and
forever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Its times are read from the module whenever they are needed, since tests shorten them there.
from nofrost import rendezvous
from nofrost.error_file import write_error
from nofrost.errors import PeerLostError, printable, remark
from nofrost.ranks import ProcessRank
from nofrost.rendezvous import Member, barrier, open_store

if TYPE_CHECKING:
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]


# The last heartbeat of a member. Those that share the error of one that fails have some time, in heartbeats, to end by
# themselves.
_LEFT, _FAILED, _FAILED_AFTER = "left", "failed", 10
_NODES_LONGER = 5


@contextmanager
def watched(process: ProcessRank, message: str) -> Iterator[PrefixStore]:
    """Yield the store of a group of processes once all have started; until the end of the block none may be lost.

    Then this process ends with a sentence and the code of PeerLostError.

    A process is lost when it has missed LOST_AFTER heartbeats, although it has not left its block; when it has left
    its block by an error, some time ago; or when torchrun has ended. The main thread may be inside a collective, which
    nothing can interrupt; so this ends the process as a kill would. Saved work stays.

    Args:
        process: this one.
        message: the error, and what to do then.

    Raises:
        PeerLostError: a process has not started, or the name of the machine to meet at has not resolved.
        UserError: process 0 cannot open the store.
    """
    member = Member.of_process(process)

    def end(reason: str) -> None:
        error = PeerLostError(f"{reason}: {message}")
        write_error(str(error), error.exit_code)
        error.show()
        os._exit(error.exit_code)

    store = open_store(member)
    heartbeat = Heartbeat(store.clone(), member, end)
    try:
        barrier(member, store)
        heartbeat.all_have_started = True
        yield store
    except BaseException:
        heartbeat.leave(_FAILED)
        raise
    heartbeat.leave()


class Heartbeat:
    """Sends heartbeats to the other members, and counts those that they miss.

    A node is waited for a little longer than its processes are, which so end by themselves.

    Args:
        store: of the group; used by this alone.
        member: this one.
        on_lost: called in a thread, when a member is lost, with a clause that says which and why.

    Attributes:
        state: text that goes with the heartbeats of this member, by which it tells the others how it is.
        all_have_started: whether a member that never sent a heartbeat counts as lost.
    """

    # Two threads: one talks to the store, which may wait forever, the other counts. They share attributes with each
    # other and with the main thread without a lock: a value is only ever replaced as a whole, and no one iterates over
    # a dict whose keys change. A count may miss its reset while the other thread adds 1; the next heartbeat repeats it.

    def __init__(self, store: Any, member: Member, on_lost: Callable[[str], None]) -> None:
        self._store, self._member, self._on_lost = store, member, on_lost
        self.state, self.all_have_started = "", False
        self._lost_after = rendezvous.LOST_AFTER + (_NODES_LONGER if member.kind == "node" else 0)
        self._left, self._last = threading.Event(), _LEFT
        self._newest: dict[int, bytes] = {}
        # Heartbeats that each other member has missed since its newest one; -1 is the store itself.
        others = (other for other in range(member.size) if other != member.rank)
        self._missed = dict.fromkeys((-1, *others), 0)
        self._has_store = True
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._send_and_read, self._count)]
        for thread in self._threads:
            thread.start()

    def leave(self, last: str = _LEFT) -> None:
        """Send the last heartbeat, unless the store no longer answers; no one is lost any more."""
        self._last = last
        self._left.set()
        self._threads[0].join(5 * rendezvous.HEARTBEAT_S)

    @property
    def states(self) -> dict[int, str]:
        """What each other member has told of itself."""
        return {
            other: self._newest.get(other, b"").partition(b" ")[2].decode(errors="replace")
            for other in self._missed
            if other >= 0
        }

    def missed(self, other: int) -> int:
        """Return how many heartbeats a member has missed; all have, where the store does not answer."""
        return max(self._missed[other], self._missed[-1]) if self._has_store else self._lost_after

    def _send_and_read(self) -> None:
        number = 0
        # A thread that ended by any other error would leave a member that seems to be silent.
        try:
            while not self._left.is_set():
                number += 1
                self._send(str(number))
                self._missed[-1] = 0
                for other, heartbeat in self._read().items():
                    if heartbeat != self._newest.get(other):
                        self._newest[other] = heartbeat
                        self._missed[other] = 0
                self._left.wait(rendezvous.HEARTBEAT_S)
            self._send(self._last)
        except Exception:
            self._has_store = False

    def _send(self, heartbeat: str) -> None:
        # The state may have names of files that are not UTF-8.
        self._store.set(f"heartbeat/{self._member.rank}", printable(f"{heartbeat} {self.state}", keep="\n"))

    def _read(self) -> dict[int, bytes]:
        """Return the newest heartbeat of each other member that has sent one.

        Once all have, this is one request, however many there are: all members ask the same store at each heartbeat.
        """
        unheard = [other for other in self._missed if other >= 0 and other not in self._newest]
        if unheard and not self._store.check([f"heartbeat/{other}" for other in unheard]):
            unheard = [other for other in unheard if not self._store.check([f"heartbeat/{other}"])]
        else:
            unheard = []
        heard = [other for other in self._missed if other >= 0 and other not in unheard]
        # A request for a key that is not there would wait for it.
        heartbeats = self._store.multi_get([f"heartbeat/{other}" for other in heard]) if heard else []
        return dict(zip(heard, heartbeats, strict=True))

    def _count(self) -> None:
        """Count missed heartbeats, until a member is lost."""
        while not self._left.wait(rendezvous.HEARTBEAT_S):
            if not self._has_store:
                # Where process 0 hosts the store, it may have come to its end; if not, collectives notice.
                if self._member.kind == "node" or self._member.store_host:
                    self._on_lost(f"{self._member.name_of(-1)} has ended")
                return
            for other in self._missed:
                newest = self._newest.get(other, b"").partition(b" ")[0].decode()
                if newest != _LEFT and (newest or other < 0 or self.all_have_started):
                    self._missed[other] += 1
                if newest == _FAILED and self._missed[other] > _FAILED_AFTER:
                    self._on_lost(f"{self._member.name_of(other)} has ended by an error")
                elif newest != _LEFT:
                    self._judge(other)

    def _judge(self, other: int) -> None:
        """Warn about a member that has missed many heartbeats; one that has missed too many is lost."""
        # Where the store is silent, so are all: its host is to be named.
        if other >= 0 and self._missed[-1] > 1:
            return
        silent_s = self._missed[other] * rendezvous.HEARTBEAT_S
        silent = f"{self._member.name_of(other)} has given no sign of life for {silent_s:g} s"
        if self._missed[other] == rendezvous.WARNED_AFTER:
            remark(f"{silent}: is it stopped, or its machine gone?")
        elif self._missed[other] >= self._lost_after and not (other < 0 and self._member.can_outlive_store):
            self._on_lost(silent)
