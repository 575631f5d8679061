"""What ended the try of a training before this one, for the count of restarts by cause.

A try that is stopped says so in the state that it saves then. One that ends by an error leaves a word beside its saved
state, which is no save: a task that begins again on another machine has only what was saved, and does not find it. One
that is killed, or whose machine is lost, leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import PeerLostError, StoppedError
from nofrost.files import write_text

FILE = "end.txt"
CAUSES = ("stopped", "peer-lost", "error", "killed")


@contextmanager
def noted_end(folder: Path) -> Iterator[None]:
    """Note in `folder` how the block ended, unless it ended without an error."""
    try:
        yield
    except BaseException as error:
        # A full disk has its own error.
        with suppress(OSError):
            write_text(folder / FILE, _cause(error))
        raise


def cause_of_restart(folder: Path, was_stopped: bool) -> str:
    """Return which of CAUSES ended the try before this one, and forget it.

    Args:
        was_stopped: whether it saved its state because it was stopped.
    """
    path = folder / FILE
    try:
        cause = path.read_text(encoding="ascii")
        path.unlink()
    except (OSError, ValueError):
        cause = ""
    return cause if cause in CAUSES else "stopped" if was_stopped else "killed"


def _cause(error: BaseException) -> str:
    if isinstance(error, PeerLostError):
        return "peer-lost"
    # SIGTERM and Ctrl-C are no errors either.
    return "stopped" if isinstance(error, StoppedError) or not isinstance(error, Exception) else "error"
