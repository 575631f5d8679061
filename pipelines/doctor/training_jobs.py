"""What trainings on several GPUs or nodes need of the cluster: a kind of job, its runtime, rights of the launcher."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.discovery import RUNTIMES, choose_kind, has_runtime, served_kinds
from nofrost.cluster.job.kinds import JOB_KINDS, KUEUE, TRAINJOB, JobKind
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.training_runtime import runtime_name, training_runtime
from nofrost.errors import UserError
from pipelines.doctor.cluster_access import NoAccessError, cluster_api, pods_account
from pipelines.doctor.finding import Finding

JOBS, RUNTIME, RIGHTS = "training jobs", "training runtime", "rights of the launcher"
ROLE = "nofrost-launcher"


class Right(NamedTuple):
    """What an account may do with a resource, which may be a part of another one (``pods/log``)."""

    group: str
    resource: str
    verbs: tuple[str, ...]


def launcher_rights(job: JobKind, settings: JobSettings) -> tuple[Right, ...]:
    """Return what a launcher does with jobs of this kind: start, adopt, follow and delete them, and read their logs."""
    runtimes = (Right(job.group, RUNTIMES, ("get",)),) if job is TRAINJOB else ()
    # Where the queue says why a job waits.
    workloads = (Right(KUEUE, "workloads", ("list",)),) if settings.queue else ()
    return (
        Right(job.group, job.plural, ("create", "delete", "get", "list", "patch", "watch")),
        *runtimes,
        *workloads,
        Right("", "pods", ("list",)),
        Right("", "pods/log", ("get",)),
        Right("", "events", ("list",)),
    )


def check_training_jobs(
    settings: JobSettings, namespace: str | None, account: str | None, *, needed: bool
) -> Iterator[Finding]:
    """Look for the kinds of jobs that train on several GPUs or nodes, and for what the launcher may do with them.

    Args:
        settings: which kind is wanted.
        namespace, account: of the pods, as for :func:`pods_account`.
        needed: whether any training is a job; without one, a cluster that has none lacks nothing.
    """
    kinds = " or ".join(job.kind for job in JOB_KINDS)
    try:
        with cluster_api() as api:
            served = served_kinds(api)
            listed = ", ".join(job.kind if job in served else f"no {job.kind}" for job in JOB_KINDS)
            if not needed or settings.backend == "none":
                yield Finding(JOBS, "ok", f"{listed} (not needed: every training uses one pod)")
                return
            try:
                kind = choose_kind(api, settings.backend)
            except UserError as error:
                yield Finding(JOBS, "missing", str(error))
                return
            place, name = pods_account(namespace, account)
            yield Finding(JOBS, "ok", f"{listed}: trainings on several GPUs or nodes are {kind.kind}s")
            if kind is TRAINJOB:
                yield _check_runtime(api, settings, place)
            yield _check_rights(api, kind, launcher_rights(kind, settings), place, name)
    except NoAccessError as error:
        yield Finding(JOBS, "unknown", f"{kinds}: {error}")
    except KubernetesError as error:
        yield Finding(JOBS, "unknown", f"{kinds}: the cluster does not list its kinds ({error.status})")


def _check_runtime(api: KubernetesApi, settings: JobSettings, namespace: str) -> Finding:
    """Look for the TrainingRuntime that the TrainJobs refer to."""
    what = f"{runtime_name(settings)} in namespace {namespace}"
    try:
        if has_runtime(api, settings, namespace):
            return Finding(RUNTIME, "ok", what)
    except KubernetesError as error:
        return Finding(RUNTIME, "unknown", f"{what}: the cluster does not show it ({error.status or error.detail})")
    if settings.runtime is not None:
        return Finding(RUNTIME, "missing", f"there is no {what}: create it, or delete training_job.runtime")
    detail = f"there is no {what}: kubectl apply --namespace {namespace} the one below"
    return Finding(RUNTIME, "missing", detail, yaml.safe_dump(training_runtime(settings), sort_keys=False))


def _check_rights(api: KubernetesApi, job: JobKind, rights: tuple[Right, ...], namespace: str, account: str) -> Finding:
    """Ask the cluster whether the account of the launcher has its rights."""
    who = f"{account} in namespace {namespace}"
    try:
        may = _reviewer(api, namespace, account)
        lacking = [right for right in rights if not all(may(right.group, right.resource, verb) for verb in right.verbs)]
    except KubernetesError as error:
        detail = f"the cluster does not say what {who} may do ({error.status or error.detail}): it needs the Role below"
        return Finding(RIGHTS, "unknown", detail, _role(namespace, account, rights))
    if lacking:
        resources = ", ".join(right.resource for right in lacking)
        detail = f"{who} may not do all that a launcher does with {resources}: kubectl apply the Role below"
        return Finding(RIGHTS, "missing", detail, _role(namespace, account, rights))
    return Finding(RIGHTS, "ok", f"{who} may start, follow and delete {job.plural}")


def _reviewer(api: KubernetesApi, namespace: str, account: str) -> Callable[[str, str, str], bool]:
    """Return a function that asks whether the account may do VERB with RESOURCE of GROUP.

    An account may ask about itself; whoever asks about another one needs the right to.
    """
    user = f"system:serviceaccount:{namespace}:{account}"
    answer = _reviewed(api, "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    is_self = answer.get("userInfo", {}).get("username") == user
    reviews = "/apis/authorization.k8s.io/v1"

    def may(group: str, resource: str, verb: str) -> bool:
        name, _, part = resource.partition("/")
        wanted = {"namespace": namespace, "group": group, "resource": name, "subresource": part, "verb": verb}
        if is_self:
            own = {"spec": {"resourceAttributes": wanted}}
            answer = _reviewed(api, f"{reviews}/selfsubjectaccessreviews", own)
        else:
            others = {"metadata": {"namespace": namespace}, "spec": {"resourceAttributes": wanted, "user": user}}
            answer = _reviewed(api, f"{reviews}/namespaces/{namespace}/localsubjectaccessreviews", others)
        return bool(answer.get("allowed"))

    return may


def _reviewed(api: KubernetesApi, path: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a review, which the server answers and does not keep."""
    return dict(api.request("POST", path, content=content).get("status", {}))


def _role(namespace: str, account: str, rights: tuple[Right, ...]) -> str:
    """Return the Role that gives these rights to an account, and its RoleBinding, as YAML."""
    # Beside the Role of that name in k8s/, which is bound to another account and has more kinds of jobs.
    name = f"{ROLE}-{account}"
    metadata = {"name": name, "namespace": namespace}
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in rights
    ]
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    return yaml.safe_dump_all([role, binding], sort_keys=False)
