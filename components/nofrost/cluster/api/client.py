"""A client of the API of Kubernetes for work of days: it survives an API server that is gone for a while.

It sends the few requests of a launcher on connections of its own, rather than by the `kubernetes` package, whose watch
and log calls neither notice a dead connection nor say whether they were cut.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from nofrost.cluster.api.connection import KEEPALIVE, Connection
from nofrost.cluster.api.errors import Backoff, KubernetesError, refusal
from nofrost.cluster.api.streams import CancelToken, changes_of, lines_of
from nofrost.errors import UserError, reason

T = TypeVar("T")
_CONNECT_S, _READ_S = 5.0, 20.0
# After which a watch ends by itself.
_WATCH_S = 300
_PAGE = "500"
_LEAST_SKEW = timedelta(seconds=5)


class KubernetesApi:
    """Requests to an API server; may be used by several threads at once.

    Args:
        connection: where it is.
        retry_for_s: seconds for which a request that meets a transient error is repeated.
        backoff: makes the pauses between repetitions.
        denied_s: seconds for which one is repeated that the account has no right to make. A server that has just
            started refuses everything until it has read the rules.
        most_tries: of a request, within `retry_for_s`.

    Attributes:
        url, namespace: of the connection.
        pods_path: path of the pods of that namespace.
    """

    def __init__(
        self,
        connection: Connection,
        retry_for_s: float = 180.0,
        backoff: Callable[[], Backoff] = Backoff,
        denied_s: float = 0.0,
        most_tries: float = math.inf,
    ) -> None:
        self.namespace, self.backoff = connection.namespace, backoff
        self.pods_path = f"/api/v1/namespaces/{connection.namespace}/pods"
        self.url, self._authorization = connection.url, connection.authorization
        self.retry_for_s, self.denied_s, self._most_tries = retry_for_s, denied_s, most_tries
        self._ahead = timedelta(0)
        # Idle connections stay open: the one on which a job is deleted must not wait for a handshake.
        self._pool = urllib3.PoolManager(maxsize=4, retries=False, socket_options=KEEPALIVE, **connection.tls)

    def now(self) -> datetime:
        """Return the present by the server's clock, as its newest answer has it: this machine's may be another one.

        Times of objects compare with it; to a second, as times of HTTP have no parts of one.
        """
        return datetime.now(UTC) + self._ahead

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object, or a page of them; repeated as long as the error is transient.

        Raises:
            KubernetesError: there is none (404), the server refuses, or has not answered for `retry_for_s`.
        """
        return self.with_retries(lambda: self.request("GET", path, query))

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
                `retry_for_s`.
        """
        name = content["metadata"]["name"]

        def send() -> tuple[dict[str, Any], bool]:
            try:
                return self.request("POST", path, content=content), True
            except KubernetesError as error:
                # A server that asks to come later has done nothing.
                if not error.is_transient or error.status in (401, 429):
                    raise
                lost = error
            try:
                return self.request("GET", f"{path}/{name}"), False
            except KubernetesError as error:
                raise (lost if error.status == 404 else error) from None

        return self.with_retries(send)

    def patch(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `content` into an object (RFC 7386), and return it.

        Raises:
            KubernetesError: as of `get`.
        """
        return self.with_retries(lambda: self.request("PATCH", path, content=content))

    def delete(self, path: str, uid: str) -> None:
        """Delete an object and, afterwards, what it owns; one that is gone, or is another one by now, is no error.

        Raises:
            KubernetesError: the server refuses, or has not answered for `retry_for_s`.
        """
        self.with_retries(lambda: self.delete_once(path, uid))

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
            self.request("DELETE", path, content={**options, "preconditions": preconditions})
        except KubernetesError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404
        return True

    def watch(self, path: str, cancel: CancelToken, **query: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the changes of a collection since `resourceVersion`, as kind and object, until the server ends it.

        Raises:
            KubernetesError: the server refuses, with 410 if it does not remember that version; or the connection is
                broken.
        """
        what = f"to watch {path}"
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_S)}
        with self.stream(path, what, query, _WATCH_S + _READ_S, cancel) as lines:
            yield from changes_of(lines, what)

    @contextmanager
    def stream(
        self, path: str, what: str, query: Mapping[str, str], silence_s: float, cancel: CancelToken
    ) -> Iterator[Iterator[bytes]]:
        """Yield the lines of an answer as they come, with their line breaks; the last lacks its own if it was cut.

        Args:
            what: the request in words, for errors.
            silence_s: without any data, after which the connection counts as broken.
            cancel: ends the lines from another thread.

        Raises:
            KubernetesError: at the first line or any other: the server refuses, or the connection breaks.
        """
        response = self._send("GET", path, query, None, what, silence_s)
        try:
            cancel.attach(response)
            yield lines_of(response, what)
        finally:
            cancel.detach()
            # What was not read is dropped, and the connection with it.
            response.close()

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, content: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises:
            KubernetesError: the server refuses, does not answer, or its answer is cut, or not Kubernetes's.
        """
        verb = {"POST": "to create", "PATCH": "to change", "DELETE": "to delete"}.get(method, "to give")
        what = f"{verb} {path}"
        response = self._send(method, path, query or {}, content, what, _READ_S)
        try:
            answer = json.loads(response.data)
        except (HTTPError, OSError, ValueError) as error:
            raise KubernetesError(what, 0, reason(error)) from None
        finally:
            response.release_conn()
        if not isinstance(answer, dict) or "kind" not in answer:
            raise KubernetesError(what, 0, "the answer is no object of Kubernetes")
        if "items" in answer:
            # Servers in Go write null for a list that has never been filled.
            answer["items"] = answer["items"] or []
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: Mapping[str, Any] | None,
        what: str,
        silence_s: float,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, and return the answer if the server accepts it; its body is not read yet."""
        # Everything is JSON but logs, which are plain text.
        headers = {"Accept": "application/json, */*", "User-Agent": "nofrost"}
        try:
            if authorization := self._authorization():
                headers["Authorization"] = authorization
        except UserError as error:
            # The file of the token is being replaced.
            raise KubernetesError(what, 0, str(error)) from None
        if content is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        values = {key: value for key, value in query.items() if value}
        url = f"{self.url}{path}" + (f"?{urlencode(values)}" if values else "")
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
            self._read_clock(response)
            if response.status < 300:
                return response
            body = response.read(65536)
            response.close()
        except (HTTPError, OSError) as error:
            raise KubernetesError(what, 0, reason(error)) from None
        raise refusal(what, response, body)

    def _read_clock(self, response: urllib3.BaseHTTPResponse) -> None:
        try:
            ahead = parsedate_to_datetime(response.headers["Date"]) - datetime.now(UTC)
        # Without a time, or without its zone.
        except (KeyError, ValueError, TypeError):
            return
        # What is less is the rounding of the header and the way of the answer.
        self._ahead = ahead if abs(ahead) > _LEAST_SKEW else timedelta(0)

    def with_retries(self, send: Callable[[], T]) -> T:
        """Return `send()`, which is called again for `retry_for_s` while its error is transient.

        Raises:
            KubernetesError: it is not, or still there after that time.
        """
        backoff, began = self.backoff(), time.monotonic()
        tries = denials = 0
        while True:
            tries += 1
            try:
                return send()
            except KubernetesError as error:
                denials += error.status == 401
                pause_s = backoff.next_s(error.retry_after_s)
                # A token that has just expired is replaced by a new one in the file.
                is_denied = error.is_denied or denials > 1
                retry_for_s = self.denied_s if is_denied else self.retry_for_s
                has_time = time.monotonic() + pause_s <= began + retry_for_s and tries < self._most_tries
                if not (error.is_transient or is_denied) or not has_time:
                    raise
                time.sleep(pause_s)
