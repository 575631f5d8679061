"""A double of the status server of Kubeflow Trainer on loopback, with a certificate of its own."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.cluster.launcher.launched_job import wait_until

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/research/trainjobs/nofrost-sat/status"


class StatusServer:
    """The status server of Kubeflow Trainer, which serves from its making on until :meth:`stop`.

    Args:
        files: folder of its certificate and key.

    Attributes:
        answer: called for each request; returns the status to answer with. It may wait.
        posts: path, headers and body of each request, in order.
        url: to which a TrainJob posts.
    """

    def __init__(self, files: Path) -> None:
        self.answer: Callable[[], int] = lambda: 200
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files / "ca.crt", files / "key")
        self._listener = _Listener(("127.0.0.1", 0), type("OfThisServer", (_Handler,), {"double": self}))
        self._listener.socket = context.wrap_socket(self._listener.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._listener.server_port}{PATH}"
        self._thread = Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def percentages(self) -> list[int]:
        return [body["trainerStatus"]["progressPercentage"] for _, _, body in self.posts]

    def wait_for(self, posts: int) -> None:
        wait_until(lambda: len(self.posts) >= posts)

    def stop(self) -> None:
        """Return when all threads have ended."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    # Their threads are awaited when the server is closed.
    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hangs up."""


class _Handler(BaseHTTPRequestHandler):
    double: StatusServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.double.posts.append((self.path, dict(self.headers), body))
        status = self.double.answer()
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status // 100 == 3:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
