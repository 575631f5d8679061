"""Doubles on loopback: a Kubernetes API, an image registry, and an S3 server that knows no conditions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    """Serve `answer(request)` (status, headers, body) to every request, and yield the address.

    The body of a request is its `content`.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Log nothing."""

        def do_any(self) -> None:
            self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_any)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Kubernetes:
    """A Kubernetes API.

    Attributes:
        accounts: annotations of the service accounts, by namespace and name.
        kinds: plural names of the resources, by API group and version.
        status: of all answers; 200 for the ordinary ones.
        tokens: what requests were authorized with.
        user: whose token that is; "" where the cluster does not say.
        rights: what accounts may do, as (user, group, resource, verb).
        runtimes: namespaces and names of the TrainingRuntimes.
        refuses_reviews: whether nobody may ask about the rights of another account.
        objects: further answers to GET, by path.
        refused: paths that nobody may read.
        requests: method, path and query of each.
    """

    def __init__(self) -> None:
        self.accounts: dict[tuple[str, str], dict[str, str]] = {("kubeflow", "pipeline-runner"): {}}
        self.kinds = {
            ("kubeflow.org", "v1"): ["notebooks", "pytorchjobs"],
            ("kubeflow.org", "v1beta1"): ["experiments"],
        }
        self.status = 200
        self.tokens: set[str | None] = set()
        self.user = "somebody@example.com"
        self.rights: set[tuple[str, str, str, str]] = set()
        self.refuses_reviews = False
        self.runtimes: set[tuple[str, str]] = set()
        self.objects: dict[str, Any] = {}
        self.refused: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def answer(self, request: BaseHTTPRequestHandler) -> Answer:
        self.tokens.add(request.headers.get("Authorization"))
        self.requests.append((request.command, request.path.partition("?")[0], {}))
        if self.status != 200:
            status, body = self.status, {}
        elif request.command == "POST":
            status, body = self.reviewed(request.path, json.loads(request.content))  # type: ignore[attr-defined]
        else:
            status, body = self.found(request.path)
        return status, {"Content-Type": "application/json"}, json.dumps({"kind": "X", **body}).encode()

    def reviewed(self, path: str, body: Any) -> tuple[int, Any]:
        match path.strip("/").split("/"):
            case ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]:
                return 201, {"status": {"userInfo": {"username": self.user}}}
            case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
                user = self.user
            case ["apis", "authorization.k8s.io", "v1", "namespaces", namespace, "localsubjectaccessreviews"]:
                # The real one refuses what does not name the namespace in all three places.
                assert namespace == body["metadata"]["namespace"] == body["spec"]["resourceAttributes"]["namespace"]
                if self.refuses_reviews:
                    return 403, {"kind": "Status", "reason": "Forbidden"}
                user = body["spec"]["user"]
            case _:
                return 404, {}
        asked = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        allowed = (user, asked["group"], resource, asked["verb"]) in self.rights
        return 201, {"spec": body["spec"], "status": {"allowed": allowed}}

    def found(self, path: str) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if path in self.refused:
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if path in self.objects:
            return 200, self.objects[path]
        parts = path.strip("/").split("/")
        match parts:
            case ["api", "v1", "namespaces", namespace, "serviceaccounts", name]:
                if (namespace, name) not in self.accounts:
                    return 404, {"kind": "Status", "reason": "NotFound"}
                return 200, {"metadata": {"name": name, "annotations": self.accounts[namespace, name]}}
            case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", namespace, "trainingruntimes", name]:
                known = (namespace, name) in self.runtimes
                return (200, {"metadata": {"name": name}}) if known else (404, {"reason": "NotFound"})
            case ["apis"]:
                groups: dict[str, list[dict[str, str]]] = {}
                for group, version in self.kinds:
                    groups.setdefault(group, []).append({"groupVersion": f"{group}/{version}", "version": version})
                return 200, {"groups": [{"name": group, "versions": versions} for group, versions in groups.items()]}
            case ["apis", group, version] if (group, version) in self.kinds:
                names = self.kinds[group, version]
                return 200, {
                    "groupVersion": f"{group}/{version}",
                    "resources": [
                        {"name": name, "kind": name, "namespaced": True, "singularName": "", "verbs": []}
                        for name in names
                    ],
                }
        return 404, {}


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither a pod nor a kubeconfig; return where a kubeconfig would be."""
    path = tmp_path / "kubeconfig"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def kubernetes(no_cluster: Path) -> Iterator[Kubernetes]:
    """The double, to which the current kubeconfig leads."""
    double = Kubernetes()
    with served(double.answer) as url:
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "token-of-the-cluster"}}],
        }
        no_cluster.write_text(yaml.safe_dump(settings), encoding="utf-8")
        yield double
