"""Answers that arrive line by line, for minutes: logs, and the changes of a watch. Another thread can end them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from nofrost.cluster.api.errors import KubernetesError, one_line
from nofrost.errors import reason

# Objects of Kubernetes are smaller; a training may print anything.
_LONGEST_LINE = 4 << 20


class CancelToken:
    """Ends a stream that another thread reads, which then sees its end or a KubernetesError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: urllib3.BaseHTTPResponse | None = None
        self.is_cancelled = False

    def attach(self, response: urllib3.BaseHTTPResponse) -> None:
        """Let :meth:`cancel` end the stream of this answer."""
        with self._lock:
            self._response = response
        if self.is_cancelled:
            self.cancel()

    def detach(self) -> None:
        """Forget the answer, which is read or closed."""
        with self._lock:
            self._response = None

    def cancel(self) -> None:
        """End the stream, now or as soon as it begins."""
        self.is_cancelled = True
        with self._lock:
            # What has ended already cannot be shut down.
            if isinstance(self._response, urllib3.HTTPResponse):
                try:
                    self._response.shutdown()
                except (AttributeError, ValueError, RuntimeError, OSError):
                    # Before urllib3 2.3 there was no such method.
                    self._response.close()


def lines_of(response: urllib3.BaseHTTPResponse, what: str) -> Iterator[bytes]:
    """Yield the lines of an answer as they come, with their line breaks; the last lacks its own if it was cut.

    Of a line that is longer than 4 MiB only the beginning is kept.

    Args:
        what: the request in words, for errors.

    Raises:
        KubernetesError: the connection breaks.
    """
    line = bytearray()
    try:
        for piece in response.stream(65536, decode_content=True):
            *ends, rest = piece.split(b"\n")
            for end in ends:
                line += end[: _LONGEST_LINE - len(line)]
                yield bytes(line + b"\n")
                line.clear()
            line += rest[: _LONGEST_LINE - len(line)]
    except (HTTPError, OSError, ValueError) as error:
        raise KubernetesError(what, 0, reason(error)) from None
    if line:
        yield bytes(line)


def changes_of(lines: Iterable[bytes], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the changes that the lines of a watch tell, as kind and object.

    Args:
        what: the request in words, for errors.

    Raises:
        KubernetesError: a line is cut, or says that the watch has ended: with 410 if it began at a version that the
            server does not remember.
    """
    for line in lines:
        try:
            change = json.loads(line)
            kind, item = str(change["type"]), dict(change["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise KubernetesError(what, 0, reason(error)) from None
        if kind == "ERROR":
            raise KubernetesError(what, int(item.get("code") or 0), one_line(item.get("message") or "an error"))
        yield kind, item
