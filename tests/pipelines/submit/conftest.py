"""The double of the KFP API, running, a compiled pipeline, and functions that start and submit runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.submit.kfp_double import KfpDouble

IMAGE = "registry.example/nofrost@sha256:" + "0" * 64
OPTIONS = ("host", "namespace", "token_file", "ca_cert", "run_name", "service_account", "pipeline_root", "timeout")
SPEC = {
    "pipelineInfo": {"name": "nofrost"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "components": {"comp-prepare": {"executorLabel": "exec-prepare"}},
    "deploymentSpec": {"executors": {"exec-prepare": {"container": {"image": "stage"}}}},
    "root": {
        "dag": {"tasks": {"prepare": {"componentRef": {"name": "comp-prepare"}, "taskInfo": {"name": "prepare"}}}},
        "inputDefinitions": {"parameters": {"store": {"parameterType": "STRING"}}},
    },
}
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-prepare": {}}}}}}


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KfpDouble]:
    """The double, running; kfp finds nothing else in the environment or the home folder."""
    client = pytest.importorskip("kfp.client")
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KFP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("KF_PIPELINES_SA_TOKEN_PATH", "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    if "AWS_ENDPOINT_URL_S3" not in os.environ:
        # Nothing listens there, and no test asks a bucket of somebody else.
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))
    with KfpDouble() as double:
        thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield double
        double.shutdown()
        thread.join()
    assert not double.errors


@pytest.fixture
def api(kfp: KfpDouble) -> Any:
    """A client of the double that has not sent a request yet."""
    from pipelines.submit import Api, Endpoint

    return Api(Endpoint(kfp.url))


def read_compiled(path: Path) -> Any:
    """Return a package of YAML as a submission has it after compiling."""
    from pipelines.submit.compiled import check_compiled

    spec, platform = yaml.safe_load_all(path.read_bytes())
    return check_compiled(path, (spec, platform))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A compiled pipeline called nofrost."""
    path = tmp_path / "nofrost.yaml"
    path.write_text(yaml.safe_dump_all([SPEC, PLATFORM]), encoding="utf-8")
    return path


@pytest.fixture
def start(package: Path) -> Callable[..., Any]:
    """Start a run: start(api), with options of `start_run` on top of the usual ones."""
    from pipelines.submit import start_run

    def start(api: Any, package: Path = package, **options: Any) -> Any:
        usual = {"arguments": {"store": "s3://b"}, "experiment": "robustness", "run_name": "digits"}
        return start_run(read_compiled(package), api=api, **{**usual, **options})

    return start


@pytest.fixture
def submit(kfp: KfpDouble) -> Callable[..., Any]:
    """Submit the digits study: submit(*overrides), with fields of `SubmitRequest` and options of `submit_study`."""
    from nofrost.config import load_study
    from pipelines.submit import SubmitRequest, submit_study

    def submit(*overrides: str, **options: Any) -> Any:
        fields = {"store": "s3://bucket/x", "stage_image": IMAGE, "train_image": IMAGE}
        fields |= {name: options.pop(name) for name in SubmitRequest.__annotations__ if name in options}
        given = {**dict.fromkeys(OPTIONS), "host": kfp.url, "experiment": "e", "wait_for": False, **options}
        return submit_study(SubmitRequest(load_study("digits", overrides), **fields), **given)

    return submit
