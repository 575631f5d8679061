"""Choosing a store by a URL, by the environment, and by DVC's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import default_store, open_store

Dvc = Callable[..., str]


def test_without_boto3_an_s3_store_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from nofrost.store import open_store; open_store('folder')\n"
        "try: open_store('s3://bucket')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a store on S3 needs more" in done.stdout
    assert "pip install 'nofrost[store]'" in done.stdout


def test_the_environment_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_STORE", "s3://mine/x")
    assert default_store(tmp_path) == "s3://mine/x"


def test_without_any_store_the_message_says_how_to_configure_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no store is configured: set NOFROST_STORE, or run `dvc remote add --default"):
        default_store(tmp_path)


def test_this_projects_own_remote_is_beside_its_data() -> None:
    root = Path(__file__).parents[2]
    assert default_store(root) == str(root / ".dvc-storage")


def test_endpoint_and_region_of_dvcs_remote_are_used_for_its_bucket(
    moto: str, tmp_path: Path, dvc: Dvc, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    dvc("init", "--quiet", "--no-scm", cwd=tmp_path)
    dvc("remote", "add", "--quiet", "--default", "mine", "s3://bucket/dvc", cwd=tmp_path)
    dvc("remote", "modify", "mine", "endpointurl", endpoint, cwd=tmp_path)
    dvc("remote", "modify", "mine", "region", "eu-west-1", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    open_store(moto).put("x", b"x")
    assert open_store(moto).get("x") == b"x"
    with pytest.raises(UserError, match="it cannot be reached"):
        open_store("s3://another/x").get("x")


def test_a_custom_endpoint_is_used_path_style(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL_S3"].replace("127.0.0.1", "localhost"))
    open_store(moto).put("x", b"x")
    assert open_store(moto).get("x") == b"x"
