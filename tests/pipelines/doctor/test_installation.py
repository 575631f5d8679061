"""What the manifests install, asked of the cluster; never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from nofrost.cluster.job.pod_settings import Credentials
from pipelines.cluster_settings import Cluster
from pipelines.doctor.installation import CHECKS, check_installation
from pipelines.doctor.service_account import check_use
from tests.k8s.rendering import FOLDER, needs_kubectl, render

STORE = "s3://my-bucket/nofrost"
PLACE = "/api/v1/namespaces/nofrost"
REAPER = "/apis/batch/v1/namespaces/nofrost/cronjobs/nofrost-reaper"
CONFIGURATION = f"{PLACE}/configmaps/nofrost-s3"
DATA = {"NOFROST_STORE": STORE, "AWS_DEFAULT_REGION": "eu-central-1"}
MONITORING = "/apis/monitoring.coreos.com/v1"
GATEWAY = "/apis/apps/v1/namespaces/nofrost/deployments/nofrost-pushgateway"
SCHEDULES = "/apis/batch/v1/namespaces/nofrost/cronjobs"


def schedule(*, is_stopped: bool = False, **status: str) -> Any:
    labels = {"nofrost/schedule": "weekly"}
    metadata = {"name": "nofrost-schedule-weekly", "labels": labels}
    return {"metadata": metadata, "spec": {"suspend": is_stopped}, "status": status}


def states(cluster: Cluster | None = None) -> dict[str, tuple[str, str]]:
    found = check_installation("nofrost", cluster or Cluster(), STORE)
    return {finding.check: (finding.state, finding.detail) for finding in found}


@pytest.fixture
def installed(kubernetes: Any) -> Any:
    """A cluster to which the overlay `gpu` was applied, with a Prometheus of the operator."""
    quota = {"status": {"hard": {"pods": "200", "x": "0"}, "used": {"pods": "3", "x": "0"}}}
    monitors = {"items": [{"metadata": {"name": "nofrost-jobs"}}]}
    kubernetes.objects |= {
        PLACE: {"metadata": {"name": "nofrost", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
        CONFIGURATION: {"data": DATA | {"NOFROST_PUSHGATEWAY": "http://nofrost-pushgateway:9091"}},
        f"{PLACE}/resourcequotas": {"items": [quota]},
        "/apis/networking.k8s.io/v1/namespaces/nofrost/networkpolicies/nofrost": {"metadata": {"name": "nofrost"}},
        REAPER: {"spec": {}, "status": {"lastScheduleTime": "a", "lastSuccessfulTime": "2026-11-29T03:17:20Z"}},
        MONITORING: {"resources": []},
        f"{MONITORING}/namespaces/nofrost/podmonitors": monitors,
        f"{MONITORING}/namespaces/nofrost/prometheusrules": monitors,
        GATEWAY: {"status": {"availableReplicas": 1}},
        SCHEDULES: {"items": [schedule(lastScheduleTime="2026-11-23T02:00:00Z")]},
    }
    return kubernetes


def test_everything_is_there(installed: Any) -> None:
    found = states()
    assert {check: state for check, (state, _) in found.items()} == dict.fromkeys(CHECKS, "ok")
    assert "last succeeded 2026-11-29T03:17:20Z" in found["reaper"][1]
    assert "AWS_DEFAULT_REGION, NOFROST_PUSHGATEWAY, NOFROST_STORE" in found["configuration"][1]
    assert "weekly (last 2026-11-23T02:00:00Z)" in found["schedules"][1]


@needs_kubectl
def test_the_names_are_those_of_the_manifests() -> None:
    names = {(item["kind"], item["metadata"]["name"]) for item in render(FOLDER / "overlays/gpu")}
    wanted = {"CronJob": "nofrost-reaper", "Deployment": "nofrost-pushgateway", "ConfigMap": "nofrost-s3"}
    assert wanted.items() <= names


def test_nothing_is_there(kubernetes: Any) -> None:
    found = states()
    assert found.pop("quota")[0] == found.pop("schedules")[0] == "unknown"
    assert found.pop("monitoring")[0] == found.pop("Pushgateway")[0] == "ok"
    assert {state for state, _ in found.values()} == {"missing"}
    assert "kubectl apply -k" in found["reaper"][1]


@pytest.mark.parametrize(
    ("path", "content", "check", "fact"),
    [
        (
            PLACE,
            {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
            "namespace",
            "nofrost enforces restricted, which refuses containers of Kubeflow's own",
        ),
        (CONFIGURATION, {}, "configuration", f"has no store, not {STORE}"),
        (REAPER, {"spec": {"suspend": True}}, "reaper", "is suspended"),
        (REAPER, {"spec": {}, "status": {"lastScheduleTime": "a"}}, "reaper", "has never succeeded"),
        (
            f"{PLACE}/resourcequotas",
            {"items": [{"status": {"hard": {"pods": "3"}, "used": {"pods": "3"}}}]},
            "quota",
            "used up pods 3 of 3",
        ),
        (f"{MONITORING}/namespaces/nofrost/prometheusrules", {"items": []}, "monitoring", "no prometheusrules of"),
        (GATEWAY, {"status": {}}, "Pushgateway", "does not run"),
        (GATEWAY, None, "Pushgateway", "there is no Deployment"),
        (SCHEDULES, {"items": [schedule(is_stopped=True)]}, "schedules", "nofrost-schedule-weekly suspended"),
    ],
)
def test_what_is_wrong_is_missing(installed: Any, path: str, content: Any, check: str, fact: str) -> None:
    if content is None:
        del installed.objects[path]
    else:
        installed.objects[path] = content
    found = states()
    assert [name for name, (state, _) in found.items() if state != "ok"] == [check]
    assert (found[check][0], fact in found[check][1]) == ("missing", True), found[check]


def test_what_is_optional_may_be_absent_or_your_own(installed: Any) -> None:
    del installed.objects[MONITORING], installed.objects[GATEWAY]
    installed.objects[CONFIGURATION] = {"data": DATA}
    found = states()
    assert [(found[check][0], "optional" in found[check][1]) for check in ("monitoring", "Pushgateway")] == [
        ("ok", True),
        ("ok", True),
    ]
    installed.objects[CONFIGURATION] = {"data": DATA | {"NOFROST_PUSHGATEWAY": "http://gateway.monitoring:9091"}}
    assert states()["Pushgateway"] == ("ok", "one of your own, as the ConfigMap names it in NOFROST_PUSHGATEWAY")


def test_a_slash_at_the_end_of_the_store_is_no_other_store(installed: Any) -> None:
    installed.objects[CONFIGURATION] = {"data": DATA | {"NOFROST_STORE": f"{STORE}/"}}
    assert states()["configuration"][0] == "ok"


def test_the_first_reaper_may_be_at_work(installed: Any) -> None:
    installed.objects[REAPER] = {"spec": {}, "status": {"lastScheduleTime": "a", "active": [{"name": "b"}]}}
    assert states()["reaper"][0] == "ok"


def test_settings_without_a_config_map_need_none(installed: Any) -> None:
    assert states(Cluster(credentials=Credentials(config_map=None)))["configuration"][0] == "ok"


def test_what_is_not_shown_is_unknown(installed: Any) -> None:
    installed.refused.add(PLACE)
    assert states()["namespace"] == ("unknown", "the cluster does not show it (403)")


def test_a_cluster_that_is_away_is_unknown(no_cluster: Path) -> None:
    assert {state for state, _ in states().values()} == {"unknown"}


def test_the_use_of_an_account_is_asked_for(kubernetes: Any) -> None:
    finding = check_use("nofrost", "nofrost")
    assert (finding.state, "bind the Role nofrost-submitter" in finding.detail) == ("unknown", True)
    kubernetes.rights.add((kubernetes.user, "", "serviceaccounts", "use"))
    assert check_use("nofrost", "nofrost").state == "ok"
    kubernetes.status = 503
    assert check_use("nofrost", "nofrost").state == "unknown"
