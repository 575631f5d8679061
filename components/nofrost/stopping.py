"""SIGTERM: a command that is asked to stop cleans up, says one sentence and ends with exit code 143."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nofrost.errors import StoppedError, UserError, remark
from nofrost.ranks import process_rank

# How long the main thread may stay in a call outside of Python, such as one that waits for another process.
MAIN_THREAD_GRACE_S = 10.0
# On Linux: the signal that comes when the parent has ended.
_PR_SET_PDEATHSIG = 1
# How often it is looked whether the error, once raised, still ends the command.
_LOOK_S = 0.1
_AGAIN = "stopped: run the same command again"
_CONTINUES = "stopped: the same command continues from what was saved"
# The writing ends of the pipes of the blocks of :func:`stopped_by_sigterm` that this process is in.
_pipes: list[int] = []
# Whether SIGTERM has arrived in the outermost of these blocks, whoever handles it there.
_received = threading.Event()


class TerminatedError(BaseException):
    """SIGTERM was received. Not an `Exception`, so that code which survives those does not survive this.

    Attributes:
        saved: whether the same command continues from what was saved.
    """

    saved = False


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """End the block by a TerminatedError when the process receives SIGTERM; for the main thread, which gets signals.

    If that thread is in a call outside of Python that does not end, the process ends without it: what is on the disk is
    whole at any moment.

    Raises:
        StoppedError: at the end of the block, instead of the TerminatedError.
        SystemExit: the same in a process of torchrun that is not the first, which speaks for all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noticed, ended = threading.Event(), threading.Event()
    errors: weakref.WeakSet[TerminatedError] = weakref.WeakSet()

    def new_error() -> TerminatedError:
        error = TerminatedError()
        errors.add(error)
        noticed.set()
        return error

    def stop(*_: object) -> None:
        # A variable here would keep the error, which has this frame in its traceback.
        raise new_error()

    if not _pipes:
        _received.clear()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = signal.signal(signal.SIGTERM, stop)
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _pipes.append(writer)
    threading.Thread(target=_watch, args=(reader, stop, noticed, errors, ended), daemon=True).start()
    try:
        yield
    except TerminatedError as error:
        if not _is_first():
            sys.exit(StoppedError.exit_code)
        raise StoppedError(_CONTINUES if error.saved else _AGAIN) from None
    finally:
        ended.set()
        _pipes.remove(writer)
        signal.set_wakeup_fd(earlier)
        signal.signal(signal.SIGTERM, handler)
        # The thread reads the end of the pipe, and ends.
        os.close(writer)


def sigterm_received() -> bool:
    """Return whether this process has received SIGTERM inside of :func:`stopped_by_sigterm`."""
    return _received.is_set()


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Yield an event that is set when the process receives SIGTERM inside the block, which then ends by itself."""
    stop = threading.Event()
    # Only the main thread can handle signals: elsewhere the event is never set.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handler = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, handler)


def _watch(
    reader: int,
    handler: object,
    noticed: threading.Event,
    errors: weakref.WeakSet[TerminatedError],
    ended: threading.Event,
) -> None:
    """End the process if the main thread does not notice SIGTERM; send it again if the error that it raised is lost."""
    with suppress(OSError):
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM:
                _received.set()
            if number[0] != signal.SIGTERM or signal.getsignal(signal.SIGTERM) is not handler:
                continue
            if not noticed.wait(MAIN_THREAD_GRACE_S):
                if _is_first():
                    remark(_AGAIN)
                os._exit(StoppedError.exit_code)
            # What cleans up holds the error, however long it takes. Python drops one that a finaliser raises.
            while errors and not ended.wait(_LOOK_S):
                pass
            if not ended.is_set():
                noticed.clear()
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    os.close(reader)


def _forget_parent() -> None:
    """In a forked child, let SIGTERM end only the child: handler and pipe are those of its parent."""
    if _pipes:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _pipes.clear()


os.register_at_fork(after_in_child=_forget_parent)


def _is_first() -> bool:
    try:
        return process_rank().rank == 0
    except UserError:
        return True


def end_with_parent() -> None:
    """Let SIGTERM come when the parent ends, if that is DVC, torchrun or a starter: they leave this process running."""
    parent = os.getppid()
    if os.environ.keys().isdisjoint(("DVC_STAGE", "TORCHELASTIC_RUN_ID")) or sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
