"""The HTTP server that answers a Prometheus."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from nofrost.limits import whole_number

PATH = "/metrics"


class MetricsServer(ThreadingHTTPServer):
    """Serves the content of a registry at a port of all addresses of this machine, in a thread for each request.

    Raises:
        OSError: another process listens at the port.
        ValueError: the text is no port.
    """

    def __init__(self, port: str, registry: CollectorRegistry) -> None:
        number = whole_number(port)
        if number is None or not 0 < number < 2**16:
            raise ValueError("it is no number from 1 to 65535")
        self.registry = registry
        is_dual = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if is_dual else socket.AF_INET
        super().__init__(("::" if is_dual else "0.0.0.0", number), _Handler)

    def server_bind(self) -> None:
        """Bind the port, without asking for the name of this machine, which may wait for a DNS server."""
        TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about a Prometheus that has gone away."""


class _Handler(BaseHTTPRequestHandler):
    # Of a client that sends nothing.
    timeout = 10
    server: MetricsServer

    def do_GET(self) -> None:
        is_there = self.path.partition("?")[0] == PATH
        body = generate_latest(self.server.registry) if is_there else b""
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request comes every few seconds."""
