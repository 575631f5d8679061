"""What a submission creates on the server, also when there are others or it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")

from pipelines.submit import Api, ApiError, Endpoint, StartedRun
from tests.pipelines.submit.conftest import read_compiled

UPLOAD = "POST .*/upload_version"
Start = Callable[..., Any]


def test_the_first_submission_creates_pipeline_version_experiment_and_run(
    kfp: Any, api: Any, start: Start, package: Path
) -> None:
    arguments = {"store": "s3://bucket/nofrost"}
    done = start(api, arguments=arguments, service_account="runner", pipeline_root="s3://bucket/kfp")

    version = read_compiled(package).version
    assert done == StartedRun("run-1", f"{kfp.url}/#/runs/details/run-1", version, created_version=True)
    assert [pipeline["display_name"] for pipeline in kfp.pipelines] == ["nofrost"]
    assert [made["display_name"] for made in kfp.versions] == [version]
    assert kfp.uploads == [package.read_bytes()]
    (run,) = kfp.runs
    assert run["display_name"] == "digits"
    assert run["runtime_config"] == {"parameters": arguments, "pipeline_root": "s3://bucket/kfp"}
    assert run["service_account"] == "runner"
    assert run["experiment_id"] == kfp.experiments[0]["experiment_id"]


def test_a_run_gets_those_arguments_that_are_parameters_of_its_pipeline(kfp: Any, api: Any, start: Start) -> None:
    start(api, arguments={"store": "s3://bucket/nofrost", "train_image": "unused"})
    (run,) = kfp.runs
    assert run["runtime_config"]["parameters"] == {"store": "s3://bucket/nofrost"}


def test_the_same_pipeline_again_is_one_version(kfp: Any, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    first = start(Api(Endpoint(kfp.url)))
    assert capsys.readouterr() == ("", f"pipeline nofrost, version {first.version}: uploaded\n")
    second = start(Api(Endpoint(kfp.url)))
    assert "exists already and is reused" in capsys.readouterr().err
    assert (first.created_version, second.created_version) == (True, False)
    assert first.version == second.version
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)


def test_a_changed_pipeline_is_a_version_beside_the_old_one(kfp: Any, api: Any, start: Start, package: Path) -> None:
    start(api)
    package.write_text(package.read_text(encoding="utf-8").replace("image: stage", "image: other"), encoding="utf-8")
    assert start(api).created_version
    assert (len(kfp.pipelines), len(kfp.versions)) == (1, 2)
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kfp.runs]
    assert used == [version["pipeline_version_id"] for version in kfp.versions]


def test_what_somebody_else_creates_meanwhile_is_used(kfp: Any, api: Any, start: Start, package: Path) -> None:
    version = read_compiled(package).version

    def make_pipeline() -> None:
        kfp.add(kfp.pipelines, "pipeline_id", display_name="nofrost")

    def make_version() -> None:
        pipeline_id = kfp.pipelines[0]["pipeline_id"]
        kfp.add(kfp.versions, "pipeline_version_id", pipeline_id=pipeline_id, display_name=version)

    def make_experiment() -> None:
        kfp.add(kfp.experiments, "experiment_id", display_name="robustness")

    kfp.fault("POST .*/pipelines", make_pipeline)
    kfp.fault(UPLOAD, make_version)
    kfp.fault("POST .*/experiments", make_experiment)
    assert not start(api).created_version
    assert (kfp.count(UPLOAD), kfp.uploads, len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, [], 1, 1, 1)
    assert [run["experiment_id"] for run in kfp.runs] == [kfp.experiments[0]["experiment_id"]]


def test_the_answer_500_for_a_version_that_exists_is_understood(kfp: Any, api: Any, start: Start) -> None:
    start(api)
    kfp.fault("GET .*/versions", (200, {}))
    kfp.fault(UPLOAD, (500, {"error_message": "Internal error: The name already exist."}))
    assert not start(api).created_version
    assert len(kfp.versions) == 1


def test_other_versions_are_not_taken_for_ours(kfp: Any, api: Any, start: Start) -> None:
    other = {"pipeline_version_id": "other", "display_name": "sha256-000000000000"}
    kfp.fault("GET .*/versions", (200, {"pipeline_versions": [other]}))
    assert start(api).created_version


def test_a_name_that_is_taken_and_not_shown_is_an_error(kfp: Any, api: Any, start: Start) -> None:
    taken = (409, {"message": "it already exists", "code": 6})
    kfp.fault("POST .*/experiments", taken, taken)
    with pytest.raises(ApiError, match=r"refused to create an experiment \(409\): it already exists"):
        start(api)


def test_a_submission_that_was_interrupted_is_completed_by_the_next(kfp: Any, api: Any, start: Start) -> None:
    kfp.fault(UPLOAD, "drop")
    with pytest.raises(ApiError, match="cannot be reached"):
        start(api)
    assert (len(kfp.pipelines), len(kfp.versions)) == (1, 0)
    assert start(api).created_version
    assert (len(kfp.pipelines), len(kfp.versions)) == (1, 1)
