"""An image is looked for by its digest in its registry, as far as that answers without a login."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("kubernetes")

from pipelines.doctor.image_registry import _place, check_image
from tests.pipelines.doctor.conftest import Answer, served

HERE, GONE = ("sha256:" + digit * 64 for digit in "01")


class Registry:
    """A registry with one image, nofrost/stage.

    Attributes:
        wants: "nothing", "token" (which it gives to everybody) or "login".
    """

    wants = "nothing"
    url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> Answer:
        if request.path.startswith("/token?"):
            assert "scope=repository%3Anofrost%2Fstage%3Apull" in request.path
            body = {"token": "for-everybody"} if self.wants == "token" else {}
            return (200 if body else 401), {}, json.dumps(body).encode()
        if self.wants != "nothing" and request.headers.get("Authorization") != "Bearer for-everybody":
            scope = 'scope="repository:nofrost/stage:pull"'
            return 401, {"WWW-Authenticate": f'Bearer realm="{self.url}/token",service="here",{scope}'}, b""
        found = request.path == f"/v2/nofrost/stage/manifests/{HERE}" and "oci.image" in request.headers["Accept"]
        return (200 if found else 404), {}, b""


@pytest.fixture
def registry() -> Any:
    double = Registry()
    with served(double.answer) as double.url:
        yield double


@pytest.mark.parametrize(
    ("wants", "image", "state", "fact"),
    [
        ("nothing", f"nofrost/stage@{HERE}", "ok", "nofrost/stage"),
        ("nothing", f"nofrost/stage:v1@{HERE}", "ok", "nofrost/stage"),
        ("nothing", f"nofrost/stage@{GONE}", "missing", "push it"),
        ("nothing", f"nofrost/train@{HERE}", "missing", "push it"),
        ("nothing", "nofrost/stage:latest", "missing", "has no digest"),
        ("token", f"nofrost/stage@{HERE}", "ok", "nofrost/stage"),
        ("token", f"nofrost/stage@{GONE}", "missing", "push it"),
        ("login", f"nofrost/stage@{HERE}", "unknown", "without a login"),
    ],
)
def test_an_image_is_looked_for_by_its_digest(registry: Any, wants: str, image: str, state: str, fact: str) -> None:
    registry.wants = wants
    host = registry.url.removeprefix("http://")
    finding = check_image("stage image", "--stage-image", f"{host}/{image}")
    assert (finding.state, fact in finding.detail) == (state, True), finding


def test_a_registry_that_cannot_be_reached_is_unknown() -> None:
    finding = check_image("stage image", "--stage-image", f"127.0.0.1:9/nofrost/stage@{HERE}")
    assert (finding.state, "127.0.0.1:9 cannot be reached" in finding.detail) == ("unknown", True), finding


def test_an_image_that_was_not_given_is_unknown() -> None:
    finding = check_image("stage image", "--stage-image", None)
    assert (finding.state, "--stage-image" in finding.detail) == ("unknown", True)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("nofrost-stage", ("registry-1.docker.io", "library/nofrost-stage")),
        ("me/nofrost", ("registry-1.docker.io", "me/nofrost")),
        ("docker.io/me/nofrost", ("registry-1.docker.io", "me/nofrost")),
        ("index.docker.io/nofrost-stage", ("registry-1.docker.io", "library/nofrost-stage")),
        ("ghcr.io/me/nofrost", ("ghcr.io", "me/nofrost")),
        ("localhost/nofrost", ("localhost", "nofrost")),
        ("registry:5000/a/b/c", ("registry:5000", "a/b/c")),
    ],
)
def test_names_are_read_as_docker_reads_them(name: str, place: tuple[str, str]) -> None:
    assert _place(name) == place
