"""Stopping a command from outside: SIGTERM ends it in order, and a stage of DVC ends with DVC."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

_PR_SET_PDEATHSIG = 1  # of Linux


class TerminatedError(BaseException):
    """SIGTERM was received. Like KeyboardInterrupt, so that nobody takes it for an error that can be handled."""

    exit_code: ClassVar[int] = 143

    def __str__(self) -> str:
        return "stopped (SIGTERM): the same command continues from what was saved, or begins again"


@contextmanager
def terminable() -> Iterator[None]:
    """Raise TerminatedError in the main thread when SIGTERM comes inside the block, so that nothing is left behind.

    Another SIGTERM ends the process at once. Handlers of other programs stay as they are.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise TerminatedError


def end_with_dvc() -> None:
    """Let SIGTERM come when DVC, which started this process for a stage, ends: DVC leaves its stages running then."""
    parent = os.getppid()
    if "DVC_STAGE" not in os.environ or sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
