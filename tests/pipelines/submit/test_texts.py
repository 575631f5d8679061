"""Texts that Kubeflow's database refuses are refused before anything is sent, by the option they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("kfp")

from nofrost.errors import UserError
from pipelines.cli import pipelines
from pipelines.submit.texts import texts_in
from tests.pipelines.submit.conftest import read_compiled


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"run_name": "étude"}, "--run-name 'étude'"),
        ({"run_name": "a\nb"}, "--run-name"),
        ({"run_name": "a" * 256}, "256 characters"),
        ({"experiment": "λ"}, "--experiment 'λ'"),
        ({"experiment": "a" * 129}, "129 characters"),
        ({"service_account": "ö"}, "--service-account 'ö'"),
        ({"pipeline_root": "s3://bucket/λ"}, "--pipeline-root"),
        ({"store": "s3://bucket/störe"}, "--store 's3://bucket/störe'"),
    ],
)
def test_an_option_that_is_not_ascii_or_too_long_is_refused(
    changes: dict[str, str], fact: str, kfp: Any, submit: Any
) -> None:
    with pytest.raises(UserError, match=fact):
        submit(**changes)
    assert not kfp.requests


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"timeout": 1.0}, "--timeout .* add --wait"),
        ({"timeout": float("nan"), "wait_for": True}, "--timeout nan is not a number"),
    ],
)
def test_a_limit_of_the_waiting_needs_a_number_and_wait(
    changes: dict[str, Any], fact: str, kfp: Any, submit: Any
) -> None:
    with pytest.raises(UserError, match=fact):
        submit(**changes)
    assert not kfp.requests


def test_an_image_of_two_lines_is_shown_in_one(submit: Any) -> None:
    with pytest.raises(UserError, match=r"--stage-image a@sha256:0{64}\\n has no digest"):
        submit(stage_image="a@sha256:" + "0" * 64 + "\n")


@pytest.mark.parametrize("option", ["--experiment", "--study", "--run-name", "--cluster"])
def test_an_empty_option_is_refused(option: str) -> None:
    images = ["--stage-image", "a", "--train-image", "a"]
    ended = CliRunner().invoke(pipelines, ["submit", *images, option, ""])
    assert ended.exit_code == 2
    assert "it is empty: give a" in ended.output


def test_an_empty_output_is_refused() -> None:
    ended = CliRunner().invoke(pipelines, ["compile", "--out", ""])
    assert ended.exit_code == 2
    assert "it is empty: give a path" in ended.output


def test_settings_of_the_cluster_that_are_not_ascii_are_refused(kfp: Any, submit: Any, tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("placement: {node_selector: {zone: λ}}", encoding="utf-8")
    with pytest.raises(UserError, match="Kubernetes refuses 'λ'"):
        submit(cluster=cluster)
    assert not kfp.requests


def test_a_title_in_another_script_is_sent_as_ascii(kfp: Any, submit: Any) -> None:
    submit('title="日本 λ 😀 \\u00e9 {{workflow.name}}"', 'recipes.st.citation="own: Müller"')
    (package,) = kfp.uploads
    texts = set(texts_in(list(yaml.safe_load_all(package))))
    (study,) = [text for text in texts if "workflow.name" in text]
    assert study.isascii()
    assert "\\" not in study
    assert "{{" not in study


def test_a_package_with_escapes_is_not_ascii(package: Path) -> None:
    spec, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    spec["pipelineInfo"]["description"] = "λ"
    package.write_text(yaml.safe_dump_all([spec, platform]), encoding="utf-8")
    assert package.read_bytes().isascii()
    with pytest.raises(UserError, match="'λ', which is not ASCII"):
        read_compiled(package)
