"""The double's side of HTTP: connections that tests can cut, and threads that end with the server."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any

from tests.cluster.double import objects
from tests.cluster.double.answers import Request
from tests.cluster.double.refusals import AnswerError, CutError, RefusedError
from tests.cluster.double.resources import Object

Answer = tuple[int, Object] | Iterator[bytes]


class HttpServer(ThreadingHTTPServer):
    """Serves from its making on until :meth:`stop`.

    Args:
        port: 0 for any that is free.
        context: with the certificate; None for http.
        answer: returns status and content, or the lines of a stream, which has to end once the server is closing.
    """

    # Their threads are awaited when the server is closed.
    daemon_threads = False

    def __init__(
        self, port: int, context: ssl.SSLContext | None, answer: Callable[[Request, Callable[[], bool]], Answer]
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answer, self.is_open = answer, True
        self._connections: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self, wake: Callable[[], None]) -> None:
        """Refuse connections and break those that there are; return when all threads have ended.

        Args:
            wake: wakes the threads of streams that wait for something to send.
        """
        self.shutdown()
        self._thread.join()
        self.is_open = False
        self.cut_connections()
        wake()
        self.server_close()

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        # Before it has a thread: none is missed by `stop`.
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket | tuple[bytes, socket]) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that were broken."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body)
        try:
            answer = self.server.answer(request, lambda: self.server.is_open)
            if isinstance(answer, tuple):
                self._send(answer[0], json.dumps(answer[1]).encode(), {})
            else:
                self._stream(answer)
        except RefusedError as refused:
            self._send(refused.code, refused.body(), refused.headers)
        except AnswerError as other:
            self._send(200, json.dumps(other.content).encode(), {})
        except CutError:
            self._cut()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _stream(self, lines: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (CutError, OSError):
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(SHUT_RDWR)

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + objects.CLOCK_AHEAD.total_seconds())

    def log_message(self, *_: object) -> None:
        pass
