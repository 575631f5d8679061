"""Kinds of jobs, and the rights of the account that launches them, asked of the cluster; never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp")
pytest.importorskip("kubernetes")

from nofrost.cluster.job.kinds import JOB_KINDS, PYTORCHJOB
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.training_runtime import training_runtime
from pipelines.doctor.finding import Finding
from pipelines.doctor.training_jobs import check_training_jobs, launcher_rights

BOTH = {(job.group, job.version): [job.plural] for job in JOB_KINDS}
LAUNCHER = "system:serviceaccount:team-a:default-editor"


def found(backend: str = "auto", *, needed: bool = True, **settings: Any) -> list[Finding]:
    job = JobSettings.model_validate({"backend": backend, **settings})
    return list(check_training_jobs(job, "team-a", None, needed=needed))


def rights(**settings: Any) -> Finding:
    """The finding about rights, which is the last."""
    return found(**settings)[-1]


def allow(kubernetes: Any, user: str, kind: Any = PYTORCHJOB) -> None:
    kubernetes.rights |= {
        (user, right.group, right.resource, verb)
        for right in launcher_rights(kind, JobSettings())
        for verb in right.verbs
    }


@pytest.mark.parametrize(
    ("kinds", "backend", "state", "detail"),
    [
        (BOTH, "auto", "ok", "PyTorchJob, TrainJob: trainings on several GPUs or nodes are PyTorchJobs"),
        (BOTH, "trainjob", "ok", "are TrainJobs"),
        ({("kubeflow.org", "v1"): ["pytorchjobs"]}, "auto", "ok", "PyTorchJob, no TrainJob"),
        ({("kubeflow.org", "v1"): ["pytorchjobs"]}, "trainjob", "missing", "the cluster knows no TrainJob: install"),
        ({("trainer.kubeflow.org", "v1alpha1"): ["trainjobs"]}, "auto", "ok", "no PyTorchJob, TrainJob: trainings"),
        ({("trainer.kubeflow.org", "v1"): ["trainjobs"]}, "auto", "missing", "neither PyTorchJob nor TrainJob"),
        ({("kubeflow.org", "v1"): ["notebooks"]}, "auto", "missing", "install Kubeflow's training operator 1.9"),
        ({("example.org", "v1"): ["pytorchjobs"]}, "auto", "missing", "neither PyTorchJob nor TrainJob"),
        ({}, "auto", "missing", "neither PyTorchJob nor TrainJob"),
    ],
)
def test_the_kind_of_job_that_trainings_need_is_looked_for(
    kubernetes: Any, kinds: Any, backend: str, state: str, detail: str
) -> None:
    kubernetes.kinds = kinds
    findings = found(backend)
    assert (findings[0].state, detail in findings[0].detail) == (state, True), findings[0]
    checks = ["training jobs", *(["training runtime"] if "TrainJobs" in findings[0].detail else [])]
    assert [finding.check for finding in findings] == [*checks, *(["rights of the launcher"] if state == "ok" else [])]


@pytest.mark.parametrize("kinds", [{}, BOTH])
def test_no_kind_of_job_is_missing_where_no_training_needs_one(kubernetes: Any, kinds: Any) -> None:
    kubernetes.kinds = kinds
    (finding,) = found(needed=False)
    assert (finding.state, "not needed" in finding.detail) == ("ok", True)


@pytest.mark.parametrize("user", ["somebody@example.com", LAUNCHER])
def test_the_account_of_the_pods_may_do_what_the_launcher_does(kubernetes: Any, user: str) -> None:
    kubernetes.user = user
    # An account asks about itself, which nobody refuses.
    kubernetes.refuses_reviews = user == LAUNCHER
    allow(kubernetes, LAUNCHER)
    finding = rights()
    assert (finding.state, finding.manifest) == ("ok", "")
    assert "default-editor in namespace team-a" in finding.detail


@pytest.mark.parametrize("kind", JOB_KINDS)
def test_a_right_that_is_missing_is_named_with_the_role_that_gives_it(kubernetes: Any, kind: Any) -> None:
    kubernetes.kinds = {(kind.group, kind.version): [kind.plural]}
    allow(kubernetes, LAUNCHER, kind)
    kubernetes.rights -= {(LAUNCHER, "", "pods/log", "get"), (LAUNCHER, kind.group, kind.plural, "patch")}
    finding = rights()
    assert finding.state == "missing"
    assert f"with {kind.plural}, pods/log" in finding.detail
    role, binding = yaml.safe_load_all(finding.manifest)
    given = {
        (LAUNCHER, rule["apiGroups"][0], rule["resources"][0], verb) for rule in role["rules"] for verb in rule["verbs"]
    }
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "default-editor", "namespace": "team-a"}]
    kubernetes.rights = given
    assert rights().state == "ok", "the Role gives all that is asked for"


@pytest.mark.parametrize(
    ("settings", "existing", "state", "fact"),
    [
        ({}, "nofrost-torch", "ok", "nofrost-torch in namespace team-a"),
        (
            {},
            "other",
            "missing",
            "no nofrost-torch in namespace team-a: kubectl apply --namespace team-a the one below",
        ),
        ({"restarts": 5}, "nofrost-torch", "missing", "no nofrost-torch-"),
        ({"runtime": "other"}, "other", "ok", "other"),
        ({"runtime": "mine"}, "other", "missing", "no mine in namespace team-a: create it"),
    ],
)
def test_the_runtime_of_a_trainjob_is_looked_for_and_ours_is_shown(
    kubernetes: Any, settings: dict[str, Any], existing: str, state: str, fact: str
) -> None:
    kubernetes.kinds = BOTH
    kubernetes.runtimes.add(("team-a", existing))
    finding = found("trainjob", **settings)[1]
    assert (finding.check, finding.state) == ("training runtime", state)
    assert fact in finding.detail
    ours = state == "missing" and "runtime" not in settings
    expected = training_runtime(JobSettings.model_validate({"backend": "trainjob", **settings})) if ours else None
    assert (yaml.safe_load(finding.manifest) if finding.manifest else None) == expected


def test_a_queue_takes_the_right_to_read_what_it_says(kubernetes: Any) -> None:
    allow(kubernetes, LAUNCHER)
    assert rights().state == "ok"
    finding = rights(queue="gpus")
    assert (finding.state, "workloads" in finding.detail, "kueue.x-k8s.io" in finding.manifest) == (
        "missing",
        True,
        True,
    )


def test_rights_that_the_cluster_does_not_show_are_unknown_and_the_role_is_shown(kubernetes: Any) -> None:
    kubernetes.refuses_reviews = True
    finding = rights()
    assert (finding.state, "403" in finding.detail, "pytorchjobs" in finding.manifest) == ("unknown", True, True)


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_the_cluster_does_not_show_is_unknown(kubernetes: Any, status: int) -> None:
    kubernetes.status = status
    (finding,) = found()
    assert (finding.state, str(status) in finding.detail) == ("unknown", True)


def test_without_a_cluster_all_is_unknown(no_cluster: Path) -> None:
    (finding,) = found()
    assert finding.state == "unknown"
