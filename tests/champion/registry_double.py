"""A Model Registry that speaks what our projection asks of the real one: api/model_registry/v1."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {"registered_models": "model", "model_versions": "version"}


class Registry:
    """What the server holds.

    Attributes:
        objects: by kind, lists of objects as the API returns them; an artifact also has its ``parent``.
        requests: method and path of each.
        refused: the number of the request that is refused, as are all after it; None for none.
        tokens: of the requests.
    """

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {"model": [], "version": [], "artifact": []}
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.refused: int | None = None

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, target))
        if self.refused is not None and len(self.requests) > self.refused:
            return 503, {"code": "503", "message": "unavailable"}
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.removeprefix("/api/model_registry/v1/").split("/")
        match (method, parts):
            case ("GET", ["registered_model"]):
                return self._found("model", name=query["name"])
            case ("GET", ["model_version"]):
                return self._found("version", name=query["name"], registeredModelId=query["parentResourceId"])
            case ("GET", ["model_artifact"]):
                return self._found("artifact", name=query["name"], parent=query["parentResourceId"])
            case ("POST", ["registered_models" | "model_versions"]):
                return self._made(KINDS[parts[0]], body)
            case ("PATCH", ["model_versions", id]):
                (version,) = [each for each in self.objects["version"] if each["id"] == id]
                version.update(body)
                return 200, version
            case ("POST", ["model_versions", id, "artifacts"]):
                return self._made("artifact", {**body, "parent": id})
            case ("GET", ["registered_models", id, "versions"]):
                items = [each for each in self.objects["version"] if each["registeredModelId"] == id]
                return 200, {"items": items, "size": len(items), "pageSize": 1000, "nextPageToken": ""}
        raise AssertionError(f"unexpected request {method} {target}")

    def _found(self, kind: str, **values: str) -> tuple[int, Any]:
        for each in self.objects[kind]:
            if all(each.get(key) == value for key, value in values.items()):
                return 200, each
        return 404, {"code": "404", "message": "not found"}

    def _made(self, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        made = {"state": "LIVE", **body, "id": str(1 + sum(map(len, self.objects.values())))}
        self.objects[kind].append(made)
        return 201, made


@contextmanager
def serve(registry: Registry) -> Iterator[str]:
    """Yield the URL of a server of this registry."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            registry.tokens.add(self.headers.get("Authorization"))
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = registry.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PATCH"):
        setattr(Handler, f"do_{method}", Handler._do)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
