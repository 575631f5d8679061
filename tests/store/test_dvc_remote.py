"""DVC's default remote: the one of `dvc push`, from all levels and in all syntax of DVC's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import default_store, open_store, push
from nofrost.store.base import object_name
from nofrost.store.dvc_remote import default_remote
from nofrost.store.s3 import S3Store

Dvc = Callable[..., str]
Configure = Callable[..., None]
DEFAULT = "[core]\n    remote = r\n"


def remote(url: str, *settings: str) -> str:
    return "\n    ".join(("['remote \"r\"']", f"url = {url}", *settings)) + "\n"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A function that writes DVC's configuration by level: system, everywhere (global), project, local."""
    files = {level: tmp_path / level / "config" for level in ("system", "everywhere")}
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(files["system"].parent))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(files["everywhere"].parent))
    home = tmp_path / "project" / ".dvc"
    files |= {"project": home / "config", "local": home / "config.local"}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(home.parent)

    def write(**levels: str | bytes) -> None:
        for level, content in levels.items():
            files[level].write_bytes(content.encode() if isinstance(content, str) else content)

    return write


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "../beside"])
def test_the_default_remote_is_found_where_dvc_finds_it(url: str, tmp_path: Path, dvc: Dvc) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "sub" / "deeper").mkdir(parents=True)
    dvc("init", "--quiet", "--no-scm", cwd=workspace)
    dvc("remote", "add", "--quiet", "Other", "s3://other/x", cwd=workspace)
    dvc("remote", "add", "--quiet", "--default", "Mine", url, cwd=workspace / "sub")
    script = "from dvc.repo import Repo; print(Repo().cloud.get_remote().path)"
    done = subprocess.run([sys.executable, "-c", script], cwd=workspace, capture_output=True, text=True, check=True)
    for folder in (workspace, workspace / "sub" / "deeper"):
        assert default_store(folder).removeprefix("s3://") == done.stdout.strip()


@pytest.mark.parametrize(
    ("levels", "url"),
    [
        ({"system": DEFAULT + remote("s3://system/x")}, "s3://system/x"),
        ({"everywhere": DEFAULT + remote("s3://global/x")}, "s3://global/x"),
        ({"everywhere": DEFAULT, "project": remote("s3://project/x")}, "s3://project/x"),
        ({"everywhere": remote("s3://global/x"), "local": DEFAULT}, "s3://global/x"),
        (
            {
                "system": DEFAULT + remote("s3://1/x"),
                "everywhere": remote("s3://2/x"),
                "project": remote("s3://3/x"),
                "local": remote("s3://4/x"),
            },
            "s3://4/x",
        ),
        ({"project": "[core]\nremote = R  # the default\n" + remote('"s3://a/b#c"  # note')}, "s3://a/b#c"),
        ({"project": DEFAULT + remote("s3://a/b # note")}, "s3://a/b"),
        ({"project": DEFAULT + remote("s3://a/%(profile)s", "profile = x y")}, "s3://a/x y"),
        ({"project": DEFAULT + "['remote \"base\"']\nurl = s3://a/b\n" + remote("remote://base/c")}, "s3://a/b/c"),
        ({"project": DEFAULT + remote("'''s3://a/b'''")}, "s3://a/b"),
        ({"project": (DEFAULT + remote("s3://a/b")).replace("\n", "\r\n")}, "s3://a/b"),
    ],
)
def test_every_level_and_syntax_of_the_configuration_is_read(
    levels: dict[str, str], url: str, configure: Configure
) -> None:
    configure(**levels)
    assert default_store() == url


