"""The settings of a cluster: what is wrong in its file is one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nofrost.errors import UserError
from pipelines.cluster_settings import load_cluster

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resources: {trian: {cpu: '1'}}", "resources.trian"),
        ("resources: {train: {cpu: lots}}", "resources.train.cpu"),
        ("retry: 3", "unknown key 'retry'"),
        ("shared_memory: 5", "shared_memory"),
        ("run_as: 0", "run_as"),
        ("save_interval_s: 59", "save_interval_s"),
        ("save_interval_s: 86401", "save_interval_s"),
        ("retries: {factor: 1.5}", "retries.factor"),
        ("retries: {window: 0h}", "retries.window"),
        ("retries: {longest_wait: 600s}", "longest_wait is no setting any more: Kubeflow has none"),
        ("parallel_runs: 3", "parallel_runs is no setting any more: GPUs, quotas"),
        ("[1]", "holds no keys"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_wrong_cluster_file_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_cluster(tmp_path / "cluster.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_compiled_for_a_wrong_cluster_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("retry: 3")
    command = [sys.executable, "-m", "pipelines", "compile", "--cluster", str(tmp_path / "cluster.yaml")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("nofrost: ")
    assert "unknown key 'retry'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (ROOT / "nofrost.yaml").exists()
