"""A double of the API server of Kubernetes on loopback: strict in what it takes, and faulty where a test says so.

What it does is what the API's documentation says (https://kubernetes.io/docs/reference/using-api/api-concepts/ and the
reference of pods, events and their logs); the tests beside it compare its answers with shapes from there. It knows
pods, events, the two kinds of training jobs and their runtimes, and Kueue's workloads. Of all controllers there is the
garbage collector alone; what the others do, tests do. It refuses every query parameter and field that the real one does
not have, which that one ignores.
"""

from __future__ import annotations

import copy
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.double.answers import Answers, Request, merge
from tests.cluster.double.http_server import Answer, HttpServer
from tests.cluster.double.logs import Logs
from tests.cluster.double.objects import Objects
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import PODS, Object, Resource

# The tests set no other.
TOKEN = "token-1"


class ApiServer(Answers):
    """The double, for tests: all methods may be called while it serves.

    Attributes:
        token: that it accepts.
        faults: each is called with method and path before a request is served, and may raise an error of
            `refusals`.
        after: like `faults`, but called after the request was carried out: its answer is lost.
        requests: method, path and query of each, in order.
        context: with its certificate; None for http.
    """

    def __init__(self) -> None:
        objects = Objects()
        super().__init__(objects, Logs(objects))
        self.token = TOKEN
        self.faults: list[Callable[[str, str], None]] = []
        self.after: list[Callable[[str, str], None]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.context: ssl.SSLContext | None = None
        self._server: HttpServer | None = None
        self._port = 0

    def start(self) -> None:
        """Serve; at the same address as before."""
        self._server = HttpServer(self._port, self.context, self._serve)
        self._port = self._server.server_port

    def stop(self) -> None:
        """Refuse connections, and break those that there are; nothing is left of it when this returns."""
        if self._server:
            self._server.stop(self._wake)
            self._server = None

    def cut_connections(self) -> None:
        if self._server:
            self._server.cut_connections()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def count(self, method: str, path: str) -> int:
        """Return how many requests of this method there were whose path ends so."""
        return sum(each == method and where.endswith(path) for each, where, _ in list(self.requests))

    @contextmanager
    def fault(self, fault: Callable[[str, str], None]) -> Iterator[None]:
        self.faults.append(fault)
        try:
            yield
        finally:
            self.faults.remove(fault)

    def _serve(self, request: Request, is_open: Callable[[], bool]) -> Answer:
        self.requests.append((request.method, request.path, request.query))
        for fault in list(self.faults):
            fault(request.method, request.path)
        if request.token != self.token:
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        answer = self.answer(request, is_open)
        for fault in list(self.after):
            fault(request.method, request.path)
        return answer

    def _wake(self) -> None:
        with self._objects.changed:
            self._objects.changed.notify_all()

    # What tests do in the place of controllers, kubelets and other clients

    def add(self, resource: Resource, name: str, **content: Any) -> Object:
        """Create an object, its status included; it may be invalid, as those of an earlier version are."""
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return self._objects.create(
            resource, {**kind, **content, "metadata": {**content.get("metadata", {}), "name": name}}
        )

    def change(self, resource: Resource, name: str, **content: Any) -> Object:
        """Merge `content` into an object."""
        with self._objects.changed:
            item = self.find(resource, name)
            merge(item, content)
            return self._objects.replace(resource, item)

    def remove(self, resource: Resource, name: str) -> None:
        """Delete an object at once, and what it owns; the logs of a pod end."""
        self._objects.remove(resource, name)

    def names(self, resource: Resource) -> list[str]:
        return [item["metadata"]["name"] for item in self._objects.all(resource)]

    def added(self, resource: Resource) -> int:
        """Return how many objects of a kind were ever there."""
        return sum(each.kind == "ADDED" and each.collection == resource.path for each in list(self._objects.changes))

    def find(self, resource: Resource, name: str) -> Object:
        return self._objects.get(resource, name)

    def announce(self, resource: Resource, item: Object) -> None:
        """Let watches see a change to `item` that no object has."""
        self._objects.announce(resource, copy.deepcopy(item))

    def forget_changes(self) -> None:
        """Forget all versions but the present one: a watch from an earlier one has expired."""
        self._objects.forget_changes()

    def write_log(self, pod: str, *lines: str, container: str = "pytorch", end: str = "\n") -> None:
        """Write lines to the log of a container, all at the present time."""
        self._logs.write(pod, container, lines, end)

    def close_log(self, pod: str, container: str = "pytorch") -> None:
        """End the log of a container, which has ended."""
        self._logs.end(pod, container)

    def restart_log(self, pod: str, container: str = "pytorch") -> None:
        """Begin the log of the next container; the one so far is that of the previous one."""
        self._logs.restart(pod, container)

    def lose_machine(self, pod: str) -> None:
        """Cut off the machine of a pod: the pod stays, and its log is out of reach."""
        with self._objects.changed:
            self._logs.lost_machines.add(self.find(PODS, pod)["spec"]["nodeName"])
            self._wake()
