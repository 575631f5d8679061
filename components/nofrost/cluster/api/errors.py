"""What the API server of Kubernetes refuses, read from its answer, and how long to wait before the next try."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from nofrost.errors import ReportedError, printable

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# The same request may succeed later. 0 stands for no answer.
_TRANSIENT = frozenset((0, 401, 408, 429, 500, 502, 503, 504))
_LONGEST_RETRY_AFTER_S = 60.0
_LONGEST_MESSAGE = 600


class KubernetesError(ReportedError):
    """The API server refuses a request, or does not answer.

    Attributes:
        status: of HTTP; 0 if there was no answer, or only a part of one.
        detail: what the server says, in one line.
        retry_after_s: how long the server wants to be left alone.
        reason: Kubernetes's word for the refusal, such as "NotFound"; "" where it is not Kubernetes that refuses.
    """

    def __init__(self, request: str, status: int, detail: str, retry_after_s: float = 0.0, reason: str = "") -> None:
        self.status, self.detail, self.retry_after_s, self.reason = status, detail, retry_after_s, reason
        said = f"refuses {request} ({status}: {detail})" if status else f"does not answer {request} ({detail})"
        super().__init__(f"Kubernetes {said}")

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT

    @property
    def is_missing(self) -> bool:
        """Whether Kubernetes says that there is no such object.

        A proxy's 404, or that of a server which does not know the kind of object yet, says nothing about the object.
        """
        return self.status == 404 and self.reason == "NotFound"

    @property
    def is_denied(self) -> bool:
        """Whether the account has no right to do that: so a server says too that does not know its rules yet."""
        others = ("exceeded quota", "admission webhook")
        return self.status == 403 and not any(other in self.detail for other in others)


@dataclass
class Backoff:
    """Pauses between tries, each twice as long as the one before, shortened by chance so that many do not come at once.

    Attributes:
        first_s, longest_s: without chance.
    """

    first_s: float = 0.5
    longest_s: float = 15.0
    _next_s: float = 0.0

    def next_s(self, least_s: float = 0.0) -> float:
        """Return the next pause, which is no shorter than `least_s`."""
        self._next_s = min(self._next_s * 2 or self.first_s, self.longest_s)
        return max(least_s, self._next_s * random.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Begin with the first pause again: the server has answered."""
        self._next_s = 0.0


def refusal(what: str, response: BaseHTTPResponse, body: bytes) -> KubernetesError:
    """Return the error that an answer of status 300 or above stands for: Kubernetes's Status, or a proxy's text.

    Args:
        what: the request in words.
        body: of the answer.
    """
    detail, word = body.decode(errors="replace"), ""
    with suppress(ValueError):
        status = json.loads(body)
        if isinstance(status, dict):
            detail, word = str(status.get("message", detail)), str(status.get("reason", ""))
    with suppress(ValueError):
        detail = one_line(detail) or HTTPStatus(response.status).phrase
    return KubernetesError(what, response.status, detail or "no reason is given", _retry_after_s(response), word)


def one_line(text: str) -> str:
    """Return a text of the server as one line that a terminal can show."""
    line = " ".join(printable(text, keep="\n\t").split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]} ..."


def _retry_after_s(response: BaseHTTPResponse) -> float:
    """Return the seconds of the header Retry-After; 0 without it, or where it is a date, which no API server sends."""
    try:
        seconds = float(response.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0
    # "nan" is a number too, and greater than none.
    return min(seconds, _LONGEST_RETRY_AFTER_S) if seconds > 0 else 0.0
