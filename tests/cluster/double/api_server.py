"""A double of the API server of Kubernetes on loopback: strict in what it takes, and faulty where a test says so.

What it does is what the API's documentation says (https://kubernetes.io/docs/reference/using-api/api-concepts/ and the
reference of pods, events and their logs); `test_api_server.py` compares its answers with recorded shapes. It knows
pods, events, the two kinds of training jobs and their runtimes, and Kueue's workloads; no controller acts on them:
tests do. It refuses every query parameter that the real one does not have, which that one ignores.
"""

from __future__ import annotations

import copy
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Object = dict[str, Any]
NAMESPACE = "research"
# The tests set no other.
TOKEN = "token-1"


@dataclass(frozen=True)
class Resource:
    """A kind of objects.

    Attributes:
        fields: that a field selector may name, beside metadata.name and metadata.namespace.
        has_status: what is in `status` when an object is created is dropped.
    """

    group: str
    version: str
    plural: str
    kind: str
    fields: tuple[str, ...] = ()
    has_status: bool = True

    @property
    def path(self) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{NAMESPACE}/{self.plural}"

    def named(self, name: str) -> str:
        """What messages call an object."""
        return f'{self.plural}.{self.group} "{name}"' if self.group else f'{self.plural} "{name}"'

    def details(self, name: str) -> Object:
        return {"name": name, **({"group": self.group} if self.group else {}), "kind": self.plural}

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
PODS = Resource("", "v1", "pods", "Pod", ("spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"))
EVENTS = Resource(
    "", "v1", "events", "Event", (*(f"involvedObject.{name}" for name in _INVOLVED), "reason", "type", "source"), False
)
PYTORCHJOBS = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
TRAINJOBS = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
RUNTIMES = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime", (), False)
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")
# The group of the training operator has other kinds as well, such as notebooks.
NOTEBOOKS = Resource("kubeflow.org", "v1", "notebooks", "Notebook")

