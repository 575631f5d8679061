"""How a process or a node of a job has ended, and which of several ends caused the others.

The exit codes are those of :mod:`nofrost.errors`.
"""

import math
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from nofrost.errors import PeerLostError, StoppedError, UserError

# After a process has failed, torch kills the others when they have not ended within 30 s.
_KILLED_BY_TORCH_AFTER_S = 20.0
# NCCL's watchdog aborts a process that still waits for a lost one. torch tells the time of an end to a second.
_ABORTED_BY_NCCL_AFTER_S = 2.0
# A shell and a starter add the number of a signal to this.
_SIGNALLED = range(129, 193)


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: its exit code, or the negative number of the signal that killed it, as in `subprocess`. A starter ends
            with 128 and the number of the signal that killed one of its processes.
        message: its error; empty if it left none.
        at: when, in seconds since 1970; equal for ends of unknown order.
    """

    code: int
    message: str = ""
    at: float = 0.0

    @property
    def is_wrong_input(self) -> bool:
        """Whether the same would end in the same way again."""
        return self.code == UserError.exit_code


def first_cause(ends: Iterable[End]) -> End:
    """Return the end that caused the others. Of processes that fail together it is not known which was the first.

    The order is, with the earlier of two in the same row first:

    1. wrong input (2), as trying again is of no use;
    2. killed by a signal, which no other process does to one;
    3. any other error;
    4. stopped on request (143), or another process is lost (200): both follow from the end of another one;
    5. killed by torch or a starter: SIGTERM before it could leave an error, or SIGKILL long after the first end;
    6. success.

    An abort (SIGABRT) after another process was lost is NCCL's way to notice the same loss: row 4.

    Args:
        ends: at least one.
    """
    ends = list(ends)
    first = min(end.at for end in ends)
    first_loss = min((end.at for end in ends if end.code == PeerLostError.exit_code), default=math.inf)

    def row(end: End) -> int:
        if end.is_wrong_input:
            return 1
        if end.code == -signal.SIGTERM or (end.code == -signal.SIGKILL and end.at > first + _KILLED_BY_TORCH_AFTER_S):
            return 5
        if end.code in (StoppedError.exit_code, PeerLostError.exit_code):
            return 4
        if end.code == -signal.SIGABRT and end.at > first_loss + _ABORTED_BY_NCCL_AFTER_S:
            return 4
        if end.code < 0 or end.code in _SIGNALLED:
            return 2
        return 3 if end.code else 6

    # At the same time, a stop says more than a loss.
    return min(ends, key=lambda end: (row(end), end.at, end.code))
