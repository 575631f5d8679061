"""An error of the server is raised at once, as one sentence that names the address."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UnavailableError, UserError

pytest.importorskip("kfp")

from pipelines.submit import Api, ApiError, Endpoint

Start = Callable[..., Any]
UPLOAD = "POST .*/upload_version"


def test_a_host_that_cannot_be_reached_is_named_at_once(
    kfp: Any, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as deaf:  # bound and not listening
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ApiError, match=rf"{url} cannot be reached \(no connection\): check --host.*$"):
            start(Api(Endpoint(url)))
    assert time.monotonic() - began < 60
    assert capfd.readouterr() == ("", "")


def test_a_name_that_does_not_exist_is_named(kfp: Any, start: Start) -> None:
    with pytest.raises(ApiError, match=r"cannot be reached \((unknown host name|no connection)\)"):
        start(Api(Endpoint("http://kfp.invalid")))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("page", "answers, but is not a KFP API"),
        ("login", "redirects, as for a log-in: give a token"),
        ((404, "404 page not found"), "answers, but is not a KFP API"),
        ((404, {"kind": "Status"}), "refused to report its health"),
        ((200, [1, 2]), "answers, but is not a KFP API"),
        ((200, b"\xff\xfe"), "answers, but is not a KFP API"),
        ((404, b"\xff\xfe"), "answers, but is not a KFP API"),
        ((502, "Bad gateway"), r"failed to report its health \(502\): Bad Gateway"),
        ("drop", "connection lost"),
    ],
)
def test_something_else_at_the_address_is_named_at_once(
    kfp: Any, api: Any, start: Start, answer: Any, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    kfp.fault("GET .*/healthz", answer)
    with pytest.raises(ApiError, match=message) as raised:
        start(api)
    assert kfp.url in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(kfp.requests) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("request_", ["POST .*/pipelines", UPLOAD, "POST .*/experiments", "POST .*/runs"])
def test_a_web_page_is_not_taken_for_an_answer(kfp: Any, api: Any, start: Start, request_: str) -> None:
    kfp.fault(request_, "page")
    with pytest.raises(ApiError, match="is not a KFP API"):
        start(api)
    assert not kfp.runs


def test_a_rejected_pipeline_is_reported_with_the_message_of_the_api(kfp: Any, api: Any, start: Start) -> None:
    trace = "invalid pipeline spec: unknown component\ngithub.com/kubeflow/pipelines/backend.New\n\t/go/src/x.go:1"
    kfp.fault(UPLOAD, (400, {"error_message": trace, "error_details": trace}))
    message = "refused to accept the pipeline (400): invalid pipeline spec: unknown component"
    with pytest.raises(ApiError, match=re.escape(message) + "$"):
        start(api)
    assert not kfp.runs


def test_a_refused_run_is_reported_with_the_message_of_the_api(kfp: Any, api: Any, start: Start) -> None:
    kfp.fault("POST .*/runs", (400, {"message": "experiment is archived", "code": 3}))
    with pytest.raises(ApiError, match=r"refused to start the run \(400\): experiment is archived$") as raised:
        start(api)
    assert raised.value.exit_code == UserError.exit_code


@pytest.mark.parametrize("answer", ["drop", (429, "slow down"), (500, {"error": "database is locked", "code": 13})])
def test_a_server_that_does_not_answer_is_no_wrong_input(kfp: Any, api: Any, start: Start, answer: Any) -> None:
    for request in ("GET .*/healthz", "GET .*/pipelines", "POST .*/pipelines", UPLOAD, "POST .*/runs"):
        kfp.fault(request, answer)
        with pytest.raises(UserError) as raised:
            start(api)
        assert raised.value.exit_code == 1


@pytest.mark.parametrize("answer", ["drop", (504, "gateway timeout")])
def test_after_a_lost_answer_the_error_says_that_the_run_may_go_on(
    kfp: Any, api: Any, start: Start, answer: Any
) -> None:
    kfp.fault("POST .*/runs", answer)
    page = f"{kfp.url}/#/experiments/details/experiment-2"
    with pytest.raises(UnavailableError, match=f"before you submit again, check at {page}"):
        start(api)
    assert kfp.count("POST .*/runs") == 1, "a run is started once"


@pytest.fixture
def tls(kfp: Any, tmp_path: Path) -> Path:
    """Give the double a self-signed certificate for localhost, and return it."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kfp")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    public, private = tmp_path / "ca.pem", tmp_path / "key.pem"
    pem = serialization.Encoding.PEM
    public.write_bytes(certificate.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    kfp.socket = context.wrap_socket(kfp.socket, server_side=True)
    return public


def test_a_certificate_is_checked_against_the_authority(kfp: Any, start: Start, tls: Path) -> None:
    url = f"https://localhost:{kfp.server_port}"
    with pytest.raises(ApiError, match=rf"certificate of {url} is not trusted \(self.signed certificate\).*--ca-cert"):
        start(Api(Endpoint(url)))
    with pytest.raises(ApiError, match=r"is not trusted .*127\.0\.0\.1.*with --host"):
        start(Api(Endpoint(f"https://127.0.0.1:{kfp.server_port}", ca_cert=tls)))
    assert start(Api(Endpoint(url, ca_cert=tls))).url == f"{url}/#/runs/details/run-1"


def test_http_behind_an_https_address_is_named(kfp: Any, start: Start) -> None:
    with pytest.raises(ApiError, match="fails the TLS handshake"):
        start(Api(Endpoint(kfp.url.replace("http", "https"))))


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_that_is_not_a_certificate_is_named(kfp: Any, start: Start, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"{path} is not a certificate"):
        start(Api(Endpoint(kfp.url, ca_cert=path)))
    assert not kfp.requests
