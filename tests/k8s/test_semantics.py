"""What the checks of manifests find that schemas take, each in the objects of the overlay for GPUs."""

from __future__ import annotations

from functools import reduce
from operator import getitem

import pytest

from tests.k8s.rendering import FOLDER, Json, needs_kubectl, render
from tests.k8s.semantics import defects

pytestmark = needs_kubectl
POD, REAPER_POD = "spec.template.spec.containers.0", "spec.jobTemplate.spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("kind", "path", "value", "found"),
    [
        ("Service", "spec.ports.0.targetPort", "htpp", "no pod that it selects has port htpp"),
        ("Deployment", f"{POD}.readinessProbe.httpGet.port", "htpp", "has no port htpp to probe"),
        ("Deployment", f"{POD}.volumeMounts.0.name", "dota", "mounts dota, which is no volume"),
        ("Deployment", f"{POD}.resources.limits.memory", "128mb", "128mb of memory is no quantity"),
        ("Deployment", "spec.template.metadata.labels", {}, "it does not select its own pods"),
        ("CronJob", "spec.schedule", "17 * * *", "it has 4 fields"),
        ("CronJob", "spec.timeZone", "Etc/UCTC", "unknown time zone"),
        ("CronJob", f"{REAPER_POD}.args", ["--store=$(NOFROST_STOR)"], "nothing sets NOFROST_STOR of an argument"),
        ("ResourceQuota", "spec.hard", {"requests.memory": "768Gb"}, "768Gb of requests.memory is no quantity"),
    ],
)
def test_the_checks_find_text_that_schemas_take(kind: str, path: str, value: object, found: str) -> None:
    items = render(FOLDER / "overlays/gpu")
    (item,) = (each for each in items if each["kind"] == kind)
    *way, last = (int(key) if key.isdigit() else key for key in path.split("."))
    reduce(getitem, way, item)[last] = value  # type: ignore[index]
    faults_found = [each for each in defects(items, pinned=True, beside=render(FOLDER / "examples")) if kind in each]
    assert any(found in each for each in faults_found), faults_found


@pytest.mark.parametrize(
    ("labels", "endpoint", "found"),
    [
        ({"app.kubernetes.io/component": "train"}, {"port": "metrics"}, None),
        ({"app.kubernetes.io/component": "train"}, {"portNumber": 8081}, None),
        ({"app.kubernetes.io/component": "training"}, {"port": "metrics"}, "it selects no pod"),
        ({"app.kubernetes.io/component": "train"}, {"port": "metric"}, "no pod that it selects has port metric"),
        ({"app.kubernetes.io/component": "reaper"}, {"port": "metrics"}, "no pod that it selects has port metrics"),
    ],
)
def test_a_monitor_has_to_find_a_port(labels: dict[str, str], endpoint: Json, found: str | None) -> None:
    items = [*render(FOLDER / "overlays/gpu"), *render(FOLDER / "examples")]
    spec = {"selector": {"matchLabels": labels}, "podMetricsEndpoints": [endpoint]}
    monitor = {"kind": "PodMonitor", "metadata": {"name": "x", "namespace": "nofrost"}, "spec": spec}
    assert defects([monitor], pinned=True, beside=items) == ([f"PodMonitor x: {found}"] if found else [])
