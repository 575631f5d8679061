"""Lines of a container's log as Kubernetes gives them, with their times, and how to tell new ones from seen ones.

A log that is asked for again begins with a whole second (`sinceTime`), so the lines of that second come twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from nofrost.masking import without_secrets

_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


class LogPosition:
    """How far the log of a pod has been read.

    Args:
        uid: of the pod; "" for none.

    Attributes:
        second: of the newest line, in the form of RFC 3339; "" before the first.
    """

    def __init__(self, uid: str = "") -> None:
        self.uid, self.second = uid, ""
        # The lines of that second, and those without a time, with how often each came.
        self._seen: Counter[bytes] = Counter()
        self._again: Counter[bytes] = Counter()

    def begin_again(self) -> None:
        """Expect the lines of the newest second once more."""
        self._again = Counter(self._seen)

    def take(self, line: bytes) -> bool:
        """Return whether a line is new, and count it as seen."""
        if self._again[line] > 0:
            self._again[line] -= 1
            return False
        stamp = _TIME.fullmatch(line.partition(b" ")[0])
        if stamp:
            second = (stamp[1] + stamp[2]).decode()
            if second > self.second:
                self.second, self._seen = second, Counter()
        self._seen[line] += 1
        return True


def masked(line: bytes, secrets: Iterable[str] | None = None) -> bytes:
    """Return a line without the secrets that this process knows (:func:`nofrost.masking.without_secrets`).

    The pods of a pipeline have the same Secret, so the job's credentials of the store are among them.
    """
    return without_secrets(line.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")


def text_of(line: bytes) -> str:
    """Return the text of a line, without its time."""
    stamp, _, text = line.partition(b" ")
    return (text if _TIME.fullmatch(stamp) else line).decode(errors="replace")
