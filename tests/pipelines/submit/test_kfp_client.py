"""The private places of kfp's client that we use, and the behaviour of ours that kfp's own does not have."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")

import kfp_server_api
from kfp import client
from kfp_server_api.rest import RESTClientObject

from pipelines.submit import Api, ApiError, Endpoint, kfp_client

MOVED = "a release of kfp moved what pipelines/submit/kfp_client.py uses: adapt that file"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_kfp_has_the_private_places_that_are_used() -> None:
    assert parameters(client.Client._load_config)[:2] == ["self", "host"], MOVED
    assert parameters(client.Client.get_kfp_healthz) == ["self", "sleep_duration"], MOVED
    assert parameters(client.Client.set_user_namespace) == ["self", "namespace"], MOVED
    assert parameters(RESTClientObject.__init__)[:2] == ["self", "configuration"], MOVED
    assert "_request_timeout" in parameters(RESTClientObject.request), MOVED
    assert hasattr(kfp_server_api.Configuration(), "retries"), MOVED
    assert hasattr(kfp_server_api.Configuration(), "refresh_api_key_hook"), MOVED
    assert isinstance(client.Client._LOCAL_KFP_CONTEXT, str), MOVED


def test_a_client_has_the_private_places_that_are_used(kfp: Any) -> None:
    made = kfp_client.KfpClient(host=kfp.url)
    assert made._existing_config.host == kfp.url, MOVED
    assert made._context_setting == {"namespace": ""}, MOVED
    shared = [made._run_api, made._experiment_api, made._pipelines_api, made._upload_api]
    assert {id(api.api_client) for api in shared} == {id(made._run_api.api_client)}, MOVED
    assert made.runs.run_service_get_run.__self__.api_client is made._run_api.api_client, MOVED


@pytest.mark.parametrize(
    ("method", "needed"),
    [
        ("list_pipelines", {"filter", "namespace"}),
        ("list_pipeline_versions", {"pipeline_id", "filter"}),
        ("upload_pipeline_version", {"pipeline_package_path", "pipeline_version_name", "pipeline_id", "description"}),
        ("create_experiment", {"name", "namespace"}),
        (
            "run_pipeline",
            {"experiment_id", "job_name", "params", "pipeline_id", "version_id", "pipeline_root", "service_account"},
        ),
        ("get_run", {"run_id"}),
    ],
)
def test_kfp_has_the_methods_that_are_used(method: str, needed: set[str]) -> None:
    assert needed <= set(parameters(getattr(client.Client, method)))


def test_every_request_has_a_time_limit(kfp: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.connect()
    monkeypatch.setattr(kfp_client, "TIMEOUT_S", (60, 0.3))
    is_over = threading.Event()
    kfp.fault("GET .*/experiments", lambda: is_over.wait(120))
    with pytest.raises(ApiError, match="no answer in time"):
        api.experiment("robustness")
    is_over.set()


def test_a_namespace_of_another_installation_in_kfps_settings_is_not_sent(
    kfp: Any, api: Any, start: Any, tmp_path: Path
) -> None:
    settings = tmp_path / "no-context.json"  # where the double has kfp look
    settings.write_text('{"namespace": "team-a"}', encoding="utf-8")
    start(api)
    assert [experiment.get("namespace") or None for experiment in kfp.experiments] == [None]
    assert settings.read_text(encoding="utf-8") == '{"namespace": "team-a"}'


def test_two_experiments_of_one_name_are_an_error_of_one_sentence(kfp: Any, start: Any) -> None:
    for _ in range(2):
        kfp.add(kfp.experiments, "experiment_id", display_name="robustness")
    with pytest.raises(ApiError, match=r"cannot be asked to create an experiment: .*robustness"):
        start(Api(Endpoint(kfp.url)))
    assert not kfp.runs