_LIST = {"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch"} | {
    "timeoutSeconds",
    "watch",
    "allowWatchBookmarks",
    "sendInitialEvents",
}
_LOG = {"container", "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"}
_WRITE = {"dryRun", "fieldManager", "fieldValidation"}
_DELETE = {"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class RefusedError(Exception):
    """An answer that is a Status of Kubernetes."""

    def __init__(
        self, code: int, reason: str, message: str, headers: dict[str, str] | None = None, details: Object | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.headers = code, reason, message, headers or {}
        self.details = details

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({} if self.details is None else {"details": self.details}),
            "code": self.code,
        }


class CutError(Exception):
    """Closes the connection without an answer, or in the middle of one."""


@dataclass
class Log:
    """The log of a container: lines of bytes, each with its time; `is_closed` when the container has ended."""

    lines: list[tuple[str, bytes]] = field(default_factory=list)
    is_closed: bool = False


class ApiServer:
    """The double. Methods without an underscore are for tests; all may be called while it serves.

    Attributes:
        resources: the kinds that it knows.
        token: that it accepts.
        faults: each is called with method and path before a request is served, and may raise RefusedError or CutError.
        after: like `faults`, but called after the request was carried out: its answer is lost.
        requests: method, path and query of each, in order.
        context: with its certificate; None for http.
        bookmark_s: seconds between two bookmarks of a watch.
    """

    def __init__(self) -> None:
        self.resources = [PODS, EVENTS, PYTORCHJOBS, TRAINJOBS, RUNTIMES, WORKLOADS, NOTEBOOKS]
        self.token, self.bookmark_s = TOKEN, 0.1
        self.faults: list[Callable[[str, str], None]] = []
        self.after: list[Callable[[str, str], None]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.objects: dict[str, Object] = {}
        self.logs: dict[tuple[str, str], Log] = {}
        self._changes: list[tuple[int, str, str, Object]] = []
        self._version, self._forgotten = 100, 100
        self._changed = threading.Condition(threading.RLock())
        self.context: ssl.SSLContext | None = None
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket] = set()
        self._port = 0

    # Serving

    def start(self) -> None:
        handler = type("OfThisServer", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and break those that there are."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.cut_connections()
        # Threads that answer would wait for changes that nobody makes any more.
        with self._changed:
            self._changed.notify_all()

    def cut_connections(self, path: str = "") -> None:
        with self._changed:
            for connection in list(self._connections):
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)
            self._changed.notify_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    # What tests do in the place of controllers

    def add(self, resource: Resource, name: str, **content: Any) -> Object:
        """Create an object, its status included."""
        with self._changed:
            status = content.pop("status", None)
            metadata = {"name": name, **content.pop("metadata", {})}
            made = self._create(resource, {"metadata": metadata, **content})
            if status is not None:
                made = self.change(resource, name, status=status)
            return made

    def change(self, resource: Resource, name: str, **content: Any) -> Object:
        """Merge `content` into an object."""
        with self._changed:
            item = copy.deepcopy(self.objects[f"{resource.path}/{name}"])
            _merge(item, content)
            return self._store(f"{resource.path}/{name}", item, "MODIFIED")

    def remove(self, resource: Resource, name: str) -> None:
        """Delete an object at once; the logs of a pod end."""
        with self._changed:
            for (pod, _), log in self.logs.items():
                log.is_closed |= resource is PODS and pod == name
            self._remove(f"{resource.path}/{name}")

    def names(self, resource: Resource) -> list[str]:
        with self._changed:
            return sorted(path.rpartition("/")[2] for path in self.objects if path.rpartition("/")[0] == resource.path)

    def find(self, resource: Resource, name: str) -> Object:
        with self._changed:
            return copy.deepcopy(self.objects[f"{resource.path}/{name}"])

    def write_log(self, pod: str, *lines: str, container: str = "pytorch", end: str = "\n") -> None:
        """Write lines to the log of a container, all at the present time."""
        with self._changed:
            log = self.logs.setdefault((pod, container), Log())
            log.lines += [(_now(fraction=True), f"{line}{end}".encode()) for line in lines]
            self._changed.notify_all()

    def close_log(self, pod: str, container: str = "pytorch") -> None:
        with self._changed:
            self.logs.setdefault((pod, container), Log()).is_closed = True
            self._changed.notify_all()

    def forget_changes(self) -> None:
        """Forget all versions but the present one: a watch from an earlier one has expired."""
        with self._changed:
            self._version += 1
            self._forgotten = self._version
            self._changes.clear()
            self._changed.notify_all()

    def count(self, method: str, path: str) -> int:
        """Return how many requests of this method there were whose path ends so."""
        with self._changed:
            return sum(each == method and where.endswith(path) for each, where, _ in self.requests)

    @contextmanager
    def fault(self, fault: Callable[[str, str], None]) -> Iterator[None]:
        self.faults.append(fault)
        try:
            yield
        finally:
            self.faults.remove(fault)

    # Answers

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Object] | Iterator[bytes]:
        """Return status and content, or the lines of a stream."""
        url = urlsplit(target)
        query = parse_qsl(url.query, keep_blank_values=True)
        values = dict(query)
        with self._changed:
            self.requests.append((method, url.path, url.query))
        for fault in list(self.faults):
            fault(method, url.path)
        if headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        if len(values) != len(query):
            raise RefusedError(400, "BadRequest", "a query parameter is given twice")
        if method == "GET" and (found := self._discovery(url.path)) is not None:
            _allow(values, set())
            return 200, found
        with self._changed:
            answer = self._answer(method, url.path, values, headers, body)
        for fault in list(self.after):
            fault(method, url.path)
        return answer

    def _answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes
    ) -> tuple[int, Object] | Iterator[bytes]:
        for resource in self.resources:
            if path == resource.path:
                if method == "GET":
                    _allow(query, _LIST)
                    return self._watch(resource, query) if query.get("watch") == "true" else self._list(resource, query)
                if method == "POST":
                    _allow(query, _WRITE)
                    _content_type(headers, "application/json")
                    return 201, self._create(resource, _json(body))
            if not path.startswith(f"{resource.path}/"):
                continue
            name, _, part = path.removeprefix(f"{resource.path}/").partition("/")
            if part == "log" and resource is PODS and method == "GET":
                _allow(query, _LOG)
                return self._log(self._get(resource, name), query)
            if part:
                break
            if method == "GET":
                _allow(query, {"resourceVersion"})
                return 200, self._get(resource, name)
            if method == "PATCH":
                _allow(query, _WRITE | {"force"})
                _content_type(headers, "application/merge-patch+json")
                return 200, self._patch(resource, name, _json(body))
            if method == "DELETE":
                _allow(query, _DELETE)
                return 200, self._delete(resource, name, query, _json(body) if body else {})
        # Not a Status: the path itself is unknown.
        raise RefusedError(404, "", "404 page not found")

    def _discovery(self, path: str) -> Object | None:
        groups = sorted({(each.group, each.version) for each in self.resources if each.group})
        descriptions = [
            {
                "name": group,
                "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
            }
            for group, version in groups
        ]
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": descriptions}
        for description, (group, version) in zip(descriptions, groups, strict=True):
            if path == f"/apis/{group}":
                return {"kind": "APIGroup", "apiVersion": "v1", **description}
            if path == f"/apis/{group}/{version}":
                verbs = ["delete", "get", "list", "patch", "create", "watch"]
                resources = [
                    {"name": each.plural, "singularName": each.kind.lower(), "namespaced": True, "kind": each.kind}
                    | {"verbs": verbs}
                    for each in self.resources
                    if (each.group, each.version) == (group, version)
                ]
                listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}"}
                return {**listed, "resources": resources}
        return None

    def _get(self, resource: Resource, name: str) -> Object:
        item = self.objects.get(f"{resource.path}/{name}")
        if item is None:
            raise RefusedError(404, "NotFound", f"{resource.named(name)} not found", details=resource.details(name))
        return copy.deepcopy(item)

    def _list(self, resource: Resource, query: dict[str, str]) -> tuple[int, Object]:
        chosen = _selector(resource, query)
        items = [
            copy.deepcopy(item)
            for path, item in sorted(self.objects.items())
            if path.rpartition("/")[0] == resource.path and chosen(item)
        ]
        begin, metadata = int(query.get("continue") or 0), {"resourceVersion": str(self._version)}
        end = begin + int(query.get("limit") or 0) if query.get("limit") else len(items)
        if end < len(items):
            metadata |= {"continue": str(end), "remainingItemCount": str(len(items) - end)}
        if not resource.group:
            # Of what is built in, a list says its kind once.
            items = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in items]
        kind = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return 200, {**kind, "metadata": metadata, "items": items[begin:end]}

    def _watch(self, resource: Resource, query: dict[str, str]) -> Iterator[bytes]:
        chosen = _selector(resource, query)
        version = int(query.get("resourceVersion") or 0)
        if version and version < self._forgotten:
            return iter([_line("ERROR", RefusedError(410, "Expired", f"too old resource version: {version}").status())])
        return self._changes_since(resource, version, chosen, query)

    def _changes_since(
        self, resource: Resource, version: int, chosen: Callable[[Object], bool], query: dict[str, str]
    ) -> Iterator[bytes]:
        server, end = self._server, time.monotonic() + int(query.get("timeoutSeconds") or 1800)
        has_bookmarks = query.get("allowWatchBookmarks") == "true"
        bookmark = time.monotonic() + self.bookmark_s if has_bookmarks else end
        if not version:
            _, page = self._list(resource, {})
            version = int(page["metadata"]["resourceVersion"])
            yield from (_line("ADDED", item) for item in page["items"] if chosen(item))
        while (now := time.monotonic()) < end and self._server is server:
            with self._changed:
                if version < self._forgotten:
                    yield _line("ERROR", RefusedError(410, "Expired", "the watch is too old").status())
                    return
                changes = [change for change in self._changes if change[0] > version]
                if not changes:
                    self._changed.wait(min(end, bookmark) - now)
            for number, kind, path, item in changes:
                version = number
                if path.rpartition("/")[0] == resource.path and chosen(item):
                    yield _line(kind, item)
            if has_bookmarks and time.monotonic() >= bookmark:
                bookmark = time.monotonic() + self.bookmark_s
                metadata = {"resourceVersion": str(version), "creationTimestamp": None}
                item = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
                yield _line("BOOKMARK", item)

    def _create(self, resource: Resource, item: Object) -> Object:
        metadata = item.setdefault("metadata", {})
        name = metadata.get("name", "")
        item = {"apiVersion": resource.api_version, "kind": resource.kind} | item
        if (item["apiVersion"], item["kind"]) != (resource.api_version, resource.kind):
            raise RefusedError(
                400, "BadRequest", f"{item['apiVersion']}, {item['kind']} is no {resource.kind} of this path"
            )
        if metadata.get("namespace", NAMESPACE) != NAMESPACE:
            message = "the namespace of the provided object does not match the namespace sent on the request"
            raise RefusedError(400, "BadRequest", message)
        if not name:
            raise RefusedError(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise RefusedError(
                422, "Invalid", f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain'
            )
        if metadata.get("resourceVersion"):
            raise RefusedError(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        _check_owners(metadata)
        if f"{resource.path}/{name}" in self.objects:
            message = f"{resource.named(name)} already exists"
            raise RefusedError(409, "AlreadyExists", message, details=resource.details(name))
        if resource.has_status:
            item.pop("status", None)
        own = {"namespace": NAMESPACE, "uid": str(uuid.uuid4()), "generation": 1}
        own["creationTimestamp"] = metadata.get("creationTimestamp") or _now()
        item["metadata"] = {**metadata, **own}
        return self._store(f"{resource.path}/{name}", item, "ADDED")

    def _patch(self, resource: Resource, name: str, change: Object) -> Object:
        item = self._get(resource, name)
        before = item["metadata"]
        wanted = change.get("metadata", {})
        if wanted.get("uid", before["uid"]) != before["uid"]:
            message = f'metadata.uid: Invalid value: "{wanted["uid"]}": field is immutable'
            raise RefusedError(422, "Invalid", f'{resource.kind} "{name}" is invalid: {message}')
        if wanted.get("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise RefusedError(
                409, "Conflict", f'Operation cannot be fulfilled on {resource.plural} "{name}": {message}'
            )
        _check_owners(wanted)
        if resource.has_status:
            change = {key: value for key, value in change.items() if key != "status"}
        _merge(item, change)
        return self._store(f"{resource.path}/{name}", item, "MODIFIED")

    def _delete(self, resource: Resource, name: str, query: dict[str, str], options: Object) -> Object:
        item = self._get(resource, name)
        unknown = set(options) - {"kind", "apiVersion", "propagationPolicy", "preconditions", "gracePeriodSeconds"}
        policy = options.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
        if unknown or policy not in ("Background", "Foreground", "Orphan"):
            raise RefusedError(400, "BadRequest", f"DeleteOptions with {sorted(unknown)}, {policy}")
        for key, wanted in options.get("preconditions", {}).items():
            if item["metadata"][key] != wanted:
                message = f"the {key} in the precondition ({wanted}) is not that in record ({item['metadata'][key]})"
                raise RefusedError(
                    409, "Conflict", f'Operation cannot be fulfilled on {resource.plural} "{name}": {message}'
                )
        if item["metadata"].get("finalizers"):
            item["metadata"].setdefault("deletionTimestamp", _now())
            item["metadata"]["deletionGracePeriodSeconds"] = 0
            return self._store(f"{resource.path}/{name}", item, "MODIFIED")
        self._remove(f"{resource.path}/{name}")
        details = {**resource.details(name), "uid": item["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _log(self, pod: Object, query: dict[str, str]) -> Iterator[bytes]:
        name = pod["metadata"]["name"]
        containers = [each["name"] for each in pod.get("spec", {}).get("containers", ())]
        container = query.get("container") or (containers[0] if len(containers) == 1 else "")
        if container not in containers:
            raise RefusedError(
                400, "BadRequest", f"a container name must be specified for pod {name}, choose one of: {containers}"
            )
        if "sinceTime" in query and "sinceSeconds" in query:
            raise RefusedError(422, "Invalid", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        if "sinceTime" in query and not _TIME.fullmatch(query["sinceTime"]):
            raise RefusedError(400, "BadRequest", f'parsing time "{query["sinceTime"]}"')
        wants_previous = query.get("previous") == "true"
        statuses = pod.get("status", {}).get("containerStatuses", ())
        status = next((each for each in statuses if each["name"] == container), {})
        if not wants_previous and (not status or "waiting" in status.get("state", {"waiting": {}})):
            message = f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
            raise RefusedError(400, "BadRequest", message)
        if wants_previous and not status.get("restartCount"):
            message = f'previous terminated container "{container}" in pod "{name}" not found'
            raise RefusedError(400, "BadRequest", message)
        key = (name, f"{container}/previous" if wants_previous else container)
        return self._log_lines(self.logs.setdefault(key, Log()), query)

    def _log_lines(self, log: Log, query: dict[str, str]) -> Iterator[bytes]:
        server, follows, number = self._server, query.get("follow") == "true", 0
        since = query.get("sinceTime", "")[:19]
        if tail := query.get("tailLines"):
            number = max(0, len(log.lines) - int(tail))
        while True:
            with self._changed:
                lines, is_closed = log.lines[number:], log.is_closed
                if not lines and follows and not is_closed:
                    self._changed.wait(5)
            for stamp, line in lines:
                if stamp[:19] >= since:
                    yield f"{stamp} ".encode() + line if query.get("timestamps") == "true" else line
            number += len(lines)
            if self._server is not server or (not lines and (is_closed or not follows)):
                return

    def _store(self, path: str, item: Object, kind: str) -> Object:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = item
        self._changes.append((self._version, kind, path, copy.deepcopy(item)))
        self._changed.notify_all()
        return copy.deepcopy(item)

    def _remove(self, path: str) -> None:
        item = self.objects.pop(path)
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._changes.append((self._version, "DELETED", path, item))
        self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that were broken."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: ApiServer

    def setup(self) -> None:
        super().setup()
        self.api._connections.add(self.connection)

    def finish(self) -> None:
        self.api._connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self.api.answer(self.command, self.path, self.headers, body)
        except RefusedError as refused:
            # An unknown path is answered by text.
            text = json.dumps(refused.status()).encode() if refused.reason else refused.message.encode()
            self._send(refused.code, text, refused.headers)
            return
        except CutError:
            self._cut()
            return
        if isinstance(answer, tuple):
            self._send(answer[0], json.dumps(answer[1]).encode(), {})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in answer:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (CutError, OSError):
            self._cut()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

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

    def log_message(self, *_: object) -> None:
        pass


def _now(*, fraction: bool = False) -> str:
    now = datetime.now(UTC)
    # Nine digits, as containers' logs have.
    return now.strftime("%Y-%m-%dT%H:%M:%S") + (f".{now.microsecond:06}000Z" if fraction else "Z")


def _line(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _allow(query: dict[str, str], allowed: set[str]) -> None:
    for key, value in query.items():
        if key not in allowed | {"pretty"} or not value:
            raise RefusedError(400, "BadRequest", f"unknown or empty query parameter {key}={value}")


def _content_type(headers: Any, wanted: str) -> None:
    if (has := headers.get("Content-Type")) != wanted:
        raise RefusedError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {has}")


def _json(body: bytes) -> Object:
    try:
        content = json.loads(body)
    except ValueError:
        raise RefusedError(400, "BadRequest", "the body is no JSON") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "BadRequest", "the body is no object")
    return content


def _check_owners(metadata: Object) -> None:
    for owner in metadata.get("ownerReferences") or ():
        if missing := [key for key in ("apiVersion", "kind", "name", "uid") if not owner.get(key)]:
            raise RefusedError(
                422, "Invalid", f"metadata.ownerReferences.{missing[0]}: Invalid value: must not be empty"
            )


def _merge(item: Object, change: Object) -> None:
    """RFC 7386."""
    for key, value in change.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            _merge(item[key], value)
        else:
            item[key] = copy.deepcopy(value)


def _selector(resource: Resource, query: dict[str, str]) -> Callable[[Object], bool]:
    labels, fields = {}, {}
    for text in filter(None, query.get("labelSelector", "").split(",")):
        match = re.fullmatch(r"([\w./-]+)(?:==?([\w.-]*))?", text)
        if not match:
            raise RefusedError(400, "BadRequest", f"unable to parse requirement: {text}")
        labels[match[1]] = match[2]
    for text in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = text.partition("=")
        if key not in ("metadata.name", "metadata.namespace", *resource.fields):
            raise RefusedError(400, "BadRequest", f'field label not supported: "{key}"')
        fields[key] = value

    def chosen(item: Object) -> bool:
        has = item["metadata"].get("labels") or {}
        if not all(key in has and value in (None, has[key]) for key, value in labels.items()):
            return False
        return all(_field(item, key) == value for key, value in fields.items())

    return chosen


def _field(item: Any, key: str) -> str:
    for part in key.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return str(item or "")
