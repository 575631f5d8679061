"""A proxy in front of an S3 server that causes the faults of networks and busy servers."""

from __future__ import annotations

import http.client
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from nofrost.store import s3_client

Fault = Callable[[str, str], str]


@dataclass
class Line:
    """The network between client and server.

    Attributes:
        fault: called with method and path of each request; returns what happens to it: "" for nothing, "cut" in the
            middle of the answer, "drop" before the server has it, "lose" the answer, "reset" as a router does, "alter"
            a byte of what is sent or answered, "shorten" the answer, "hang", "hang after" the server has done it, or a
            code such as "SlowDown".
        removed: headers that do not reach the server, in small letters.
        seen: method, path and first byte asked for of each request, in order.
        headers: what the server adds to its answers.
        signers: access key and region that each request was signed with.
        held: set when a request hangs, and if the server does it, has been done.
        silence: what a "hang" waits for, without an answer.
    """

    upstream: str
    url: str = ""
    fault: Fault = lambda method, path: ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    signers: list[tuple[str, str]] = field(default_factory=list)
    held: Event = field(default_factory=Event)
    silence: Event = field(default_factory=Event)
    handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler


KEPT = ("etag", "content-range", "last-modified")
STATUS = {
    "PermanentRedirect": 301,
    "ConditionalRequestConflict": 409,
    "SlowDown": 503,
    "ServiceUnavailable": 503,
    "InternalError": 500,
    "BadGateway": 502,
    "RequestTimeout": 400,
}


def refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret message</Message></Error>".encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.line.seen.append((self.command, self.path, self.headers.get("Range", "")))
        # "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/..."
        key, _, region, *_ = self.headers["Authorization"].partition("Credential=")[2].split("/")
        self.line.signers.append((key, region))
        fault = self.line.fault(self.command, self.path)
        if fault == "hang":
            self.line.held.set()
            self.line.silence.wait(60)
            fault = "drop"
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            fault = "drop"
        if fault == "drop" or (fault == "cut" and self.command != "GET"):
            self.close_connection = True
            return
        if fault and fault not in ("cut", "alter", "shorten", "lose", "hang after"):
            self.answer(STATUS.get(fault, 403), self.line.headers, refusal(fault))
            return
        upstream = http.client.HTTPConnection(urlsplit(self.line.upstream).netloc)
        # The path is a whole URL when this is used as a proxy.
        parts = urlsplit(self.path)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        asked = {key.lower(): value for key, value in self.headers.items() if key.lower() not in self.line.removed}
        if parts.netloc:
            asked["host"] = upstream.host
        if fault == "alter" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        upstream.request(self.command, target, body, asked)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        if fault in ("lose", "hang after"):
            self.line.held.set()
            self.line.silence.wait(60 if fault == "hang after" else 0)
            self.close_connection = True
            return
        headers = {key: value for key, value in response.getheaders() if key.lower() in KEPT} | self.line.headers
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers.get("Content-Length", "0")
        if fault == "alter" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        elif fault == "shorten":
            content = content[: len(content) // 2]
        self.answer(response.status, headers, content, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_any  # noqa: N815 (the names that the base class asks for)

    def answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def line(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to a server, which the environment leads through; pauses between attempts are short.

    The server is the double of S3, or the real one if the test asks for that.
    """
    request.getfixturevalue("s3" if "s3" in request.fixturenames else "moto")
    network = Line(os.environ["AWS_ENDPOINT_URL_S3"])
    network.handler = type("Here", (Handler,), {"line": network})
    server = ThreadingHTTPServer(("127.0.0.1", 0), network.handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    network.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", network.url)
    monkeypatch.setattr(s3_client, "_MAX_BACKOFF_S", 0.01)
    yield network
    network.silence.set()
    server.shutdown()
    thread.join()
    server.server_close()
