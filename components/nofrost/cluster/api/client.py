"""A client of the API of Kubernetes for work of days: it survives an API server that is gone for a while.

It sends the few requests of a launcher on connections of its own, rather than by the `kubernetes` package, whose watch
and log calls neither notice a dead connection nor say whether they were cut.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from nofrost.cluster.api.connection import Connection
from nofrost.errors import ReportedError, UserError, printable, reason

T = TypeVar("T")
_CONNECT_S, _READ_S = 5.0, 20.0
# A watch ends by itself after this; a log that is silent for longer is asked for again.
STREAM_S = 300
# What passes: the same request may succeed later. 0 stands for no answer.
_PASSING = frozenset((0, 401, 408, 429, 500, 502, 503, 504))
_LONGEST_RETRY_AFTER_S = 60.0
_PAGE = "500"
_LONGEST_MESSAGE = 600
# Of a connection on which nothing comes: after 15 s, three more times each 10 s.
_KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


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
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _PASSING

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
class Pauses:
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


class KubernetesApi:
    """Requests to an API server; may be used by several threads at once.

    Args:
        connection: where it is.
        patience_s: seconds for which a request that meets a passing error is repeated.
        pauses: makes the pauses between repetitions.
        denied_s: seconds for which one is repeated that the account has no right to make. A server that has just
            started refuses everything until it has read the rules.
    """

    def __init__(
        self,
        connection: Connection,
        patience_s: float = 180.0,
        pauses: Callable[[], Pauses] = Pauses,
        denied_s: float = 0.0,
    ) -> None:
        self.namespace, self.pauses = connection.namespace, pauses
        self._authorization, self._url = connection.authorization, connection.url
        self.patience_s, self.denied_s = patience_s, denied_s
        # Idle connections stay open: the one on which a job is deleted must not wait for a handshake.
        self._pool = urllib3.PoolManager(maxsize=4, retries=False, socket_options=_KEEPALIVE, **connection.tls)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object, or a page of them; repeated as long as the error passes.

        Raises:
            KubernetesError: there is none (404), the server refuses, or has not answered for `patience_s`.
        """
        return self.repeated(lambda: self.once("GET", path, query))

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return all objects of a collection, page by page.

        Raises:
            KubernetesError: as of `get`.
        """
        items: list[dict[str, Any]] = []
        query["limit"] = _PAGE
        while True:
            page = self.get(path, **query)
            items += page.get("items", ())
            query["continue"] = page.get("metadata", {}).get("continue", "")
            if not query["continue"]:
                return items

    def create(self, path: str, content: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Create an object, and return it and whether an answer says that this request has made it.

        When the answer is lost, the object may be there: then the one of that name is returned, whoever made it.

        Args:
            path: of the collection.

        Raises:
            KubernetesError: the server refuses, with 409 if there is one of that name; or has not answered for
                `patience_s`.
        """
        name = content["metadata"]["name"]

        def send() -> tuple[dict[str, Any], bool]:
            try:
                return self.once("POST", path, content=content), True
            except KubernetesError as error:
                # A server that asks to come later has done nothing.
                if not error.passes or error.status in (401, 429):
                    raise
                lost = error
            try:
                return self.once("GET", f"{path}/{name}"), False
            except KubernetesError as error:
                raise (lost if error.status == 404 else error) from None

        return self.repeated(send)

    def patch(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `content` into an object (RFC 7386), and return it.

        Raises:
            KubernetesError: as of `get`.
        """
        return self.repeated(lambda: self.once("PATCH", path, content=content))

    def delete(self, path: str, uid: str) -> None:
        """Delete an object and, afterwards, what it owns; one that is gone, or is another one by now, is no error.

        Raises:
            KubernetesError: the server refuses, or has not answered for `patience_s`.
        """
        self.repeated(lambda: self.delete_once(path, uid))

    def delete_once(self, path: str, uid: str, version: str = "") -> bool:
        """Send one request of `delete`; return False if the object is another one by now, or has changed.

        Args:
            version: that the object must still have; "" for any.

        Raises:
            KubernetesError: the server refuses, or does not answer.
        """
        # In the background: the controller of a TrainJob would make the JobSet again that is deleted before it.
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        preconditions = {"uid": uid, **({"resourceVersion": version} if version else {})}
        try:
            self.once("DELETE", path, content={**options, "preconditions": preconditions})
        except KubernetesError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404
        return True

    def watch(self, path: str, stop: StreamStop, **query: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the changes of a collection since `resourceVersion`, as kind and object, until the server ends it.

        Raises:
            KubernetesError: the server refuses, with 410 if it does not remember that version; or the connection is
                broken.
        """
        request = f"to watch {path}"
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(STREAM_S)}
        with self.stream(path, request, query, STREAM_S + _READ_S, stop) as lines:
            for line in lines:
                try:
                    change = json.loads(line)
                    kind, item = str(change["type"]), dict(change["object"])
                # A line that was cut.
                except (ValueError, KeyError, TypeError) as error:
                    raise KubernetesError(request, 0, reason(error)) from None
                if kind == "ERROR":
                    raise KubernetesError(
                        request, int(item.get("code") or 0), _one_line(item.get("message") or "an error")
                    )
                yield kind, item

    @contextmanager
    def stream(
        self, path: str, request: str, query: Mapping[str, str], silence_s: float, stop: StreamStop
    ) -> Iterator[Iterator[bytes]]:
        """Yield the lines of an answer as they come, with their line breaks; the last lacks its own if it was cut.

        Args:
            request: in words, for errors.
            silence_s: without any data, after which the connection counts as broken.
            stop: ends the lines from another thread.

        Raises:
            KubernetesError: at the first line or any other: the server refuses, or the connection breaks.
        """
        response = self._send("GET", path, query, None, request, silence_s)
        try:
            stop.attach(response)
            yield self._lines(response, request)
        finally:
            stop.detach()
            # What was not read is dropped, and the connection with it.
            response.close()

    @staticmethod
    def _lines(response: urllib3.BaseHTTPResponse, request: str) -> Iterator[bytes]:
        rest = b""
        try:
            for piece in response.stream(65536, decode_content=True):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield line + b"\n"
        except (HTTPError, OSError, ValueError) as error:
            raise KubernetesError(request, 0, reason(error)) from None
        if rest:
            yield rest

    def once(
        self, method: str, path: str, query: Mapping[str, str] | None = None, content: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises:
            KubernetesError: the server refuses, does not answer, or its answer is cut.
        """
        verb = {"POST": "to create", "PATCH": "to change", "DELETE": "to delete"}.get(method, "to give")
        request = f"{verb} {path}"
        response = self._send(method, path, query or {}, content, request, _READ_S)
        try:
            answer = json.loads(response.data)
        except (HTTPError, OSError, ValueError) as error:
            raise KubernetesError(request, 0, reason(error)) from None
        finally:
            response.release_conn()
        return answer if isinstance(answer, dict) else {}

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: Mapping[str, Any] | None,
        request: str,
        silence_s: float,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, and return the answer if the server accepts it; its body is not read yet."""
        # Logs are text.
        headers = {"Accept": "application/json, */*", "User-Agent": "nofrost"}
        try:
            if authorization := self._authorization():
                headers["Authorization"] = authorization
        # The file is being replaced.
        except UserError as error:
            raise KubernetesError(request, 0, str(error)) from None
        if content is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        values = {key: value for key, value in query.items() if value}
        url = f"{self._url}{path}" + (f"?{urlencode(values)}" if values else "")
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=None if content is None else json.dumps(content).encode(),
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=silence_s),
                preload_content=False,
                redirect=False,
            )
            if response.status < 300:
                return response
            body = response.read(65536)
            response.close()
        except (HTTPError, OSError) as error:
            raise KubernetesError(request, 0, reason(error)) from None
        raise KubernetesError(
            request, response.status, _detail(body, response.status), _retry_after_s(response), _reason(body)
        )

    def repeated(self, send: Callable[[], T]) -> T:
        """Return `send()`, which is called again while its error passes and patience lasts.

        Raises:
            KubernetesError: it does not pass, or has not in time.
        """
        pauses, began = self.pauses(), time.monotonic()
        denials = 0
        while True:
            try:
                return send()
            except KubernetesError as error:
                denials += error.status == 401
                pause_s = pauses.next_s(error.retry_after_s)
                # A token that has just expired is replaced by a new one in the file.
                is_denied = error.is_denied or denials > 1
                patience_s = self.denied_s if is_denied else self.patience_s
                if not (error.passes or is_denied) or time.monotonic() + pause_s > began + patience_s:
                    raise
                time.sleep(pause_s)


