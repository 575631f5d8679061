"""Connections: TLS, proxies, regions, credentials that expire."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from nofrost.errors import UserError
from nofrost.store import open_store, s3_client


def test_a_proxy_is_used(line: Any, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", line.url)
    monkeypatch.setenv("NO_PROXY", "elsewhere.test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.test")
    store = open_store(moto)
    store.put("a b", b"x")
    assert store.get("a b") == b"x"
    assert {path.partition("bucket")[0] for _, path, _ in line.seen} == {"http://s3.test/"}


def openssl(*arguments: str | Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The certificate of an authority that nobody knows, with its key; it names 127.0.0.1 as a server's does."""
    path = tmp_path / "authority.pem"
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", path.with_suffix(".key"), "-out", path,
        "-days", "2", "-subj", "/CN=nobody", "-addext", "subjectAltName=IP:127.0.0.1",
    )  # fmt: skip
    return path


@pytest.fixture
def certificate(authority: Path) -> Path:
    """A certificate for 127.0.0.1 that the authority has signed, with its key beside it."""
    path, extensions = authority.with_name("server.pem"), authority.with_name("extensions")
    extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE")
    request, key = path.with_suffix(".csr"), path.with_suffix(".key")
    openssl("req", "-newkey", "rsa:2048", "-noenc", "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1")
    openssl(
        "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority.with_suffix(".key"),
        "-days", "2", "-extfile", extensions, "-out", path,
    )  # fmt: skip
    return path


Serve = Callable[[Path], None]


@pytest.fixture
def serve(line: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A function that starts a TLS server with a certificate before the line."""
    with ExitStack() as stack:

        def start(certificate: Path) -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), line.handler))
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{server.server_port}")

        yield start


def test_tls_with_a_private_authority(
    serve: Serve, authority: Path, certificate: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(certificate)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    store = open_store(moto)
    store.put("x", os.urandom(100))
    assert len(store.get("x")) == 100


def test_tls_with_an_untrusted_authority_is_refused(
    serve: Serve, certificate: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(certificate)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match="its certificate is not trusted: set AWS_CA_BUNDLE"):
        open_store(moto).get("x")


def test_tls_with_an_authoritys_certificate_as_the_servers_is_refused(
    serve: Serve, authority: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(authority)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match="its certificate is an authority's, not a server's: create one with CA:FALSE"):
        open_store(moto).put("x", b"x")


def test_a_redirect_to_the_region_of_the_bucket_is_followed(line: Any, moto: str) -> None:
    line.headers = {"x-amz-bucket-region": "eu-central-1"}
    line.fault = lambda method, path: "PermanentRedirect" if line.signers[-1][1] != "eu-central-1" else ""
    store = open_store(moto)
    store.put("x", b"x")
    assert store.get("x") == b"x"
    assert {region for _, region in line.signers[-2:]} == {"eu-central-1"}


@pytest.mark.parametrize(
    ("bucket", "region", "url"),
    [
        ("my-bucket", None, "https://my-bucket.s3.amazonaws.com"),
        ("my-bucket", "eu-central-1", "https://my-bucket.s3.eu-central-1.amazonaws.com"),
        ("my.bucket", "eu-central-1", "https://s3.eu-central-1.amazonaws.com/my.bucket"),
    ],
)
@pytest.mark.usefixtures("moto")
def test_obstore_uses_the_url_and_region_of_boto3(
    bucket: str, region: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    body = SimpleNamespace(stream=lambda: [b"<ListBucketResult/>"])
    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", lambda *_: AWSResponse(url, 200, {}, body))
    config = s3_client.ClientFactory({"region": region}).connect(bucket, "files/md5/").config
    assert config == {
        "bucket": bucket,
        "endpoint_url_s3": url,
        "region": region or "us-east-1",
        "virtual_hosted_style_request": "true",
    }


def test_credentials_are_renewed_while_a_store_is_used(
    line: Any, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role's credentials last an hour; these are about to expire at every call."""
    program = tmp_path / "credentials.py"
    program.write_text(
        "import datetime, json, pathlib\n"
        f"calls = pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "number = int(calls.read_text()) + 1 if calls.exists() else 1\n"
        "calls.write_text(str(number))\n"
        "expiration = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{number}', 'SecretAccessKey': 'x', 'SessionToken': 'x',\n"
        "                  'Expiration': expiration.isoformat()}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(s3_client, "_CREDENTIALS_TTL", timedelta(0))
    store = open_store(moto)
    store.put("x", b"x")
    # obstore asks at most every 100 ms.
    time.sleep(0.2)
    store.put("x", b"x")
    keys = [key for key, _ in line.signers]
    assert len(keys) == len(set(keys)) == 3
