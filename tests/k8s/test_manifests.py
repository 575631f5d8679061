"""All manifests render, are valid, complete, and fit each other; and the checks find what is wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nofrost.cluster.job.pod_settings import METRICS_PORT
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.training_runtime import runtime_name, training_runtime
from pipelines.cluster_settings import load_cluster
from tests.cluster.job.crd import needs_crds
from tests.k8s.examples import examples, text_of
from tests.k8s.rendering import FOLDER, Json, find, needs_kubectl, render
from tests.k8s.semantics import defects, selects
from tests.k8s.validation import faults

pytestmark = needs_kubectl
# Folders that are applied, and whether their images have to have digests.
OVERLAYS = {"overlays/dev": False, "overlays/gpu": True}
FOLDERS = {"base": False, **OVERLAYS, "examples": True}
CLUSTERS = ["components/kueue/cluster", "components/volcano/cluster"]


def wrong(folder: str, root: Path = FOLDER) -> list[str]:
    """Return all that is wrong in what a folder renders to.

    The jobs of the examples are those of the overlay `gpu`: each of the two has to have what it names in the other.
    """
    items = render(root / folder)
    beside = {"overlays/gpu": "examples", "examples": "overlays/gpu"}.get(folder)
    others = render(root / beside) if beside else []
    return [*(fault for item in items for fault in faults(item)),
            *defects(items, pinned=FOLDERS.get(folder, False), beside=others)]  # fmt: skip


@needs_crds
@pytest.mark.parametrize("folder", [*FOLDERS, *CLUSTERS])
def test_what_a_folder_renders_to_is_right(folder: str) -> None:
    assert wrong(folder) == []


@needs_crds
def test_every_component_is_part_of_an_overlay_or_right_on_its_own(tmp_path: Path) -> None:
    used = [name for overlay in OVERLAYS for name in components_of(FOLDER / overlay)]
    for component in sorted(path.parent.name for path in (FOLDER / "components").glob("*/kustomization.yaml")):
        if component not in used:
            root = copied(tmp_path / component)
            change(root, "overlays/dev/kustomization.yaml", "  - ../../components/kfp-single-user\n",
                   f"  - ../../components/kfp-single-user\n  - ../../components/{component}\n")  # fmt: skip
            assert wrong("overlays/dev", root) == [], component


def components_of(folder: Path) -> list[str]:
    names = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8")).get("components", [])
    return [inner for name in names for inner in (Path(name).name, *components_of((folder / name).resolve()))]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_beside_an_overlay_name_what_it_has(overlay: str) -> None:
    items, cluster = render(FOLDER / overlay), load_cluster(FOLDER / overlay / "cluster.yaml")
    names = {(item["kind"], item["metadata"]["name"]) for item in items}
    settings = cluster.job_settings()
    assert {("ServiceAccount", "nofrost"), ("ConfigMap", cluster.credentials.config_map)} <= names
    assert settings.queue is None or ("LocalQueue", settings.queue) in names
    assert settings.service_account in (None, "nofrost")
    if cluster.credentials.secret is None:
        account = find(items, "ServiceAccount", "nofrost")
        assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    else:
        assert ("Secret", cluster.credentials.secret) in names
    if settings.backend != "none":
        runtime = find(items, "TrainingRuntime", runtime_name(settings))
        assert runtime["spec"] == training_runtime(settings)["spec"]


def test_the_runtime_for_volcano_is_that_of_its_settings() -> None:
    settings = JobSettings.model_validate({"gang": {"scheduler": "volcano", "queue": "nofrost"}})
    file = FOLDER / "components" / "volcano" / "training-runtime.yaml"
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == training_runtime(settings)
    (queue,) = render(FOLDER / "components" / "volcano" / "cluster")
    assert (queue["kind"], queue["metadata"]["name"]) == ("Queue", "nofrost")


def test_another_namespace_is_a_line_of_the_overlay(tmp_path: Path) -> None:
    root = copied(tmp_path / "k8s")
    change(root, GPU, "namespace: nofrost", "namespace: team-a")
    items = render(root / "overlays/gpu")
    assert find(items, "Namespace", "team-a")["metadata"]["labels"]["pipelines.kubeflow.org/enabled"] == "true"
    others = [item for item in items if item["kind"] != "Namespace"]
    assert {item["metadata"]["namespace"] for item in others} == {"team-a"}
    bound = [each for item in items if item["kind"] == "RoleBinding" for each in item["subjects"]]
    assert {each["namespace"] for each in bound} == {"team-a"}


def test_the_quota_has_room_for_a_job_of_the_settings_and_its_launcher() -> None:
    (job,) = (item for item in render(FOLDER / "examples") if item["kind"] == "TrainJob")
    hard = find(render(FOLDER / "overlays/gpu"), "ResourceQuota", "nofrost")["spec"]["hard"]
    node, nodes = job["spec"]["trainer"]["resourcesPerNode"]["requests"], job["spec"]["trainer"]["numNodes"]
    assert nodes * int(node["cpu"]) < int(hard["requests.cpu"])
    assert nodes * int(node["memory"].removesuffix("Gi")) < int(hard["requests.memory"].removesuffix("Gi"))
    assert nodes * int(node["nvidia.com/gpu"]) <= int(hard["requests.nvidia.com/gpu"])


def test_examples_are_what_a_launcher_makes() -> None:
    for path, example in examples().items():
        assert path.read_text(encoding="utf-8") == text_of(example), "run python -m tests.k8s.examples"


def test_the_patch_of_the_examples_leaves_the_rest_of_a_container(tmp_path: Path) -> None:
    for job, original in zip(render(FOLDER / "examples"), examples().values(), strict=True):
        added = {"name": "NCCL_SOCKET_IFNAME", "value": "eth0"}
        for path in ("Master", "Worker") if job["kind"] == "PyTorchJob" else ("",):
            ours, theirs = (container_of(each, path) for each in (job, original))
            assert added in ours["env"]
            ours["env"].remove(added)
            assert ours == theirs


def container_of(job: Json, role: str) -> Json:
    if not role:
        return {key: job["spec"]["trainer"][key] for key in ("image", "args", "env", "resourcesPerNode")}
    found: Json = job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]["containers"][0]
    return found


def test_prometheus_and_the_policy_see_the_tasks_of_a_pipeline() -> None:
    """Their pods are Kubeflow's, of which only labels are ours."""
    items = render(FOLDER / "overlays/gpu")
    package = FOLDER.parent / "tests" / "pipelines" / "golden" / "nofrost.yaml"
    _, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    monitor = find(items, "PodMonitor", "nofrost-tasks")["spec"]["selector"]
    policy = find(items, "NetworkPolicy", "nofrost")["spec"]["podSelector"]
    scraped = set()
    for executor in executors.values():
        labels = {**executor["podMetadata"]["labels"], "pipeline/runid": "1"}
        assert selects(policy, labels)
        scraped |= {labels["app.kubernetes.io/component"]} if selects(monitor, labels) else set()
    assert scraped == {"train", "evaluate"}


