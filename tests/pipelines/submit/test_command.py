"""`python -m pipelines submit` as a command: what it starts, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp")

from nofrost.config import load_study, parse_study
from nofrost.tasks import check_study
from nofrost.tasks.ascii_text import from_ascii
from tests.pipelines.conftest import Program

ROOT = Path(__file__).parents[3]
IMAGE = "registry.example/nofrost-{}@sha256:" + "0" * 64
TOKEN = "token-of-this-test"
VARIABLES = {"KFP_EXISTING_TOKEN": TOKEN, "AWS_DEFAULT_REGION": "us-east-1"}


def options_of(kfp: Any, *flags: str, **changed: str) -> list[str]:
    """The command that submits the digits study; `changed` options take the place of the usual ones."""
    usual = {"host": kfp.url, "study": "digits", "store": "s3://bucket/nofrost"}
    usual |= {f"{name}_image": IMAGE.format(name) for name in ("stage", "train")}
    options = [word for key, value in {**usual, **changed}.items() for word in (f"--{key.replace('_', '-')}", value)]
    return ["submit", *options, *flags]


def command(kfp: Any, *flags: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run it as a process."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *options_of(kfp, *flags, **changed)],
        cwd=ROOT,
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def submit_here(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run it in this process."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return lambda *options, **changed: program(*options_of(*options, **changed))


def test_a_study_is_started_with_its_parameters(kfp: Any, submit_here: Program) -> None:
    ended = submit_here(kfp, gpus="1", shards="4", set="runs.recipe=[st]", service_account="runner")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"run run-1: {kfp.url}/#/runs/details/run-1\n"
    (run,) = kfp.runs
    assert run["runtime_config"]["parameters"] == {
        "store": "s3://bucket/nofrost",
        "stage_image": IMAGE.format("stage"),
        "train_image": IMAGE.format("train"),
        "data_ref": "",
        "schedule": "",
    }
    (package,) = kfp.uploads
    spec, _ = yaml.safe_load_all(package)
    tasks = spec["components"]["comp-exit-handler"]["dag"]["tasks"]
    assert tasks["run"]["taskInfo"]["name"] == "st, seed 0"
    study = tasks["report"]["inputs"]["parameters"]["study"]["runtimeValue"]["constant"]
    assert parse_study(from_ascii(study)) == check_study(load_study("digits", ["runs.recipe=[st]"]))
    assert (run["display_name"], run["service_account"]) == ("digits", "runner")
    assert TOKEN not in ended.stdout + ended.stderr


def test_the_started_run_is_printed_as_json(kfp: Any, submit_here: Program) -> None:
    ended = submit_here(kfp, "--json")
    started = json.loads(ended.stdout)
    assert started["run_id"] == "run-1"
    assert started["created_version"] is True


@pytest.mark.slow
def test_the_exit_code_with_wait_is_that_of_the_run(kfp: Any) -> None:
    kfp.story = [{"state": "FAILED"}]
    ended = command(kfp, "--wait")
    assert ended.returncode == 1
    assert "failed" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_failed_run_of_a_study_that_may_be_split_is_started_again(kfp: Any) -> None:
    kfp.story = [{"state": "FAILED"}, {"state": "SUCCEEDED"}]
    ended = command(kfp, "--wait", "--split", resubmit="1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"run run-2: {kfp.url}/#/runs/details/run-2\n"
    assert f"run run-1: {kfp.url}/#/runs/details/run-1\n" in ended.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stage_image": "nofrost-stage:latest"}, "--stage-image nofrost-stage:latest has no digest"),
        ({"train_image": "nofrost-train"}, "--train-image nofrost-train has no digest"),
        ({"store": "somewhere"}, "is a folder of this machine, which pods cannot see"),
        ({"study": "no-such"}, "unknown study 'no-such'"),
        ({"data_ref": "x"}, "'x' is not a ref"),
        ({"nodes": "0"}, "'--nodes'"),
        ({"cluster": "no-such.yaml"}, "no-such.yaml"),
    ],
)
def test_wrong_input_is_an_error_before_any_request(
    kfp: Any, submit_here: Program, changed: dict[str, str], message: str
) -> None:
    ended = submit_here(kfp, **changed)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not kfp.runs
    assert not kfp.pipelines
