"""How the members of a group notice that one no longer lives.

A process that is stopped, or whose machine vanished, closes no connection: a collective would wait for it without a
word and for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nofrost import rendezvous
from nofrost.error_file import write_error
from nofrost.errors import PeerLostError, printable, remark
from nofrost.ranks import ProcessRank
from nofrost.rendezvous import Member, await_all, open_store

if TYPE_CHECKING:
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]


# The last sign of a member. Those that share the error of one that fails have some beats to end by themselves.
_LEFT, _FAILED, _FAILED_AFTER = "left", "failed", 10
_NODES_LONGER = 5


@contextmanager
def watched(process: ProcessRank, message: str) -> Iterator[PrefixStore]:
    """Yield the store of a group of processes once all have come; until the end of the block none of them may be lost.

    Then this process ends with a sentence and the code of PeerLostError.

    A process is lost when it has given no sign of life for LOST_AFTER beats, although it has not left its block; when
    it has left its block by an error, some time ago; or when torchrun has ended. The main thread may be inside a
    collective, which nothing can interrupt; so this ends the process as a kill would. Saved work stays.

    Args:
        process: this one.
        message: the error, and what to do then.

    Raises:
        PeerLostError: a process has not come, or the name of the machine to meet at has not resolved.
        UserError: process 0 cannot open the store.
    """
    member = Member.of_process(process)

    def end(reason: str) -> None:
        error = PeerLostError(f"{reason}: {message}")
        write_error(str(error), error.exit_code)
        error.show()
        os._exit(error.exit_code)

    store = open_store(member)
    watch = Watch(store.clone(), member, end)
    try:
        await_all(member, store)
        watch.all_have_come = True
        yield store
    except BaseException:
        watch.leave(_FAILED)
        raise
    watch.leave()


class Watch:
    """Gives signs of life to the other members, and looks for theirs.

    Two threads: one talks to the store, which may wait for ever, one looks whether that goes on. A node is waited for a
    little longer than its processes are, which so end by themselves.

    Args:
        store: of the group; used by this alone.
        lose: called in a thread with what has happened to which member when one is lost.

    Attributes:
        state: one line that goes with the signs of this member, by which it tells the others how it is.
        all_have_come: whether members are missed of whom there has been no sign at all.
    """

    def __init__(self, store: Any, member: Member, lose: Callable[[str], None]) -> None:
        self._store, self._member, self._lose = store, member, lose
        self.state, self.all_have_come = "", False
        self._lost_after = rendezvous.LOST_AFTER + (_NODES_LONGER if member.kind == "node" else 0)
        self._left, self._last_sign = threading.Event(), _LEFT
        self._signs: dict[int, bytes] = {}
        # Beats since there was a sign of each other member; -1 is the store itself.
        others = (other for other in range(member.size) if other != member.rank)
        self._silent = dict.fromkeys((-1, *others), 0)
        self._has_store = True
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._beat, self._judge)]
        for thread in self._threads:
            thread.start()

    def leave(self, sign: str = _LEFT) -> None:
        """Give the last sign, that this member leaves, unless the store no longer answers; nobody is lost any more."""
        self._last_sign = sign
        self._left.set()
        self._threads[0].join(5 * rendezvous.BEAT_S)

    @property
    def states(self) -> dict[int, str]:
        """What each other member has told of itself."""
        return {
            other: self._signs.get(other, b"").partition(b" ")[2].decode(errors="replace")
            for other in self._silent
            if other >= 0
        }

    def silence(self, other: int) -> int:
        """Return for how many beats nothing was heard of a member; of all, where the store does not answer."""
        return max(self._silent[other], self._silent[-1]) if self._has_store else self._lost_after

    def _beat(self) -> None:
        """Give signs of life, and note those of others."""
        number = 0
        # A thread that ended by any other error would leave a member that seems to be silent.
        try:
            while not self._left.is_set():
                number += 1
                self._give(str(number))
                self._silent[-1] = 0
                for other, sign in self._look().items():
                    if sign != self._signs.get(other):
                        self._signs[other] = sign
                        self._silent[other] = 0
                self._left.wait(rendezvous.BEAT_S)
            self._give(self._last_sign)
        except Exception:
            self._has_store = False

    def _give(self, sign: str) -> None:
        # The state may have names of files that are not UTF-8.
        self._store.set(f"sign/{self._member.rank}", printable(f"{sign} {self.state}", keep="\n"))

    def _look(self) -> dict[int, bytes]:
        """Return the newest sign of each other member that has given one.

        Once all have, this is one request, however many there are: all members ask the same store once a beat.
        """
        unheard = [other for other in self._silent if other >= 0 and other not in self._signs]
        if unheard and not self._store.check([f"sign/{other}" for other in unheard]):
            unheard = [other for other in unheard if not self._store.check([f"sign/{other}"])]
        else:
            unheard = []
        heard = [other for other in self._silent if other >= 0 and other not in unheard]
        # A request for a key that is not there would wait for it.
        signs = self._store.multi_get([f"sign/{other}" for other in heard]) if heard else []
        return dict(zip(heard, signs, strict=True))

    def _judge(self) -> None:
        """Count the beats in which nothing was heard."""
        while not self._left.wait(rendezvous.BEAT_S):
            if not self._has_store:
                # Where process 0 keeps the store, it may have come to its end; if not, collectives notice.
                if self._member.kind == "node" or self._member.keeper:
                    self._lose(f"{self._member.name_of(-1)} has ended")
                return
            for other in self._silent:
                sign = self._signs.get(other, b"").partition(b" ")[0].decode()
                if sign != _LEFT and (sign or other < 0 or self.all_have_come):
                    self._silent[other] += 1
                if sign == _FAILED and self._silent[other] > _FAILED_AFTER:
                    self._lose(f"{self._member.name_of(other)} has ended by an error")
                elif sign != _LEFT:
                    # Only one of both is silent if the store lies with a member that is.
                    self._speak(other)

    def _speak(self, other: int) -> None:
        if other >= 0 and self._silent[-1] > 1:
            return
        silent = (
            f"{self._member.name_of(other)} has given no sign of life for {self._silent[other] * rendezvous.BEAT_S:g} s"
        )
        if self._silent[other] == rendezvous.WARNED_AFTER:
            remark(f"{silent}: is it stopped, or its machine gone?")
        elif self._silent[other] >= self._lost_after and not (other < 0 and self._member.can_outlive_store):
            self._lose(silent)