def test_pods_reach_what_they_serve_and_ask_for() -> None:
    ports = {port["port"] for rule in find(render(FOLDER / "base"), "NetworkPolicy", "nofrost")["spec"]["ingress"]
             for port in rule.get("ports", ())}  # fmt: skip
    assert ports == {METRICS_PORT}


def test_the_namespace_of_kubeflow_is_not_ours_to_limit() -> None:
    kinds = {item["kind"] for item in render(FOLDER / "overlays/dev")}
    assert not kinds & {"Namespace", "ResourceQuota", "LimitRange"}
    assert {item["metadata"].get("namespace") for item in render(FOLDER / "overlays/dev")} == {"kubeflow"}


def test_the_files_are_in_one_style() -> None:
    command = [sys.executable, "-m", "yamllint", "--strict", "--config-file", str(FOLDER / ".yamllint.yaml"), "."]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# What the checks find


def copied(root: Path) -> Path:
    shutil.copytree(FOLDER, root)
    return root


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


GPU, REAPER, QUOTA = "overlays/gpu/kustomization.yaml", "base/reaper.yaml", "base/quota.yaml"
# What is changed in which file, the folder in which that is wrong, and what is said of it.
FAULTS = {
    "a patch drops image, arguments and resources": (
        ("examples/kustomization.yaml", "openapi:\n  path: openapi.json\n", ""),
        "examples",
        "Worker: container pytorch has (no image|neither command nor arguments|no limits of cpu)",
    ),
    "an image without a digest": (
        (GPU, f"    digest: sha256:{'0' * 64}\n", "    newTag: newest\n"),
        "overlays/gpu",
        "container reaper: registry.example/nofrost-stage:newest has no digest",
    ),
    "an image that no overlay names": (
        (GPU, "name: nofrost-stage", "name: nofrost-stages"),
        "overlays/gpu",
        "nofrost-stage has no digest",
    ),
    "no limits": ((REAPER, "limits:", "claims:"), "base", "container reaper has no limits of memory"),
    "an unknown field": ((QUOTA, "  hard:", "  hart:"), "base", "ResourceQuota nofrost: spec: .*hart"),
    "an unknown field of another kind": (
        ("components/kueue/local-queue.yaml", "clusterQueue:", "queue:"),
        "overlays/gpu",
        "LocalQueue nofrost: .spec.queue: unknown field",
    ),
    "an unknown kind": (
        (QUOTA, "kind: LimitRange", "kind: LimitRanges"),
        "base",
        "LimitRanges nofrost: no schema of v1 is known",
    ),
    "root": (
        (REAPER, "runAsNonRoot: true", "runAsNonRoot: false"),
        "base",
        "CronJob nofrost-reaper: reaper: runAsNonRoot",
    ),
    "an account that is not there": (
        (REAPER, "serviceAccountName: nofrost-reaper", "serviceAccountName: reaper"),
        "base",
        "there is no ServiceAccount reaper",
    ),
    "settings that are not there": (
        ("base/configuration.yaml", "name: nofrost-s3", "name: nofrost-s4"),
        "base",
        "there is no ConfigMap nofrost-s3",
    ),
    "a binding of nobody": (
        ("base/roles.yaml", "kind: ServiceAccount\n    name: nofrost-reaper", "kind: ServiceAccount\n    name: reaper"),
        "base",
        "RoleBinding nofrost-reaper: there is no ServiceAccount reaper",
    ),
    "a policy that selects nothing": (
        (REAPER, "app.kubernetes.io/name: nofrost\n", "app.kubernetes.io/name: reaper\n"),
        "base",
        "NetworkPolicy nofrost: it selects no pod",
    ),
    "a monitor that selects nothing": (
        (
            "components/monitoring/pod-monitors.yaml",
            "app.kubernetes.io/component: train",
            "app.kubernetes.io/component: x",
        ),
        "overlays/gpu",
        "PodMonitor nofrost-jobs: it selects no pod",
    ),
    "a monitor of another port": (
        ("components/monitoring/pod-monitors.yaml", "port: metrics", "port: metric"),
        "overlays/gpu",
        "PodMonitor nofrost-jobs: no pod that it selects has port metric",
    ),
    "two at once": ((REAPER, "  concurrencyPolicy: Forbid\n", ""), "base", "CronJob nofrost-reaper: it may run twice"),
    "a rule in CEL": (
        ("examples/trainjob.yaml", "  name: nofrost-sat", "  name: 1-nofrost-sat"),
        "examples",
        "TrainJob 1-nofrost.*RFC 1035",
    ),
}


@pytest.mark.slow
@needs_crds
@pytest.mark.parametrize("what", FAULTS)
def test_the_checks_find(what: str, tmp_path: Path) -> None:
    changes, folder, expected = FAULTS[what]
    root = copied(tmp_path / "k8s")
    change(root, *changes)
    found = wrong(folder, root)
    assert any(re.search(expected, each) for each in found), found
