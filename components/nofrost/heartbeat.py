"""How the processes of a group find each other, and notice that one no longer lives.

A process that is stopped, or whose machine vanished, closes no connection: a collective would wait for it without a
word and for ever.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from nofrost.errors import RunFailedError, UserError, reason, remark, shortened
from nofrost.launcher import ProcessRank

# Time is counted in beats, not by the clock: processes that were all stopped, and continue, have missed nothing.
BEAT_S = 1.0
# Without a sign of life, in beats: until standard error says so, and until the waiting ends.
WARNED_AFTER = 20
LOST_AFTER = 120
# Starting up takes longer: machines get their images and load torch at different speeds.
LATE_AFTER = 600
# A name that does not resolve is soon said: it is rather wrong than late.
UNRESOLVED_AFTER = 3


# Numbers the groups of this process, which all processes join in the same order.
_groups = itertools.count()


def meet(process: ProcessRank) -> PrefixStore:
    """Return the store of torch.distributed in which the processes of a group find each other, once all have come.

    Raises:
        RunFailedError: a process has not come, or the name of the machine to meet at has not resolved.
        UserError: process 0 cannot open the store.
    """
    _await_name(process, os.environ["MASTER_ADDR"])
    tcp = _open_store(process)
    # torchrun keeps one store for all groups and all its attempts, whose keys must differ.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"nofrost/{attempt}/{next(_groups)}", tcp)
    store.set(f"here/{process.rank}", "")
    waited = 0
    for other in range(process.size):
        while not store.check([f"here/{other}"]):
            with suppress(RuntimeError):
                store.wait([f"here/{other}"], timedelta(seconds=BEAT_S))
                break
            waited += 1
            _late(process, other, waited)
    return store


def _await_name(process: ProcessRank, host: str) -> None:
    """Wait until a name resolves: names of pods do so some time after their start."""
    resolved, reasons = threading.Event(), ["no answer"]

    def look_up() -> None:
        for _ in range(LATE_AFTER):
            try:
                socket.getaddrinfo(host, None)
                resolved.set()
                return
            except (OSError, UnicodeError) as error:
                reasons[0] = reason(error)
            time.sleep(BEAT_S)

    # A look-up can take long, and nothing interrupts it.
    threading.Thread(target=look_up, daemon=True).start()
    if resolved.wait(UNRESOLVED_AFTER * BEAT_S):
        return
    name = f"the name {shortened(host)}, which MASTER_ADDR gives,"
    remark(f"process {process.rank} of {process.size} waits: {name} does not resolve ({reasons[0]})")
    if not resolved.wait(LATE_AFTER * BEAT_S):
        raise RunFailedError(
            f"{name} has not resolved within {LATE_AFTER * BEAT_S:g} s ({reasons[0]}): correct it, and start all again"
        )


def _open_store(process: ProcessRank) -> TCPStore:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    keeps = process.rank == 0 and not _torchrun_keeps_store()
    waited = 0
    while True:
        started = time.monotonic()
        try:
            store = TCPStore(
                host,
                port,
                process.size,
                is_master=keeps,
                timeout=timedelta(seconds=WARNED_AFTER * BEAT_S),
                wait_for_workers=False,
                multi_tenant=True,
            )
            # From here on all have been heard of: who is silent is waited for as long as later.
            store.set_timeout(timedelta(seconds=LOST_AFTER * BEAT_S))
            return store
        except (RuntimeError, ValueError, OSError) as error:
            if keeps:
                raise UserError(
                    f"process 0 of {process.size} cannot open port {port} for the others, or not reach itself there at "
                    f"{host}, as MASTER_PORT and MASTER_ADDR say ({shortened(str(error).splitlines()[0])}): choose "
                    "another port, correct the address, or start with torchrun"
                ) from None
        # Some addresses are refused at once.
        time.sleep(BEAT_S)
        beats = round((time.monotonic() - started) / BEAT_S)
        for _ in range(min(max(beats, 1), WARNED_AFTER)):
            waited += 1
            _late(process, 0, waited, f" or cannot be reached at {host}:{port}, which MASTER_ADDR and MASTER_PORT name")


def _late(process: ProcessRank, other: int, waited: int, at: str = "") -> None:
    """Speak about a process that has not come: once, and at the end as an error."""
    if waited == WARNED_AFTER:
        waiting = f"process {process.rank} of {process.size} waits for process {other}"
        remark(f"{waiting}, which has not started yet{at}")
    if waited >= LATE_AFTER:
        raise RunFailedError(
            f"process {other} of {process.size} has not started within {LATE_AFTER * BEAT_S:g} s{at}: look for its "
            "error, and start all again"
        )


@contextmanager
def watched(store: Any, process: ProcessRank, message: str) -> Iterator[None]:
    """End this process with a sentence and code 1 if, in the block, another process of the group is lost.

    A process is lost when it has given no sign of life for LOST_AFTER beats, although it has not left its block; or
    when torchrun has ended. The main thread may be inside a collective, which nothing can interrupt; so this ends the
    process as a kill would. Saved work stays.

    Args:
        store: of the group; used by this alone, as a request to it may wait for ever.
        message: the error, and what to do then.
    """
    watch = _Watch(store, process, message)
    threads = [threading.Thread(target=target, daemon=True) for target in (watch.beat, watch.judge)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        watch.left.set()
        # Waits for the last sign, that this process leaves, unless the store no longer answers.
        threads[0].join(5 * BEAT_S)


class _Watch:
    """The two threads of :func:`watched`: one talks to the store, one looks whether that goes on."""

    def __init__(self, store: Any, process: ProcessRank, message: str) -> None:
        self._store, self._rank, self._size, self._message = store, process.rank, process.size, message
        # Torchrun keeps the store on the first machine, and can be stopped there (Ctrl-Z) while its processes go on.
        self._can_outlive_store = _torchrun_keeps_store() and process.rank == process.local_rank
        self.left = threading.Event()
        self._signs: dict[int, bytes] = {}
        # Beats since there was a sign of each other process; -1 is the store itself.
        self._silent = dict.fromkeys((-1, *(other for other in range(process.size) if other != process.rank)), 0)
        self._has_store = True

    def beat(self) -> None:
        """Give signs of life, and note those of others."""
        number = 0
        try:
            while not self.left.is_set():
                number += 1
                self._store.set(f"sign/{self._rank}", str(number))
                self._silent[-1] = 0
                for other in self._silent:
                    if other >= 0 and self._store.check([f"sign/{other}"]):
                        sign = self._store.get(f"sign/{other}")
                        if sign != self._signs.get(other):
                            self._signs[other] = sign
                            self._silent[other] = 0
                self.left.wait(BEAT_S)
            self._store.set(f"sign/{self._rank}", "left")
        except RuntimeError:
            self._has_store = False

    def judge(self) -> None:
        """Count the beats in which nothing was heard."""
        while not self.left.wait(BEAT_S):
            if not self._has_store:
                # Where process 0 keeps the store, it may have come to its end; if not, collectives notice.
                if _torchrun_keeps_store():
                    self._end("torchrun has ended")
                return
            for other in self._silent:
                if self._signs.get(other) != b"left":
                    self._silent[other] += 1
                    # Only one of both is silent if the store lies with a process that is.
                    self._speak(other)

    def _speak(self, other: int) -> None:
        if other >= 0 and self._silent[-1] > 1:
            return
        keeper = "torchrun" if _torchrun_keeps_store() else f"process 0 of {self._size}"
        name = f"process {other} of {self._size}" if other >= 0 else keeper
        silent = f"{name} has given no sign of life for {self._silent[other] * BEAT_S:g} s"
        if self._silent[other] == WARNED_AFTER:
            remark(f"{silent}: is it stopped, or its machine gone?")
        elif self._silent[other] >= LOST_AFTER and not (other < 0 and self._can_outlive_store):
            self._end(silent)

    def _end(self, reason: str) -> None:
        remark(f"{reason}: {self._message}")
        os._exit(RunFailedError.exit_code)


def _torchrun_keeps_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
