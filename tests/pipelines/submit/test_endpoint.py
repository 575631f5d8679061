"""Address, credentials and namespace of the API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import RunFailedError, UserError

pytest.importorskip("kfp")

from pipelines.submit import Api, ApiError, Endpoint, wait

SECRET = "eyJhbGciOiJSUzI1NiJ9.super-secret.token"
Start = Callable[..., Any]


@pytest.mark.parametrize("variable", ["KF_PIPELINES_ENDPOINT", "KFP_ENDPOINT"])
def test_the_address_is_taken_from_the_environment(
    kfp: Any, start: Start, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"{kfp.url}/")
    assert start(Api(Endpoint())).url == f"{kfp.url}/#/runs/details/run-1"


def test_the_option_comes_before_the_environment(kfp: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:1")
    assert start(Api(Endpoint(kfp.url))).run_id == "run-1"


def test_links_use_the_address_of_the_web_pages(api: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example.org/pipeline/")
    assert start(api).url == "https://kubeflow.example.org/pipeline/#/runs/details/run-1"


def test_without_any_address_the_error_asks_for_one(
    kfp: Any, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kube_config = pytest.importorskip("kubernetes.config.kube_config")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no-kubeconfig"))
    with pytest.raises(UserError, match="there is no address of a KFP API: give --host or set KF_PIPELINES_ENDPOINT"):
        start(Api(Endpoint()))
    assert capsys.readouterr() == ("", "")


def test_in_a_cluster_its_own_api_and_the_token_of_the_pod_are_used(
    kfp: Any, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kfp.client import Client

    config = pytest.importorskip("kubernetes.config")
    kfp.token = SECRET
    path = tmp_path / "token"
    path.write_text(SECRET, encoding="utf-8")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(path))
    monkeypatch.setattr(config, "load_incluster_config", lambda: None)
    monkeypatch.setattr(Client, "_IN_CLUSTER_DNS_NAME", kfp.url.removeprefix("http://"))
    assert start(Api(Endpoint())).url == "/pipeline/#/runs/details/run-1"


def test_a_token_without_an_address_is_sent_nowhere(kfp: Any, start: Start, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --host with --token-file"):
        start(Api(Endpoint(token_file=tmp_path / "token")))


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("localhost:8080", "give one like http://localhost:8080"),
        ("kfp", "is not an address"),
        ("ftp://kfp", "is not an address"),
        ("http://", "is not an address"),
        ("http://kfp:port", "is not an address"),
        ("http://[::1", "is not an address"),
        ("http://kfp/#/pipelines", "is the address of a web page: give that of the API, such as http://kfp$"),
        ("http://kfp/page?x=1", "such as http://kfp/page$"),
        ("https://me:hunter2@kfp", "not have a user or password"),
        ("me:hunter2@kfp", "not have a user or password"),
    ],
)
def test_an_invalid_address_is_refused(kfp: Any, start: Start, host: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        start(Api(Endpoint(host)))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("way", ["option", "file variable", "variable"])
def test_a_token_is_sent_with_every_request_and_shown_nowhere(
    kfp: Any,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    kfp.token = SECRET
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    if way == "file variable":
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(path))
    elif way == "variable":
        monkeypatch.setenv("KFP_EXISTING_TOKEN", SECRET)
    api = Api(Endpoint(kfp.url, token_file=path if way == "option" else None))
    done = start(api)
    kfp.story = [{"state": "FAILED"}]
    with pytest.raises(RunFailedError) as raised:
        wait(done.run_id, api, poll=0.01)
    assert {sent for _, _, sent in kfp.requests} == {f"Bearer {SECRET}"}
    shown = "".join(capfd.readouterr()) + caplog.text + repr((api, api.endpoint, done, raised.value))
    assert "super-secret" not in shown


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("token", [None, "old-secret"])
def test_refused_credentials_are_an_error_at_once_and_not_shown(
    kfp: Any,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    status: int,
    token: str | None,
) -> None:
    if token:
        monkeypatch.setenv("KFP_EXISTING_TOKEN", token)
    kfp.fault("GET .*/healthz", (status, "RBAC: access denied"))
    with pytest.raises(
        ApiError, match=rf"denies access \({status}\) when asked to report its health: give a"
    ) as raised:
        start(Api(Endpoint(kfp.url)))
    assert len(kfp.requests) == 1
    assert "old-secret" not in "".join(capfd.readouterr()) + str(raised.value)


NO_TOKENS = (b"", b"  \n", b"two words", b"two\nlines", "schlüssel".encode(), b"\xff\xfe", None)


@pytest.mark.parametrize("content", NO_TOKENS)
def test_a_file_without_a_token_is_refused_without_showing_it(
    kfp: Any, start: Start, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} (has no bearer token|cannot be read)") as raised:
        start(Api(Endpoint(kfp.url, token_file=path)))
    assert not kfp.requests
    assert not any(word in str(raised.value) for word in ("words", "lines", "schlüssel"))


def test_a_variable_without_a_token_is_refused_without_showing_it(
    kfp: Any, api: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "bad\nsecret")
    with pytest.raises(UserError, match=r"KFP_EXISTING_TOKEN has no bearer token: one line .* needed$"):
        start(api)


def test_every_request_has_the_namespace_where_there_are_several_users(kfp: Any, start: Start) -> None:
    kfp.multi_user = True
    start(Api(Endpoint(kfp.url, namespace="team-a")))
    start(Api(Endpoint(kfp.url, namespace="team-a")))
    assert [pipeline["namespace"] for pipeline in kfp.pipelines] == ["team-a"]
    assert [experiment["namespace"] for experiment in kfp.experiments] == ["team-a"]


def test_the_namespace_of_the_pod_is_used_and_nothing_is_written_home(
    kfp: Any, api: Any, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp.client import Client

    (tmp_path / "namespace").write_text("team-pod\n", encoding="utf-8")
    monkeypatch.setattr(Client, "_NAMESPACE_PATH", str(tmp_path / "namespace"))
    kfp.multi_user = True
    start(api)
    assert [pipeline["namespace"] for pipeline in kfp.pipelines] == ["team-pod"]
    assert not Path(Client._LOCAL_KFP_CONTEXT).exists()


@pytest.mark.parametrize(
    ("multi_user", "namespace", "message"),
    [(True, None, "give your namespace with --namespace"), (False, "team-a", "omit --namespace")],
)
def test_a_namespace_is_required_exactly_where_there_are_several_users(
    kfp: Any, start: Start, multi_user: bool, namespace: str | None, message: str
) -> None:
    kfp.multi_user = multi_user
    with pytest.raises(UserError, match=message):
        start(Api(Endpoint(kfp.url, namespace=namespace)))
    assert not kfp.pipelines
