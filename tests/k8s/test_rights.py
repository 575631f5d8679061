"""The Roles allow exactly what launcher, `finish`, reaper and `doctor` ask of the API server, verb by verb."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.cluster.discovery import check_runtime, choose_kind
from nofrost.cluster.job.kinds import JOB_KINDS, TRAINJOB
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.reap import reap
from nofrost.cluster.run_jobs import delete_run_jobs
from pipelines.doctor import Subject, examine
from pipelines.doctor.training_jobs import launcher_rights
from pipelines.submit import Api, Endpoint
from tests.cluster.conftest import pod, server  # noqa: F401  (fixtures)
from tests.cluster.double.api_server import ApiServer
from tests.cluster.launcher.launched_job import OUTPUT, LaunchedJob, api_of
from tests.k8s.rendering import FOLDER, find, needs_kubectl, render
from tests.k8s.rights import Right, allowed, asked
from tests.pipelines.doctor.conftest import kubernetes, no_cluster  # noqa: F401  (fixtures)
from tests.pipelines.submit.conftest import kfp, package, start  # noqa: F401  (fixtures)
from tests.pipelines.submit.kfp_double import API, KfpDouble


@cache
def role(name: str) -> frozenset[Right]:
    items = yaml.safe_load_all((FOLDER / "base" / "roles.yaml").read_text(encoding="utf-8"))
    return frozenset(allowed(find(items, "Role", name)))


# Each account with its Roles, and the only Secret that one of them reads: KFP's own.
BOUND = [
    ("nofrost", "nofrost-kfp-pods"),
    ("nofrost", "nofrost-launcher"),
    ("nofrost", "nofrost-submitter"),
    ("nofrost-reaper", "nofrost-reaper"),
]
SECRET = ("", "secrets:mlpipeline-minio-artifact", "get")


@needs_kubectl
@pytest.mark.parametrize("overlay", ["dev", "gpu"])
def test_no_overlay_allows_more(overlay: str) -> None:
    items = render(FOLDER / "overlays" / overlay)
    for name in ("nofrost-launcher", "nofrost-reaper"):
        assert allowed(find(items, "Role", name)) == role(name)
    bindings = [item for item in items if item["kind"] == "RoleBinding"]
    bound = [(subject["name"], item["roleRef"]["name"]) for item in bindings for subject in item["subjects"]]
    assert sorted(bound) == BOUND
    every = {right for item in items if item["kind"] == "Role" for right in allowed(item)}
    assert not [right for right in every if "*" in right]
    assert {right for right in every if right[1].startswith("secrets")} == {SECRET}
    assert not [item for item in items if item["kind"].startswith("ClusterRole")]


def test_the_launcher(server: ApiServer, tmp_path: Path) -> None:  # noqa: F811
    """A job of each kind that is there and adopted, queued, without pods at first, followed, logged and deleted."""
    for kind in JOB_KINDS:
        job = LaunchedJob(server, kind, tmp_path / kind.kind)
        assert choose_kind(api_of(server), kind.kind.lower()) is kind  # type: ignore[arg-type]
        if kind is TRAINJOB:
            check_runtime(api_of(server), JobSettings())
        job.add(job.body(owner="before"))
        end = job.start()
        job.suspend(True, "waits")
        job.wait_for_looks()
        job.suspend(False)
        job.wait_for_looks()
        job.run()
        job.succeed()
        assert end.result(20) == OUTPUT
        job.end()
    assert asked(server.requests) == role("nofrost-launcher")


def test_doctor_asks_for_the_rights_of_the_role() -> None:
    settings = JobSettings(queue="nofrost")
    rights = [right for kind in JOB_KINDS for right in launcher_rights(kind, settings)]
    assert {(each.group, each.resource, verb) for each in rights for verb in each.verbs} == role("nofrost-launcher")


def test_finish_needs_no_more_than_the_launcher(pod: Path, server: ApiServer, tmp_path: Path) -> None:  # noqa: F811
    """Both run under the account of the run."""
    for kind in JOB_KINDS:
        LaunchedJob(server, kind, tmp_path / kind.kind).add()
    assert delete_run_jobs("run-1") == []
    rights = asked(server.requests)
    assert {verb for _, _, verb in rights} == {"delete", "list"}
    assert rights < role("nofrost-launcher")


def test_the_reaper(server: ApiServer, tmp_path: Path) -> None:  # noqa: F811
    for kind in JOB_KINDS:
        job = LaunchedJob(server, kind, tmp_path / kind.kind)
        job.add()
        job.add_pods(job.status("Succeeded", code=0), job.status("Succeeded", code=0))
        job.write("the end")
        server.close_log(job.pod_name(0), job.container)
        found = list(reap(api_of(server), job.store, lambda _: datetime.now(UTC), least_age_s=3600, pretend=False))
        assert [each.problem for each in found] == [""]
    assert asked(server.requests) == role("nofrost-reaper")


def test_the_doctor(kubernetes: Any) -> None:  # noqa: F811
    """Whoever asks about the account of the pods, everything that there is to ask; schedules need the rest."""
    kubernetes.kinds = {(kind.group, kind.version): [kind.plural] for kind in JOB_KINDS[1:]}
    kubernetes.objects["/apis/kueue.x-k8s.io"] = {"preferredVersion": {"version": "v1beta1"}}
    monitoring = "/apis/monitoring.coreos.com/v1"
    kubernetes.objects |= {monitoring: {}, f"{monitoring}/namespaces/nofrost/podmonitors": {"items": []}}
    configuration = {"data": {"NOFROST_PUSHGATEWAY": "http://nofrost-pushgateway:9091"}}
    kubernetes.objects["/api/v1/namespaces/nofrost/configmaps/nofrost-s3"] = configuration
    endpoint = Endpoint("http://127.0.0.1:9", "nofrost")
    overlay = FOLDER / "overlays" / "gpu" / "cluster.yaml"
    list(examine(Subject(endpoint, "/tmp", "nofrost", cluster=overlay, gpus=8, nodes=2, installation=True)))
    requests = [each for each in kubernetes.requests if each[1] != "/api/v1/nodes"]
    assert len(requests) == len(kubernetes.requests) - 1, "nodes are of the whole cluster, and may be hidden"
    schedules = {right for right in role("nofrost-operator") if right[1] == "cronjobs"}
    assert asked(requests) | schedules == role("nofrost-operator")


@needs_kubectl
def test_a_submission_to_kubeflow_for_several_users(kfp: KfpDouble, start: Any) -> None:  # noqa: F811
    """KFP asks Kubernetes for the right to what a request is about, and for no more than to make and to read here."""
    kfp.multi_user = True
    api = Api(Endpoint(kfp.url, "nofrost"))
    api.run(start(api, service_account="nofrost").run_id)
    found = set()
    for method, path, _ in kfp.requests:
        kind, _, rest = path.removeprefix(f"{API}/").partition("/")
        if kind == "healthz":
            continue
        is_version = rest.endswith(("version", "versions"))
        reading = "get" if rest and not is_version else "list"
        resource = "pipelines/versions" if is_version else kind
        found.add(("pipelines.kubeflow.org", resource, "create" if method == "POST" else reading))
    rights = allowed(find(render(FOLDER / "overlays" / "gpu"), "Role", "nofrost-submitter"))
    assert ("", "serviceaccounts:nofrost", "use") in rights
    assert found < rights
    assert {resource for _, resource, _ in found} == {resource for group, resource, _ in rights if group}
    assert {verb for group, _, verb in rights if group} == {"create", "get", "list"}


def test_a_role_that_allows_more_or_less_is_another_one() -> None:
    items = list(yaml.safe_load_all((FOLDER / "base" / "roles.yaml").read_text(encoding="utf-8")))
    changed = find(items, "Role", "nofrost-reaper")
    changed["rules"][0]["verbs"].append("update")
    changed["rules"][-1]["resourceNames"] = ["one"]
    assert allowed(changed) ^ role("nofrost-reaper") == {
        ("kubeflow.org", "pytorchjobs", "update"),
        ("", "pods/log:one", "get"),
        ("", "pods/log", "get"),
    }


def test_what_nobody_asks_for_is_found(server: ApiServer) -> None:  # noqa: F811
    server.requests += [("GET", "/apis", {}), ("POST", "/apis/kubeflow.org/v1/namespaces/research/pytorchjobs", {})]
    server.requests.append(("GET", "/api/v1/namespaces/research/pods/a/log", {"follow": "true"}))
    server.requests.append(("GET", "/api/v1/namespaces/research/pods", {"watch": "true"}))
    assert asked(server.requests) == {
        ("kubeflow.org", "pytorchjobs", "create"),
        ("", "pods/log", "get"),
        ("", "pods", "watch"),
    }
    with pytest.raises(AssertionError, match="not in a namespace"):
        asked([("GET", "/api/v1/nodes/a", {})])
