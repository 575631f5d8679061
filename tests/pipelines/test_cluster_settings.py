"""The settings of a cluster: what is wrong in its file is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.errors import UserError
from pipelines.cluster_settings import load_cluster
from tests.pipelines.conftest import Program


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
        ("retries: {count: 2147483648}", "retries.count"),
        ("retries: {factor: 101}", "retries.factor"),
        ("retries: {first_wait: 99999999999999999999h}", "retries.first_wait: '99999999999999999999h'"),
        ("retries: {first_wait: 8761h}", "retries.first_wait: '8761h' is not a time that fits: write at most 8760h"),
        ("retries: {window: 99999999999h}", "retries.window: '99999999999h'"),
        ("deadline_s: 9999999999", "deadline_s"),
        ("kept_s: 3000000000", "kept_s"),
        ("run_as: 2147483648", "run_as"),
        ("gpu: {resource: ''}", "gpu.resource: Kubernetes refuses ''"),
        ("gpu: {resource: gpu}", "gpu.resource"),
        ("gpu: {resource: nvidia.com/gpü}", "gpu.resource"),
        ("gpu: {resource: \"{{$.inputs.parameters['x']}}\"}", "gpu.resource"),
        ("placement: {node_selector: {'a b': x}}", "placement.node_selector.a b: Kubernetes refuses 'a b'"),
        ("placement: {node_selector: {pool: 'a b'}}", "placement.node_selector.pool: Kubernetes refuses 'a b'"),
        ("placement: {node_selector: {pool: -a}}", "placement.node_selector.pool"),
        (f"placement: {{node_selector: {{pool: {'a' * 64}}}}}", "placement.node_selector.pool"),
        ("placement: {tolerations: [{operator: Equal}]}", "placement.tolerations.0: the operator Equal compares"),
        ("placement: {tolerations: [{key: a, value: b}]}", "placement.tolerations.0: the operator Exists takes no"),
        ("placement: {tolerations: [{key: ''}]}", "placement.tolerations.0.key: Kubernetes refuses ''"),
        ("credentials: {secret: ''}", "credentials.secret: Kubernetes refuses ''"),
        ("credentials: {secret: Bad Name}", "credentials.secret: Kubernetes refuses 'Bad Name'"),
        ("credentials: {config_map: a-}", "credentials.config_map"),
        ("resources: {train: {memory: '0'}}", "resources.train.memory: '0' is not a size of memory"),
        ("resources: {train: {memory: 1.5Gi}}", "resources.train.memory: '1.5Gi'"),
        ("resources: {train: {memory: 4ki}}", "resources.train.memory"),
        ("resources: {train: {memory: 9999999Ti}}", "resources.train.memory"),
        ("resources: {train: {cpu: '0'}}", "resources.train.cpu: '0' is not a CPU quantity"),
        ("resources: {train: {cpu: 0.0001m}}", "resources.train.cpu"),
        ("resources: {train: {cpu: '10001'}}", "resources.train.cpu"),
        ("shared_memory: 0Gi", "shared_memory: '0Gi' is not a size of memory"),
        ("shared_memory: 99999999999999Gi", "shared_memory"),
        ("training_job: {backend: mpijob}", "training_job.backend"),
        ("training_job: {deadline: 1}", "training_job.deadline"),
        ("training_job: {backend: trainjob, ttl_s: 60}", "training_job.ttl_s: a TrainJob has none"),
        ("training_job: {backend: pytorchjob, runtime: mine}", "training_job.runtime: a PyTorchJob has none"),
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


def test_the_largest_settings_are_compiled(program: Program, tmp_path: Path) -> None:
    text = """
resources: {train: {cpu: 500m, memory: "17179869184"}, evaluate: {cpu: "0.5", memory: 16G}}
placement: {node_selector: {kubernetes.io/arch: amd64, Pool_1: ""}, tolerations: [{}]}
gpu: {resource: nvidia.com/mig-1g.5gb, tolerations: [{key: a.b/c, operator: Equal, value: x, effect: NoSchedule}]}
shared_memory: 512Mi
retries: {count: 100, first_wait: 0s, factor: 100, window: 8760h}
credentials: {secret: my.secret-1, config_map: null}
run_as: 2147483647
deadline_s: 2147483647
kept_s: 2147483647
"""
    (tmp_path / "cluster.yaml").write_text(text)
    options = ("--study", "digits", "--set", "runs.recipe=[st]", "--cluster", str(tmp_path / "cluster.yaml"))
    ended = program("compile", *options, "--out", str(tmp_path / "out.yaml"))
    assert ended.returncode == 0, ended.stderr
    assert "2147483647" in (tmp_path / "out.yaml").read_text()


def test_nothing_is_compiled_for_a_wrong_cluster_file(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text("retry: 3")
    ended = program("compile", "--study", "digits", "--cluster", "cluster.yaml")
    assert ended.returncode == 2
    assert ended.stderr.startswith("nofrost: ")
    assert "unknown key 'retry'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.yaml"]
