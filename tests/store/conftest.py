"""Stores to test with: a folder, moto's S3 in this process, and a real S3 server where there is one."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from nofrost.store import Store, open_store

Dvc = Callable[..., str]


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's configuration of AWS, DVC and git out of the tests."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "NOFROST_STORE", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no such file"))
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "of dvc"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """moto: S3 over HTTP, which does not check signatures. It has a bucket called "bucket"."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from werkzeug.serving import make_server

    app, lock = server.DomainDispatcherApplication(server.create_backend_app), threading.Lock()

    def with_whole_conditions(environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request; one with a condition alone: between its check and its write moto lets others in."""
        is_conditional = not {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}.isdisjoint(environ)
        with lock if is_conditional else nullcontext():
            return app(environ, start_response)

    served = make_server("127.0.0.1", 0, with_whole_conditions, threaded=True)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{served.server_port}"
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=testing/20000101/us-east-1/s3/aws4_request"}
    urlopen(Request(f"{url}/bucket", headers=signed, method="PUT")).close()
    from botocore.loaders import JSONFileLoader

    with pytest.MonkeyPatch.context() as patch:
        # Each client would read the descriptions of AWS again, which is more than half of the time that it takes.
        read = cache(JSONFileLoader().load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield url
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def moto(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix on moto, which the environment points to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def s3() -> str:
    """URL of an empty prefix on a real server that checks signatures; `tests/servers/s3.py` starts one."""
    bucket = os.environ.get("NOFROST_TEST_S3")
    if not bucket:
        pytest.skip("NOFROST_TEST_S3 names no bucket: run this with `python tests/servers/s3.py -- pytest tests/store`")
    return f"{bucket}/{uuid.uuid4().hex}"


@pytest.fixture(params=["folder", "moto", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store, of every kind in turn."""
    return str(tmp_path / "store") if request.param == "folder" else str(request.getfixturevalue(request.param))


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that has ever gone wrong with names and contents."""
    data = tmp_path / "data"
    files = {
        "a": b"one\n",
        "twin": b"one\n",
        "empty": b"",
        "sub/sub b/deep.txt": b"two\r\n",
        "sub-sorts-before-a-slash": b"three",
        'quote"back\\slash\tnew\nline\x7f': b"four",
        "ünï©ödé-名前-🧊": b"five",
        "a&b?c=%20+;#~'(x)*": b"six",
        ".hidden/.tmp.tmp": b"seven",
        "fingerprint.json": b"{}",
        "larger.bin": bytes(range(256)) * 4321,
    }
    for relpath, content in files.items():
        path = data / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (data / "no file in it" / "nor here").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"linked")
    (data / "link").symlink_to(tmp_path / "elsewhere")
    return data


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """A function that returns the content of each file below a folder by its path in it."""

    def read(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read


@pytest.fixture
def dvc(tmp_path: Path) -> Dvc:
    """A function that runs the real DVC: `dvc("add", "data", cwd=workspace)`."""

    def run(*arguments: str, cwd: Path) -> str:
        done = subprocess.run(["dvc", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"dvc {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    return run


@pytest.fixture
def workspace(tmp_path: Path, dvc: Dvc) -> Callable[[str, str], Path]:
    """A function that makes a DVC workspace without git: `workspace("here", url of the remote)`."""

    def make(name: str, url: str) -> Path:
        workspace = tmp_path / name
        workspace.mkdir()
        dvc("init", "--quiet", "--no-scm", cwd=workspace)
        dvc("remote", "add", "--quiet", "--default", "store", url, cwd=workspace)
        if url.startswith("s3://"):
            dvc("remote", "modify", "store", "endpointurl", os.environ["AWS_ENDPOINT_URL_S3"], cwd=workspace)
        return workspace

    return make
