"""A double of the KFP API on loopback: the v2beta1 paths that a submission uses, with state, over real HTTP.

Status codes and bodies are those of the API server of KFP 2 (pipeline_upload_server.go, grpc-gateway): what is false or
empty is left out, a name that is taken is 409, and an upload names its version as asked. Its database takes ASCII
alone, a little less than MySQL's latin1 and utf8mb3.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

API = "/apis/v2beta1"
PAGE = "<!doctype html><title>Log in</title>"


class KfpDouble(ThreadingHTTPServer):
    """The API server.

    Attributes:
        token: the bearer token that it wants; None for none.
        version: its tag, such as "2.17.0" or "unknown".
        story: what it answers about a run, one after the other; the last again and again.
        requests: method, path and authorization of all requests.
        runs: the bodies with which runs were started.
    """

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.token: str | None = None
        self.multi_user = False
        self.version = "2.17.0"
        self.story: list[dict[str, Any]] = [{"state": "SUCCEEDED"}]
        self.requests: list[tuple[str, str, str | None]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.errors: list[BaseException | None] = []
        self._faults: list[tuple[str, list[Any]]] = []
        self._ids = iter(range(1000))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, request: str, *answers: Any) -> None:
        """Answer requests that match `request` ("GET .*/runs/.*") with these, one each, then normally again.

        An answer is "drop" (the connection), "page" (HTML), "login" (a redirect), (status, body), or a function that is
        called before the ordinary answer.
        """
        self._faults.append((request, list(answers)))

    def next_fault(self, request: str) -> Any:
        for pattern, answers in self._faults:
            if answers and re.fullmatch(pattern, request):
                return answers.pop(0)
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # such as a client that does not trust us
            self.errors.append(sys.exception())

    def count(self, request: str) -> int:
        return sum(bool(re.fullmatch(request, f"{method} {path}")) for method, path, _ in self.requests)

    def add(self, things: list[dict[str, Any]], key: str, **values: Any) -> dict[str, Any]:
        thing = {key: f"{key.removesuffix('_id')}-{next(self._ids)}", **values}
        things.append(thing)
        return thing


class Handler(BaseHTTPRequestHandler):
    server: KfpDouble

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self.handle_request()

    def do_POST(self) -> None:
        self.handle_request()

    def do_DELETE(self) -> None:
        self.handle_request()

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {url.path}"
        self.server.requests.append((self.command, url.path, self.headers.get("Authorization")))
        fault = self.server.next_fault(request)
        if callable(fault):
            fault()
        elif fault is not None:
            self.fail(fault)
            return
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer(401, "Unauthorized")
            return
        if not self.asked_text().isascii():
            self.answer(500, {"error": "Error 1366: Incorrect string value for a column", "code": 13})
            return
        for pattern, route in self.routes().items():
            found = re.fullmatch(pattern, request)
            if found:
                route(self, *map(unquote, found.groups()))
                return
        self.answer(404, "404 page not found")

    def routes(self) -> dict[str, Callable[..., None]]:
        """Return what answers a request, by its method and path."""
        return ROUTES

    def asked_text(self) -> str:
        """Return all that the database would store of a request."""
        text = unquote(self.path)
        if self.headers.get("Content-Type") == "application/json" and self.body:
            text += json.dumps(json.loads(self.body), ensure_ascii=False)
        elif "multipart" in self.headers.get("Content-Type", ""):
            text += json.dumps(list(yaml.safe_load_all(self.uploaded())), ensure_ascii=False, default=str)
        return text

    def uploaded(self) -> bytes:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = BytesParser().parsebytes(head + self.body).get_payload()
        content: bytes = part.get_payload(decode=True)
        return content

    def fail(self, fault: Any) -> None:
        if fault == "drop":
            self.close_connection = True
        elif fault == "page":
            self.answer(200, PAGE, "text/html")
        elif fault == "login":
            self.answer(302, "", "text/html", location="/dex/auth")
        else:
            self.answer(*fault)

    def answer(self, status: int, body: Any, kind: str | None = None, location: str = "") -> None:
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind or ("text/plain" if isinstance(body, str) else "application/json"))
        self.send_header("Content-Length", str(len(content)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def error(self, status: int, message: str, code: int) -> None:
        self.answer(status, {"error": message, "code": code, "message": message, "details": []})

    def health(self) -> None:
        health = {"commit_sha": "0" * 40, "tag_name": self.server.version, "multi_user": self.server.multi_user}
        self.answer(200, {**health, "pipeline_store": "database"})

    def list_pipelines(self) -> None:
        self.list("pipelines", self.in_namespace(self.server.pipelines))

    def create_pipeline(self) -> None:
        asked = json.loads(self.body)
        if any(pipeline["display_name"] == asked["display_name"] for pipeline in self.server.pipelines):
            self.error(409, f"Already exist error: The name {asked['display_name']} already exist.", 6)
            return
        self.answer(200, self.server.add(self.server.pipelines, "pipeline_id", **asked))

    def list_versions(self, pipeline_id: str) -> None:
        mine = [version for version in self.server.versions if version["pipeline_id"] == pipeline_id]
        self.list("pipeline_versions", mine)

    def upload_version(self) -> None:
        content = self.uploaded()
        name, pipeline_id = self.query["name"], self.query["pipelineid"]
        if "pipelineInfo" not in next(yaml.safe_load_all(content)):
            self.upload_error(400, "invalid pipeline spec")
        elif any((v["pipeline_id"], v["display_name"]) == (pipeline_id, name) for v in self.server.versions):
            self.upload_error(409, f"Already exist error: The name {name} already exist.")
        else:
            self.server.uploads.append(content)
            self.answer(200, self.add_version(pipeline_id, name))

    def upload_error(self, status: int, message: str) -> None:
        trace = f"{message}\ngithub.com/kubeflow/pipelines/backend/src/common/util.NewError\n\t/go/src/error.go:1"
        self.answer(status, {"error_message": trace, "error_details": trace})

    def add_version(self, pipeline_id: str, name: str) -> dict[str, Any]:
        values = {"pipeline_id": pipeline_id, "display_name": name, "description": self.query.get("description", "")}
        return self.server.add(self.server.versions, "pipeline_version_id", **values)

    def list_experiments(self) -> None:
        self.list("experiments", self.in_namespace(self.server.experiments))

    def in_namespace(self, things: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the things of the namespace that the query names; none and an empty one are the same."""
        return [thing for thing in things if (thing.get("namespace") or "") == self.query.get("namespace", "")]

    def create_experiment(self) -> None:
        asked = json.loads(self.body)
        if any(experiment["display_name"] == asked["display_name"] for experiment in self.server.experiments):
            self.error(409, f"Already exist error: The name {asked['display_name']} already exist.", 6)
            return
        self.answer(200, self.server.add(self.server.experiments, "experiment_id", **asked))

    def list(self, key: str, things: list[dict[str, Any]]) -> None:
        (predicate,) = json.loads(self.query["filter"])["predicates"]
        assert (predicate["operation"], predicate["key"]) == (1, "display_name")
        found = [thing for thing in things if thing["display_name"] == predicate["stringValue"]]
        self.answer(200, {key: found, "total_size": len(found)} if found else {})

    def list_recurring(self) -> None:
        self.answer(200, {})

    def create_run(self) -> None:
        asked = json.loads(self.body)
        reference = asked["pipeline_version_reference"]
        known = {(version["pipeline_id"], version["pipeline_version_id"]) for version in self.server.versions}
        assert (reference["pipeline_id"], reference["pipeline_version_id"]) in known
        assert asked["experiment_id"] in {experiment["experiment_id"] for experiment in self.server.experiments}
        self.server.runs.append(asked)
        self.answer(200, {"run_id": f"run-{len(self.server.runs)}", "state": "PENDING", **asked})

    def get_run(self, run_id: str) -> None:
        if run_id not in {f"run-{number}" for number in range(1, 1 + len(self.server.runs))}:
            self.error(404, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found.", 5)
            return
        story = self.server.story
        told = story.pop(0) if len(story) > 1 else story[0]
        self.answer(200, {"run_id": run_id, "created_at": "2026-11-02T10:00:00Z", **told})


ROUTES: dict[str, Callable[..., None]] = {
    f"GET {API}/healthz": Handler.health,
    f"GET {API}/pipelines": Handler.list_pipelines,
    f"POST {API}/pipelines": Handler.create_pipeline,
    f"GET {API}/pipelines/([^/]+)/versions": Handler.list_versions,
    f"POST {API}/pipelines/upload_version": Handler.upload_version,
    f"GET {API}/experiments": Handler.list_experiments,
    f"POST {API}/experiments": Handler.create_experiment,
    f"GET {API}/recurringruns": Handler.list_recurring,
    f"POST {API}/runs": Handler.create_run,
    f"GET {API}/runs/([^/]+)": Handler.get_run,
}
