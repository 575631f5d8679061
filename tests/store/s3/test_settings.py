"""What an opened store passes on to containers, and mistakes in AWS's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import open_store

REMOTE = "[core]\n    remote = r\n['remote \"r\"']\n    url = {url}\n    {settings}\n"


@pytest.fixture
def clean(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of moto, which only the test's own settings name."""
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    for name in [
        name for name in os.environ if name.startswith("AWS_") or name.lower().endswith(("_proxy", "_bundle"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return endpoint


def test_a_container_gets_the_settings_of_the_opened_store(
    clean: str, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoint of the remote, credentials and region of its profile, certificates, proxies."""
    (tmp_path / "keys").write_text("[p]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = t\n")
    (tmp_path / "aws").write_text("[profile p]\nregion = eu-west-1\n")
    (tmp_path / "authority.pem").write_text("")
    settings = f"endpointurl = {clean}\n profile = p\n credentialpath = ../keys\n configpath = ../aws"
    Path(".dvc/config").write_text(REMOTE.format(url=moto, settings=settings))
    monkeypatch.setenv("AWS_CA_BUNDLE", "authority.pem")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    store = open_store(moto)
    variables = store.container_environment()
    assert variables == {
        "AWS_ENDPOINT_URL_S3": clean,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
        "AWS_CA_BUNDLE": str(tmp_path / "authority.pem"),
        "AWS_MAX_ATTEMPTS": "5",
        "no_proxy": "127.0.0.1",
    }
    store.put("x", b"x")
    # A process elsewhere, such as in a container, has these variables alone.
    script = f"from nofrost.store import open_store; print(open_store({moto!r}).get('x'))"
    where = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=where | variables, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout == "b'x'\n", done.stderr


def test_the_endpoint_of_a_profile_is_passed_on(clean: str, moto: str, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[default]\nendpoint_url = {clean}\nregion = eu-west-1\n")
    assert open_store(moto).container_environment() == {
        "AWS_ENDPOINT_URL_S3": clean,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "5",
    }


def test_the_endpoint_of_aws_itself_is_left_to_the_region(clean: str, moto: str) -> None:
    Path(".dvc/config").write_text(REMOTE.format(url=moto, settings="region = eu-west-1\n sse = aws:kms\n"))
    expected = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_MAX_ATTEMPTS": "5", "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms"}
    assert open_store(moto).container_environment() == expected


@pytest.mark.parametrize("setting", ["allow_anonymous_login = true", "ssl_verify = false"])
def test_a_setting_without_a_variable_is_named(setting: str, clean: str, moto: str) -> None:
    Path(".dvc/config").write_text(REMOTE.format(url=moto, settings=setting))
    with pytest.raises(UserError, match=f"{setting.partition(' ')[0]} of DVC's remote cannot be passed on"):
        open_store(moto).container_environment()


def test_a_folder_needs_no_variables(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).container_environment() == {}


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AWS_DEFAULT_REGION", "us-east-1 ", "'us-east-1 ' is not a region: correct AWS_DEFAULT_REGION"),
        ("AWS_DEFAULT_REGION", "us east", "'us east' is not a region"),
        ("AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS (or max_attempts of the profile) is no number"),
        ("AWS_MAX_ATTEMPTS", "0", "set it to 1 or more"),
        ("AWS_MAX_ATTEMPTS", "-1", "set it to 1 or more"),
        ("AWS_ENDPOINT_URL_S3", "no url", "AWS_ENDPOINT_URL_S3 (or endpointurl of the remote): it is no URL"),
        ("AWS_ENDPOINT_URL_S3", "{endpoint}/bucket", "the endpoint seems to contain a bucket"),
        ("AWS_ENDPOINT_URL_S3", "{endpoint}/other", "the endpoint seems to contain a bucket"),
        ("AWS_CA_BUNDLE", "/no/such/file", "/no/such/file, which AWS_CA_BUNDLE or ssl_verify of DVC's remote names"),
        ("AWS_ACCESS_KEY_ID", "hunter2\n", "a credential contains a line break"),
        ("AWS_PROFILE", "nobody ", "there is no such profile"),
    ],
)
def test_a_wrong_setting_is_named_by_its_variable(
    variable: str, value: str, reason: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value.format(endpoint=os.environ["AWS_ENDPOINT_URL_S3"]))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", os.environ.get("AWS_MAX_ATTEMPTS", "1"))
    with pytest.raises(UserError) as caught:
        open_store(moto).names("")
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_broken_file_of_aws_is_named(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").write_text("[[[\nx")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))
    with pytest.raises(UserError, match=f"AWS's file {tmp_path / 'broken'} cannot be read"):
        open_store(moto).names("")


def test_a_server_that_is_no_s3_is_named_as_such(moto: str, line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(self: Any) -> None:
        self.answer(200, {"Content-Type": "text/html"}, b"<html><body>Console</body></html>")

    monkeypatch.setattr(line.handler, "do_GET", page)
    with pytest.raises(UserError, match="what answers there is not S3: check the endpoint"):
        open_store(moto).names("")


@pytest.mark.parametrize("key", ["exp#1/x", "a;b,c", "%41", "ü 🧊", "a&b=c+d~e'(f)*!"])
def test_every_prefix_is_the_same_to_boto3(key: str, moto: str) -> None:
    import boto3

    open_store(f"{moto}/{key}").put("name", b"x")
    prefix = f"{moto.partition('bucket/')[2]}/{key}/"
    [item] = boto3.Session().client("s3").list_objects_v2(Bucket="bucket", Prefix=prefix)["Contents"]
    assert item["Key"] == f"{prefix}name"
    assert open_store(f"{moto}/{key}").names("") == ["name"]


def test_objects_are_encrypted_as_dvcs_remote_asks(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    Path(".dvc/config").write_text(REMOTE.format(url=moto, settings="sse = aws:kms\n sse_kms_key_id = abc"))
    open_store(moto).put("x", b"x")
    head = boto3.Session().client("s3").head_object(Bucket="bucket", Key=f"{moto.partition('bucket/')[2]}/x")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "abc")