def test_the_global_level_alone_is_no_store_outside_of_a_project(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(everywhere=DEFAULT + remote("s3://global/x"))
    monkeypatch.chdir(tmp_path / "system")
    with pytest.raises(UserError, match=r"no store is configured: set NOFROST_STORE, or run `dvc remote add --default"):
        default_store()


# Each line repeats the one before ten times.
BOMB = "[core]\na0 = x\n" + "".join(f"a{n + 1} = {f'%(a{n})s' * 10}\n" for n in range(9)) + "remote = %(a9)s"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[core\nremote = x", "line 1"),
        ("[core]\nremote = r\nremote = s", "line 3"),
        ("[core]\nsecret_access_key hunter2", "line 2"),
        ("[core]\nremote = %(nothing)s", "missing option"),
        ("[core]\nremote = absent", "remote 'absent' doesn't exist"),
        (DEFAULT + remote("a, b"), "list"),
        (DEFAULT + remote("gopher://x/y"), "Unsupported URL type gopher://"),
        (DEFAULT + remote("s3://[a/b"), "read as DVC"),
        (DEFAULT + remote("s3://a/b", "use_ssl = perhaps"), "expected true or false"),
        (DEFAULT + remote("s3://a/b", "read_timeout = long"), "read_timeout"),
        (DEFAULT + remote("s3://a/b", "[[sub]]", "x = y"), "sub"),
        (DEFAULT + remote("remote://r/x"), "recursion"),
        (DEFAULT + "['remote \"r\"']\nprofile = x", "url"),
        (DEFAULT + remote("file:///x"), "without file://"),
        (DEFAULT + remote("s3://a/b") + "[cache]\ntype = paper\n", "cache"),
        (b"[core]\nremote = \xff\xfe", "decode"),
        (b"[core\0" * 100, "line 1"),
        ("[core]\n" + "x" * 70_000, "larger than"),
        (BOMB, "interpolations"),
    ],
)
def test_a_configuration_that_dvc_cannot_use_is_one_sentence(
    content: str | bytes, reason: str, configure: Configure
) -> None:
    configure(project=content)
    begin = time.monotonic()
    with pytest.raises(UserError) as caught:
        default_store()
    message = str(caught.value)
    assert time.monotonic() - begin < 100
    assert "NOFROST_STORE" in message
    assert "hunter2" not in message
    assert "\n" not in message
    assert reason in message


def test_the_file_at_fault_is_named(configure: Configure, tmp_path: Path) -> None:
    configure(project=DEFAULT, everywhere="[core\n")
    with pytest.raises(UserError, match=str(tmp_path / "everywhere" / "config")):
        default_store()


@pytest.mark.parametrize("level", ["everywhere", "local"])
def test_a_fifo_in_place_of_a_configuration_is_refused(level: str, configure: Configure, tmp_path: Path) -> None:
    configure(project=DEFAULT)
    path = tmp_path / "everywhere" / "config" if level == "everywhere" else tmp_path / "project/.dvc/config.local"
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"{path} is a .*, not a regular file"):
        default_store()


def test_settings_have_dvcs_types_and_precedence(configure: Configure) -> None:
    configure(
        project=DEFAULT + remote("s3://bucket/x", "use_ssl = false", "read_timeout = 7"),
        local=remote("s3://bucket/x", "access_key_id = key", "secret_access_key = hunter2"),
    )
    default = default_remote(Path())
    assert default is not None
    expected = {"use_ssl": False, "read_timeout": 7, "access_key_id": "key", "secret_access_key": "hunter2"}
    assert expected.items() <= default.settings.items()
    assert "hunter2" not in repr(default)


