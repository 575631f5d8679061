"""Wrong configurations of S3 end in one sentence each, without any secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import open_store, pull, push, verify
from nofrost.store.base import object_name

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


def refused(url: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        push(folder, open_store(url))
    sentence = str(caught.value)
    assert SECRET not in sentence
    assert "\n" not in sentence
    assert sentence.startswith(f"cannot use {url}")
    return sentence


class TestOnARealServer:
    """What only a server that checks signatures can say."""

    def test_a_wrong_secret(self, s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        assert "the secret key is wrong: check AWS_SECRET_ACCESS_KEY" in refused(s3, folder)

    def test_an_unknown_access_key(self, s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
        assert "the server does not know the access key: check AWS_ACCESS_KEY_ID" in refused(s3, folder)

    def test_no_permission_to_write(self, s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import boto3

        bucket = f"closed-{s3.rpartition('/')[2]}"
        client = boto3.Session().client("s3")
        client.create_bucket(Bucket=bucket)
        resource = f"arn:aws:s3:::{bucket}/*"
        rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": resource}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
        assert "access is denied: ask for s3:ListBucket" in refused(f"s3://{bucket}", folder)
        client.delete_bucket(Bucket=bucket)

    def test_a_missing_bucket(self, s3: str, folder: Path) -> None:
        assert "there is no such bucket: create it, or correct the URL" in refused("s3://no-such-bucket-1234/x", folder)

    def test_content_that_arrives_altered(self, s3: str, line: Any, folder: Path) -> None:
        line.fault = lambda method, path: "alter" if method == "PUT" else ""
        assert "content arrives altered at the server: check the network" in refused(s3, folder)
        # Of the empty file there is nothing to alter.
        assert set(open_store(s3).names("")) <= {f"files/md5/{EMPTY[:2]}/{EMPTY[2:]}"}


def test_an_unreachable_endpoint(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:hunter2@127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    sentence = refused(moto, folder)
    assert sentence.endswith(
        "at http://127.0.0.1:9: it cannot be reached: check the endpoint and the network, then run this again"
    )


def test_no_credentials(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused(moto, folder)


def test_partial_credentials(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials" in refused(moto, folder)


def test_a_missing_profile(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "there is no such profile: correct AWS_PROFILE" in refused(moto, folder)


def test_a_server_without_tls(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL_S3"].replace("http:", "https:"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "its certificate is not trusted" in refused(moto, folder)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("SignatureDoesNotMatch", "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", "the session token has expired: get new credentials"),
        ("RequestTimeTooSkewed", "this machine's clock is wrong: set it"),
        ("AuthorizationHeaderMalformed", "the region is wrong: set AWS_DEFAULT_REGION"),
        ("AccessDenied", "access is denied: ask for s3:ListBucket"),
        ("NoSuchBucket", "there is no such bucket: create it, or correct the URL"),
    ],
)
def test_a_refusal_of_the_first_request(code: str, sentence: str, line: Any, moto: str, folder: Path) -> None:
    line.fault = lambda method, path: code
    assert f"{sentence}" in refused(moto, folder)
    assert "secret message" not in refused(moto, folder)


def test_a_missing_object_is_reported_with_the_remedy(moto: str, tmp_path: Path) -> None:
    store = open_store(moto)
    (tmp_path / "file").write_text("x")
    ref = push(tmp_path / "file", store)
    import boto3

    client = boto3.Session().client("s3")
    client.delete_object(Bucket="bucket", Key=f"{moto.rpartition('/')[2]}/{object_name(ref.md5)}")
    with pytest.raises(UserError, match=f"^{moto} holds no object {ref.md5}: push it there with `nofrost store push`"):
        pull(ref, tmp_path / "back", store)


@pytest.mark.parametrize("endpoint", ["no url", "127.0.0.1:9000"])
def test_an_endpoint_that_is_not_a_url(endpoint: str, moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    assert "AWS's configuration is wrong: check AWS_ENDPOINT_URL_S3" in refused(moto, folder)


def test_an_invalid_bucket_name(moto: str, folder: Path) -> None:
    assert "no bucket can have this name: correct the URL" in refused("s3://Not_a+Bucket", folder)


def test_a_region_is_optional(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    verify(push(folder, open_store(url)), open_store(url))