class StreamStop:
    """Ends a stream that another thread reads, which then sees its end or an KubernetesError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: urllib3.BaseHTTPResponse | None = None
        self.is_set = False

    def attach(self, response: urllib3.BaseHTTPResponse) -> None:
        """Let :meth:`set` end the stream of this answer."""
        with self._lock:
            self._response = response
        if self.is_set:
            self.set()

    def detach(self) -> None:
        """Forget the answer, which is read or closed."""
        with self._lock:
            self._response = None

    def set(self) -> None:
        """End the stream, now or as soon as it begins."""
        self.is_set = True
        with self._lock:
            # What has ended already cannot be shut down.
            if isinstance(self._response, urllib3.HTTPResponse):
                try:
                    self._response.shutdown()
                # Before urllib3 2.3 there was no such method.
                except (AttributeError, ValueError, RuntimeError, OSError):
                    self._response.close()


def _detail(body: bytes, status: int) -> str:
    """Return what a refusal says: the message of Kubernetes's Status, or the text of a proxy."""
    text = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    try:
        return _one_line(text) or HTTPStatus(status).phrase
    except ValueError:
        return "no reason is given"


def _reason(body: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["reason"])
    return ""


def _one_line(text: str) -> str:
    line = " ".join(printable(text, keep="\n\t").split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]} ..."


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    """Return the seconds of the header Retry-After; 0 without it, or where it is a date, which no API server sends."""
    try:
        return min(float(response.headers.get("Retry-After", 0)), _LONGEST_RETRY_AFTER_S)
    except ValueError:
        return 0.0
