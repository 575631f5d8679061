"""A client of the double that sends plain requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from tests.cluster.double.api_server import TOKEN, ApiServer

MERGE = "application/merge-patch+json"


class Client:
    """Sends requests to the double, each on a connection of its own."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self._connections = server, list[HTTPConnection]()

    def send(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", token: str = TOKEN
    ) -> HTTPResponse:
        """Return the answer, whose body is not read yet."""
        connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=120)
        self._connections.append(connection)
        headers = {"Authorization": f"Bearer {token}", **({} if body is None else {"Content-Type": kind})}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        """Return code and content of the answer."""
        response = self.send(method, path, body, kind)
        return response.status, json.loads(response.read())

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    made = Client(server)
    yield made
    made.close()