@pytest.mark.parametrize(
    ("setting", "of_bucket"),
    [
        ("version_aware = true", False),
        ("worktree = true", False),
        ("acl = public-read", True),
        ("grant_read = id=1", True),
        ("sse_customer_key = eA==", True),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(setting: str, of_bucket: bool, configure: Configure) -> None:
    configure(project=DEFAULT + remote("s3://bucket/x", setting))
    with pytest.raises(UserError, match=f"DVC's remote 'r' .*{setting.partition(' ')[0]}.*use `dvc push`"):
        open_store("s3://bucket/x")
    if of_bucket:
        with pytest.raises(UserError, match="cannot do"):
            open_store("s3://bucket/y")
    else:
        open_store("s3://bucket/y")
    open_store("s3://another/x")


def test_settings_of_a_folder_that_are_not_read_are_named(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(project=DEFAULT + remote("/x", "shared = group"))
    assert default_store() == "/x"
    assert "the setting 'shared' of DVC's remote 'r' is not read" in capsys.readouterr().err
    configure(project=DEFAULT + remote("/x", "worktree = true"))
    with pytest.raises(UserError, match=r"worktree.*cannot do"):
        default_store()


def test_without_dvc_an_s3_store_says_that_its_settings_are_not_read(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(project=DEFAULT)
    monkeypatch.setattr("nofrost.store.remote.find_spec", lambda name: None)
    open_store("s3://bucket/x")
    assert capsys.readouterr().err == "nofrost: DVC is not installed here: the settings of its remotes are not read\n"
    monkeypatch.setitem(sys.modules, "dvc.config", None)
    with pytest.raises(UserError, match=r"DVC is not installed here.*pip install 'nofrost\[dvc\]', or set NOFROST_S"):
        default_store()


@pytest.mark.parametrize(
    "settings",
    [
        ("endpointurl = {endpoint}", "access_key_id = k", "secret_access_key = s"),
        ("endpointurl = {endpoint}", "profile = mine", "credentialpath = ../../credentials"),
        ("profile = mine", "credentialpath = ../../credentials", "configpath = ../../aws"),
        ("endpointurl = {endpoint}", "allow_anonymous_login = true"),
        ("endpointurl = {endpoint}", "access_key_id = k", "secret_access_key = s", "session_token = t",
         "ssl_verify = false", "use_ssl = false", "read_timeout = 20", "connect_timeout = 5", "region = eu-west-1"),
    ],
)  # fmt: skip
def test_credentials_of_every_kind_that_dvc_push_uses(
    settings: tuple[str, ...], moto: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = k\naws_secret_access_key = s\n")
    (tmp_path / "aws").write_text(f"[profile mine]\nregion = eu-west-1\nendpoint_url = {endpoint}\n")
    (tmp_path / "file").write_text("x")
    local = remote(moto, *(setting.format(endpoint=endpoint) for setting in settings))
    configure(project=DEFAULT + remote(moto), local=local)
    store = open_store(default_store())
    ref = push(tmp_path / "file", store)
    assert store.names("files/") == [object_name(ref.md5)]


MANY = """
[core]
    remote = main
['remote "main"']
    url = s3://bucket/main
    region = main
['remote "other"']
    url = s3://bucket/other
    region = other
['remote "inner"']
    url = s3://bucket/other/inner
    region = inner
['remote "elsewhere"']
    url = s3://away/x/
    region = elsewhere
['remote "twin"']
    url = s3://away/x
    region = twin
['remote "alias"']
    url = remote://missing/x
['remote "folder"']
    url = ../folder
['remote "again"']
    url = s3://same/x
    region = same
['remote "equal"']
    url = s3://same/x
    region = same
"""


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("s3://bucket/main", "main"),
        ("s3://bucket/main/deep", "main"),
        ("s3://bucket/any", "main"),
        ("s3://bucket", "main"),
        ("s3://bucket/other", "other"),
        ("s3://bucket/other/", "other"),
        ("s3://bucket/other/deep", "other"),
        ("s3://bucket/others", "main"),
        ("s3://bucket/other/inner/x", "inner"),
        ("s3://away/y", None),
        ("s3://same/x", "same"),
        ("s3://unknown/other", None),
    ],
)
def test_a_store_has_the_settings_of_the_remote_that_it_belongs_to(
    url: str, region: str | None, configure: Configure
) -> None:
    configure(project=MANY)
    store = open_store(url)
    assert isinstance(store, S3Store)
    assert store._settings.get("region") == region


def test_a_url_of_two_remotes_with_other_settings_is_refused_unless_one_is_the_default(configure: Configure) -> None:
    configure(project=MANY)
    with pytest.raises(UserError, match="remotes 'elsewhere' and 'twin' have the same URL, s3://away/x"):
        open_store("s3://away/x")
    configure(project=MANY.replace("remote = main", "remote = twin"))
    store = open_store("s3://away/x")
    assert isinstance(store, S3Store)
    assert store._settings["region"] == "twin"
