"""The service account of the pods, asked of the cluster of the kubeconfig; never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("kubernetes")

from nofrost.cluster.job.pod_settings import Credentials
from pipelines.cluster_settings import Cluster
from pipelines.doctor.service_account import check_service_account

IRSA = Cluster(credentials=Credentials(secret=None))


@pytest.mark.parametrize(
    ("namespace", "name", "cluster", "state", "fact"),
    [
        (None, None, Cluster(), "ok", "pipeline-runner in namespace kubeflow"),
        ("team-a", None, Cluster(), "ok", "default-editor in namespace team-a"),
        ("team-a", "runner", Cluster(), "ok", "runner in namespace team-a"),
        ("team-b", None, Cluster(), "missing", "no default-editor in namespace team-b"),
        (None, "runner", Cluster(), "missing", "--service-account"),
        ("team-a", "runner", IRSA, "ok", "runner"),
        ("team-a", None, IRSA, "unknown", "no annotation eks.amazonaws.com/role-arn"),
    ],
)
def test_the_service_account_of_the_pods_is_looked_for(
    kubernetes: Any, namespace: str | None, name: str | None, cluster: Cluster, state: str, fact: str
) -> None:
    kubernetes.accounts["team-a", "default-editor"] = {}
    kubernetes.accounts["team-a", "runner"] = {"eks.amazonaws.com/role-arn": "arn"}
    finding = check_service_account(namespace, name, cluster)
    assert (finding.state, fact in finding.detail) == (state, True), finding
    assert kubernetes.tokens == {"Bearer token-of-the-cluster"}


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_the_cluster_does_not_show_is_unknown(kubernetes: Any, status: int) -> None:
    kubernetes.status = status
    finding = check_service_account(None, None, Cluster())
    assert (finding.state, str(status) in finding.detail) == ("unknown", True)


@pytest.mark.parametrize("content", [None, "", "[", "{}", "current-context: x", "clusters: 3"])
def test_without_a_usable_kubeconfig_all_is_unknown(
    no_cluster: Path, content: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        no_cluster.write_text(content, encoding="utf-8")
    assert check_service_account(None, None, Cluster()).state == "unknown"
    assert capfd.readouterr() == ("", "")


def test_a_cluster_that_does_not_answer_is_unknown(kubernetes: Any, no_cluster: Path) -> None:
    text = no_cluster.read_text(encoding="utf-8")
    port = text.partition("127.0.0.1:")[2].split("\n")[0]
    no_cluster.write_text(text.replace(f"127.0.0.1:{port}", "127.0.0.1:9"), encoding="utf-8")
    finding = check_service_account(None, None, Cluster())
    assert (finding.state, "http://127.0.0.1:9 cannot be reached" in finding.detail) == ("unknown", True), finding
