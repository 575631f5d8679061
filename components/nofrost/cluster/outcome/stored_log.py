"""What a training job leaves in the store beside its refs: its output, and the log of rank 0 in pieces.

The output is the object ``nofrost/jobs/JOB/output`` with the text PATH@REF, written by node 0. The pieces are
``nofrost/jobs/JOB/log/NNNNNN-WRITER``, in order. Each has one writer, so that none writes over the lines of another
where two follow a job at once: two runs that share it, or the reaper and a launcher that adopts the job meanwhile. What
both have written is in the store twice, and read once.

The lines of a piece begin with their time; a line that begins with "#" names the pod whose lines follow.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator

from nofrost.cluster.outcome.log_lines import LogPosition, text_of
from nofrost.errors import UserError, remark
from nofrost.store import MissingError, Store

# A piece is written again while it grows, and closed when it is as large as this.
_PIECE = 1 << 20
_FLUSH_S = 30.0
# Pieces to keep for a store that does not answer.
_MOST_UNWRITTEN = 8
_POD = b"# pod "


def job_output_name(job: str) -> str:
    """Return the name of the object with the output of a job."""
    return f"nofrost/jobs/{job}/output"


def read_output(job: str, store: Store) -> str | None:
    """Return the output (PATH@REF) that a job has left; None if there is none."""
    try:
        return store.get(job_output_name(job)).decode(errors="replace").strip()
    except MissingError:
        return None


def log_prefix(job: str) -> str:
    """Return how the names of the pieces of a job's log begin."""
    return f"nofrost/jobs/{job}/log/"


class StoredLog:
    """The log of a job in the store, which continues where earlier writers have ended. A thread writes it.

    A store that refuses is no error: it is said once, and what was not written is written later, unless too much has
    come together. One that is slower than the log is waited for.

    Args:
        piece: bytes of a piece.
        flush_s: age that a line has at most when it is written, in seconds.

    Attributes:
        position: up to where others have written.
    """

    def __init__(self, job: str, store: Store, *, piece: int = _PIECE, flush_s: float = _FLUSH_S) -> None:
        self._prefix, self._store, self._most = log_prefix(job), store, piece
        self._writer = secrets.token_hex(4)
        # Pieces by number that are not written as they are now; the last one still grows.
        self._number, self._unwritten = 0, dict[int, bytearray]()
        self._pod, self._text = b"", bytearray()
        self._changing, self._writing, self._closed = threading.Lock(), threading.Lock(), threading.Event()
        self._is_refused = self._has_lost = False
        self.position = self._read_position()
        threading.Thread(target=self._run, args=(flush_s,), name="stored log", daemon=True).start()

    def begin(self, name: str, uid: str) -> None:
        """Note that the lines of another pod follow."""
        self._pod = _POD + f"{name} {uid}\n".encode()
        self._add(self._pod)

    def append(self, line: bytes) -> None:
        """Take a line with its time."""
        self._add(line + b"\n")

    def flush(self) -> bool:
        """Write what is not in the store yet; return whether everything is there."""
        with self._writing:
            with self._changing:
                pieces = {number: bytes(text) for number, text in self._unwritten.items()}
            for number, text in pieces.items():
                try:
                    self._store.put(f"{self._prefix}{number:06}-{self._writer}", text)
                except UserError as error:
                    if not self._is_refused:
                        remark(f"the log of the job is not in the store yet: {error}")
                    self._is_refused = True
                    return False
                with self._changing:
                    if len(self._unwritten.get(number, b"")) == len(text):
                        self._unwritten.pop(number, None)
        with self._changing:
            return not self._unwritten and not self._has_lost

    def close(self) -> bool:
        """Write what is not in the store yet, and end the thread; return whether everything is in the store."""
        self._closed.set()
        return self.flush()

    def _run(self, flush_s: float) -> None:
        while not self._closed.wait(flush_s):
            self.flush()

    def _add(self, text: bytes) -> None:
        with self._changing:
            self._text += text
            self._unwritten[self._number] = self._text
            if len(self._text) >= self._most:
                # Each piece says of itself which pod it is of.
                self._number, self._text = self._number + 1, bytearray(self._pod)
            is_full = len(self._unwritten) > _MOST_UNWRITTEN
        if is_full and not self.flush():
            with self._changing:
                if len(self._unwritten) > _MOST_UNWRITTEN:
                    first, self._has_lost = min(self._unwritten), True
                    lost = len(self._unwritten.pop(first))
                    remark(f"{lost:,} bytes of the log are lost: {self._store.url} refuses them")

    def _read_position(self) -> LogPosition:
        """Return up to where others have written, and begin the piece after theirs."""
        try:
            names = sorted(self._store.objects(self._prefix))
            if not names:
                return LogPosition()
            # The lines of one second may be in two pieces.
            last = b"".join(self._store.get(name) for name in names[-2:])
            self._number = int(names[-1].removeprefix(self._prefix).partition("-")[0]) + 1
        except (UserError, ValueError) as error:
            # The time makes names that come after all others.
            self._number = int(time.time())
            remark(f"the log of an earlier launcher cannot be continued: {error}")
            return LogPosition()
        position = LogPosition()
        for line in last.split(b"\n"):
            if line.startswith(_POD):
                self._pod, uid = line + b"\n", line.split()[-1].decode(errors="replace")
                self._text = bytearray(self._pod)
                if uid != position.uid:
                    position = LogPosition(uid=uid)
            elif line:
                position.take(line)
        return position


def read_log(job: str, store: Store) -> Iterator[str]:
    """Yield the lines of the log of a job without their times, those of each pod once.

    Raises:
        UserError: the store refuses; UnavailableError: it does not answer.
    """
    told = set[bytes]()
    for name in sorted(store.objects(log_prefix(job))):
        pod, lines = b"", set[bytes]()
        for line in filter(None, store.get(name).split(b"\n")):
            if line.startswith(_POD):
                pod = line
                continue
            # Times have nanoseconds: what stands in an earlier piece as well was written by two.
            if pod + line not in told:
                yield text_of(line)
            lines.add(pod + line)
        told |= lines
