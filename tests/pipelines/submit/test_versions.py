"""A server that cannot run the pipeline is refused before anything is uploaded, and with the setting at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp")

from nofrost.errors import UserError
from pipelines.submit import ApiError
from pipelines.submit.versions import check_version, needs
from tests.pipelines.submit.conftest import read_compiled

FIELDS = ("securityContext", "activeDeadlineSeconds", "resourceTtlOnCompletion")


def with_fields(package: Path, *fields: str) -> Path:
    """Add fields to the settings of a compiled pipeline, in the places where kfp's compiler has them."""
    spec, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    kubernetes = platform["platforms"]["kubernetes"]
    for field in fields:
        if field == "securityContext":
            kubernetes["deploymentSpec"]["executors"]["exec-prepare"][field] = {"runAsUser": "1000"}
        else:
            kubernetes.setdefault("pipelineConfig", {})[field] = 60
    package.write_text(yaml.safe_dump_all([spec, platform]), encoding="utf-8")
    return package


@pytest.mark.parametrize("version", ["2.15.0", "v2.15.2", "2.16.1", "2.17.0", "2.17.0-rc.1"])
def test_supported_versions_run_a_pipeline_without_newer_fields(
    package: Path, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_version(version, read_compiled(package).needs, "http://kfp")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("version", "fields", "facts"),
    [
        ("2.14.4", (), ("KFP 2.14.4 is not supported", "2.15 to 2.17")),
        ("1.8.22", (), ("KFP 1.8.22 is not supported",)),
        ("2.15.0", ("securityContext",), ("run_as needs 2.16", "run_as: null")),
        ("2.16.1", ("activeDeadlineSeconds",), ("deadline_s needs 2.17", "deadline_s: null")),
        ("2.16.0", ("resourceTtlOnCompletion", "securityContext"), ("kept_s needs 2.17", "kept_s: null")),
        ("2.15.0", FIELDS, ("run_as needs 2.16", "deadline_s needs 2.17", "kept_s needs 2.17")),
    ],
)
def test_a_server_that_is_too_old_is_refused_with_the_settings_at_fault(
    package: Path, version: str, fields: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    needed = read_compiled(with_fields(package, *fields)).needs
    with pytest.raises(UserError) as raised:
        check_version(version, needed, "http://kfp")
    assert all(fact in str(raised.value) for fact in ("http://kfp", *facts))


def test_nothing_is_sent_to_a_server_that_is_too_old(kfp: Any, submit: Any) -> None:
    kfp.version = "2.14.0"
    with pytest.raises(UserError, match=f"{kfp.url}: KFP 2.14.0 is not supported"):
        submit('dataset.source="folder"', 'dataset.path="no-such-folder"')
    assert {(method, path) for method, path, _ in kfp.requests} == {("GET", "/apis/v2beta1/healthz")}


@pytest.mark.parametrize(
    ("version", "fact"),
    [("unknown", "it reports 'unknown'"), ("", "it reports ''"), ("master", "'master'"), ("2.18.0", "2.18.0 is newer")],
)
def test_a_version_that_is_not_known_is_a_remark(
    kfp: Any, submit: Any, version: str, fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.version = version
    submit()
    assert len(kfp.runs) == 1
    remark, *_ = capsys.readouterr().err.splitlines()
    assert fact in remark


def test_the_version_is_known_at_the_address_of_the_web_pages(kfp: Any, api: Any) -> None:
    pages = {"apiServerTagName": "2.16.1", "apiServerReady": True, "multi_user": True, "frontendTagName": "9.9.9"}
    kfp.fault("GET .*/healthz", (200, pages), (200, pages))
    assert (api.health.version, api.health.multi_user) == ("2.16.1", True)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {"securityContext"}),
        ({"run_as": None}, set()),
        ({"run_as": None, "deadline_s": 60}, {"activeDeadlineSeconds"}),
        ({"run_as": None, "kept_s": 60}, {"resourceTtlOnCompletion"}),
        ({"deadline_s": 60, "kept_s": 60}, {"securityContext", "activeDeadlineSeconds", "resourceTtlOnCompletion"}),
    ],
)
def test_what_a_pipeline_needs_follows_from_what_was_compiled(settings: dict[str, Any], fields: set[str]) -> None:
    from pipelines.cluster_settings import Cluster
    from pipelines.graph import make_pipeline
    from pipelines.graph_settings import GraphSettings
    from pipelines.package import canonical
    from pipelines.study_plan import RunPlan, StudyPlan

    plan = StudyPlan("study", "dataset", "augmentation", (), (), (RunPlan("st", "0", "recipe"),))
    _, platform = canonical(make_pipeline(plan, GraphSettings(Cluster(**settings))))
    assert needs(platform) == fields


@pytest.mark.parametrize("quote", [' "', '\xa0"'])
@pytest.mark.parametrize(("request_", "what"), [("POST .*/upload_version", "accept"), ("POST .*/runs", "start")])
@pytest.mark.parametrize(
    ("field", "facts"),
    [("securityContext", ("older than 2.16", "run_as: null")), ("aNewOne", ("2.15 to 2.17",))],
)
def test_a_field_that_the_server_does_not_know_is_explained(
    kfp: Any, api: Any, start: Any, quote: str, request_: str, what: str, field: str, facts: tuple[str, ...]
) -> None:
    reason = f'failed to unmarshal kubernetes config: proto: (line 1:2): unknown field{quote}{field}"'
    body = {"error_message": reason, "message": reason, "code": 13}
    kfp.version = "unknown"
    kfp.fault(request_, (500, body))
    with pytest.raises(ApiError) as raised:
        start(api)
    assert all(fact in str(raised.value) for fact in (f"refused to {what}", field, *facts))
    assert "before you submit again" not in str(raised.value)
