"""How the server is reached: kept connections, TLS, a proxy."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import open_store, s3_connections


def test_a_connection_is_kept_from_one_request_to_the_next(
    line: Any, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(moto)
    store.put("first", b"x")
    before = line.connections
    for number in range(20):
        store.put(f"{number}", b"x")
        assert store.get(f"{number}") == b"x"
    assert line.connections == before
    monkeypatch.setattr(s3_connections, "_IDLE_S", 0.0)  # the server may have closed it long ago
    assert store.get("1") == b"x"
    assert line.connections == before + 1


def test_a_connection_that_the_server_has_closed_is_no_error(line: Any, moto: str) -> None:
    store = open_store(moto)
    store.put("first", b"x")
    line.fault = lambda method, path: "drop" if path.endswith("lost") else ""
    with pytest.raises(UserError, match="the connection was cut"):
        store.put("lost", b"x")
    assert store.get("first") == b"x"


def test_a_proxy_is_used_and_told_the_server(line: Any, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", line.url)
    monkeypatch.setenv("NO_PROXY", "elsewhere.test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.test")
    store = open_store(moto)
    store.put("a b", b"x")
    assert store.get("a b") == b"x"
    assert {path.partition("bucket")[0] for _, path, _ in line.seen} == {"http://s3.test/"}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody else has signed, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path / "certificate.pem"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", tmp_path / "key", "-out", path,
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (tmp_path / "key").read_text())
    return path


@pytest.fixture
def tls(line: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The line, spoken with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), line.handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_tls_with_an_authority_of_ones_own(
    tls: None, certificate: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = open_store(moto)
    store.put("x", os.urandom(100))
    assert len(store.get("x")) == 100


def test_tls_with_an_authority_that_is_not_trusted(tls: None, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match="its certificate is not trusted: set AWS_CA_BUNDLE"):
        open_store(moto).get("x")
