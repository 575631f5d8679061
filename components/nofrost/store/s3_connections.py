"""Connections to one S3 server, kept from one request to the next.

http.client takes half of the processor time of botocore's own HTTP session for a small request.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from botocore import exceptions as boto

_IDLE_S = 4.0  # servers close a connection that is not used for some 5 s and more


class Connections:
    """Connections that several threads take turns with.

    Args:
        url: of the server.
        proxy: URL of the proxy to it, if there is one.
        certificates: file or folder of the authorities that are trusted.
        connect_timeout: in seconds.
        read_timeout: in seconds, of silence.
    """

    def __init__(
        self, url: str, *, proxy: str | None, certificates: str, connect_timeout: float, read_timeout: float
    ) -> None:
        self._url, self._proxy = url, proxy
        self._begin = url.index(urlsplit(url).netloc) + len(urlsplit(url).netloc)  # of the path in a URL
        self._timeouts = connect_timeout, read_timeout
        self._context: ssl.SSLContext | None = None
        if url.startswith("https:"):
            folder = Path(certificates).is_dir()
            self._context = ssl.create_default_context(
                cafile=None if folder else certificates, capath=certificates if folder else None
            )
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield the answer, whose body the block reads.

        Raises:
            botocore's ConnectionError or HTTPClientError: the connection failed, here or in the block.
        """
        connection = self._take()
        whole = self._proxy and not self._context  # a proxy that is not a tunnel has to be told the server
        target = url if whole else url[self._begin :]
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            yield response
        except TimeoutError as error:
            connection.close()
            raise boto.ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise boto.HTTPClientError(error=error) from error
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and not response.will_close:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()

    def _take(self) -> http.client.HTTPConnection:
        while self._idle:
            try:
                since, connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - since < _IDLE_S:
                return connection
            connection.close()
        connection = self._open()
        try:
            connection.connect()
        except ssl.SSLError as error:
            connection.close()
            raise boto.SSLError(endpoint_url=self._url, error=error) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise boto.EndpointConnectionError(endpoint_url=self._url, error=error) from error
        connection.sock.settimeout(self._timeouts[1])
        return connection

    def _open(self) -> http.client.HTTPConnection:
        server, via = urlsplit(self._url), urlsplit(self._proxy or self._url)
        assert server.hostname
        assert via.hostname
        if not self._context:
            return http.client.HTTPConnection(via.hostname, via.port, timeout=self._timeouts[0])
        connection = http.client.HTTPSConnection(
            via.hostname, via.port, timeout=self._timeouts[0], context=self._context
        )
        if self._proxy:
            connection.set_tunnel(server.hostname, server.port, _login(self._proxy))
        return connection


def _login(proxy: str) -> dict[str, str]:
    """Return the header for a proxy whose URL holds a name and a password."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def _close(idle: list[tuple[float, http.client.HTTPConnection]]) -> None:
    for _, connection in idle:
        connection.close()
