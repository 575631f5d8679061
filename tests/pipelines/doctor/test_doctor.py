"""`python -m pipelines doctor`: one line for each finding, and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("kubernetes")

from nofrost.errors import UserError
from nofrost.store import open_store
from pipelines.doctor import Subject, examine
from pipelines.doctor.conditional_writes import check_store
from pipelines.doctor.installation import CHECKS as INSTALLED
from pipelines.submit import Endpoint
from tests.pipelines.doctor.conftest import served
from tests.pipelines.submit.conftest import kfp  # noqa: F401  (a fixture)
from tests.pipelines.submit.kfp_double import KfpDouble
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

CHECKS = ["Kubeflow Pipelines", "service account", "training jobs", "S3 create-if-absent", "S3 compare-and-swap"]
CHECKS += ["stage image", "train image"]


def states(subject: Subject) -> dict[str, str]:
    return {finding.check: finding.state for finding in examine(subject)}


def test_a_cluster_and_a_store_that_have_everything(kfp: KfpDouble, kubernetes: Any, moto: str) -> None:  # noqa: F811
    found = states(Subject(Endpoint(kfp.url), moto))
    assert found == {**dict.fromkeys(CHECKS[:5], "ok"), **dict.fromkeys(CHECKS[5:], "unknown")}
    assert {method for method, _, _ in kfp.requests} == {"GET"}
    assert open_store(moto).names("nofrost") == [], "the probe is cleaned up"


def test_nothing_that_is_away_ends_the_examination(no_cluster: Path, tmp_path: Path) -> None:
    found = list(examine(Subject(Endpoint("http://127.0.0.1:9"), str(tmp_path))))
    assert [finding.check for finding in found] == CHECKS
    assert [finding.state for finding in found] == ["missing", "unknown", "unknown", *["missing"] * 2, *["unknown"] * 2]
    assert "cannot be reached" in found[0].detail
    assert "a folder of this machine" in found[3].detail


@pytest.mark.parametrize(
    ("version", "text", "state", "fact"),
    [
        ("2.16.0", "deadline_s: 60", "missing", "deadline_s needs 2.17"),
        ("2.15.0", "{}", "missing", "run_as needs 2.16"),
        ("2.15.0", "run_as: null", "ok", "KFP 2.15.0"),
        ("2.17.0", "deadline_s: 60", "ok", "KFP 2.17.0"),
        ("2.14.0", "{}", "missing", "2.14.0 is not supported"),
        ("unknown", "{}", "unknown", "'unknown'"),
    ],
)
def test_the_version_is_compared_with_the_settings_of_the_cluster(
    kfp: KfpDouble,  # noqa: F811
    no_cluster: Path,
    tmp_path: Path,
    version: str,
    text: str,
    state: str,
    fact: str,
) -> None:
    kfp.version = version
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(text, encoding="utf-8")
    finding = next(examine(Subject(Endpoint(kfp.url), "s3://bucket", cluster=cluster)))
    assert (finding.state, fact in finding.detail) == (state, True), finding


def test_a_wrong_file_of_the_cluster_is_an_error(no_cluster: Path, tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("gpus: 1", encoding="utf-8")
    with pytest.raises(UserError, match=r"cluster\.yaml.*gpus"):
        list(examine(Subject(Endpoint("http://127.0.0.1:9"), "s3://bucket", cluster=cluster)))


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """An S3 server that writes everything, whatever the condition, unless `refuse` has a status for conditions."""
    refuse: dict[str, int] = {}

    def answer(request: Any) -> Any:
        if request.command == "GET":
            listed = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
            return 200, {"Content-Type": "application/xml"}, listed
        conditional = "If-Match" in request.headers or "If-None-Match" in request.headers
        if conditional and refuse:
            return refuse["status"], {}, b"<Error><Code>NotImplemented</Code></Error>"
        return (204 if request.command == "DELETE" else 200), {"ETag": f'"{id(request):032x}"'}, b""

    with served(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        yield refuse


@pytest.mark.parametrize("status", [None, 501])
def test_a_server_without_conditions_is_found_out(
    careless: dict[str, int], no_cluster: Path, status: int | None
) -> None:
    if status:
        careless["status"] = status
    found = [
        finding
        for finding in examine(Subject(Endpoint("http://127.0.0.1:9"), "s3://bucket/x"))
        if "S3" in finding.check
    ]
    assert [finding.state for finding in found] == ["missing", "missing"]
    assert ["If-None-Match" in found[0].detail, "If-Match" in found[1].detail] == [True, True]


@pytest.mark.parametrize(
    ("store", "code", "state"),
    [
        (None, "", "unknown"),
        (503, "SlowDown", "unknown"),
        (403, "AccessDenied", "missing"),
        (404, "NoSuchBucket", "missing"),
    ],
)
def test_a_store_that_does_not_answer_is_unknown(
    careless: dict[str, int], monkeypatch: pytest.MonkeyPatch, store: int | None, code: str, state: str
) -> None:
    def answer(request: Any) -> Any:
        return store, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()

    with served(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url if store else "http://127.0.0.1:9")
        findings = list(check_store("s3://bucket/x"))
    assert [finding.state for finding in findings] == [state, state], findings


def doctor(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_finding(kfp: KfpDouble, moto: str) -> None:  # noqa: F811
    ended = doctor("--host", kfp.url, "--store", moto, "--namespace", "team-a")
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert len(lines) == len(CHECKS)
    assert lines[0].startswith("missing  Kubeflow Pipelines")
    assert "omit --namespace" in lines[0]
    ended = doctor("--host", kfp.url, "--store", moto, "--json", "--gpus", "8", "--nodes", "2", "--installation")
    found = {finding["check"]: finding["state"] for finding in json.loads(ended.stdout)}
    assert list(found) == [*CHECKS[:3], "GPUs", *CHECKS[3:], *INSTALLED]
    assert ended.returncode == int("missing" in found.values())
    assert found["S3 compare-and-swap"] == "ok"
