"""What trainings on several GPUs or nodes need of the cluster: a kind of job, its runtime, rights of the launcher."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml
from kubernetes import client

from nofrost.cluster.job.kinds import JOB_KINDS, KUEUE, JobKind
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.training_runtime import runtime_name, training_runtime
from pipelines.doctor.cluster_access import TIMEOUT_S, NoAccessError, cluster_api, pods_account
from pipelines.doctor.finding import Finding

JOBS, RUNTIME, RIGHTS = "training jobs", "training runtime", "rights of the launcher"
ROLE, RUNTIMES = "nofrost-launcher", "trainingruntimes"


class Right(NamedTuple):
    """What an account may do with a resource, which may be a part of another one (``pods/log``)."""

    group: str
    resource: str
    verbs: tuple[str, ...]


def launcher_rights(job: JobKind, settings: JobSettings) -> tuple[Right, ...]:
    """Return what a launcher does with jobs of this kind: start, adopt, follow and delete them, and read their logs."""
    runtimes = (Right(job.group, RUNTIMES, ("get",)),) if job.kind == "TrainJob" else ()
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
            served = [job for job in JOB_KINDS if _has(api, job)]
            listed = ", ".join(job.kind if job in served else f"no {job.kind}" for job in JOB_KINDS)
            if not needed:
                yield Finding(JOBS, "ok", f"{listed} (not needed: every training uses one pod)")
                return
            usable = [job for job in served if settings.backend in ("auto", job.kind.lower())]
            if not usable:
                wanted = kinds if settings.backend == "auto" else f"training_job.backend {settings.backend}"
                yield Finding(JOBS, "missing", f"{listed}: install what --gpus and --nodes ask for, {wanted}")
                return
            # The launcher takes the first as well.
            kind, (place, name) = usable[0], pods_account(namespace, account)
            yield Finding(JOBS, "ok", f"{listed}: trainings on several GPUs or nodes are {kind.kind}s")
            if kind.kind == "TrainJob":
                yield _check_runtime(api, settings, kind, place)
            yield _check_rights(api, kind, launcher_rights(kind, settings), place, name)
    except NoAccessError as error:
        yield Finding(JOBS, "unknown", f"{kinds}: {error}")
    except client.ApiException as error:
        yield Finding(JOBS, "unknown", f"{kinds}: the cluster does not list its kinds ({error.status})")


def _check_runtime(api: Any, settings: JobSettings, job: JobKind, namespace: str) -> Finding:
    """Look for the TrainingRuntime that the TrainJobs refer to."""
    name = runtime_name(settings)
    try:
        client.CustomObjectsApi(api).get_namespaced_custom_object(
            job.group, job.version, namespace, RUNTIMES, name, _request_timeout=TIMEOUT_S
        )
    except client.ApiException as error:
        if error.status == 404 and settings.runtime is None:
            text = yaml.safe_dump(training_runtime(settings), sort_keys=False)
            return Finding(
                RUNTIME,
                "missing",
                f"there is no {name} in namespace {namespace}: kubectl apply --namespace {namespace} the one below",
                text,
            )
        if error.status == 404:
            return Finding(RUNTIME, "missing", f"there is no {name} in namespace {namespace}: create it, or delete "
                           "training_job.runtime")  # fmt: skip
        return Finding(RUNTIME, "unknown", f"{name} in namespace {namespace}: the cluster does not show it "
                       f"({error.status})")  # fmt: skip
    return Finding(RUNTIME, "ok", f"{name} in namespace {namespace}")


def _check_rights(api: Any, job: JobKind, rights: tuple[Right, ...], namespace: str, account: str) -> Finding:
    """Ask the cluster whether the account of the launcher has its rights."""
    who = f"{account} in namespace {namespace}"
    try:
        may = _reviewer(api, namespace, account)
        lacking = [right for right in rights if not all(may(right.group, right.resource, verb) for verb in right.verbs)]
    except client.ApiException as error:
        detail = f"the cluster does not say what {who} may do ({error.status}): it needs the Role below"
        return Finding(RIGHTS, "unknown", detail, _role(namespace, account, rights))
    if lacking:
        resources = ", ".join(right.resource for right in lacking)
        detail = f"{who} may not do all that a launcher does with {resources}: kubectl apply the Role below"
        return Finding(RIGHTS, "missing", detail, _role(namespace, account, rights))
    return Finding(RIGHTS, "ok", f"{who} may start, follow and delete {job.plural}")


def _reviewer(api: Any, namespace: str, account: str) -> Callable[[str, str, str], bool]:
    """Return a function that asks whether the account may do VERB with RESOURCE of GROUP.

    An account may ask about itself; whoever asks about another one needs the right to.
    """
    user = f"system:serviceaccount:{namespace}:{account}"
    answer = client.AuthenticationV1Api(api).create_self_subject_review({}, _request_timeout=TIMEOUT_S)
    is_self = answer.status.user_info.username == user
    reviews = client.AuthorizationV1Api(api)

    def may(group: str, resource: str, verb: str) -> bool:
        name, _, part = resource.partition("/")
        wanted = {"namespace": namespace, "group": group, "resource": name, "subresource": part, "verb": verb}
        if is_self:
            body: dict[str, Any] = {"spec": {"resourceAttributes": wanted}}
            review = reviews.create_self_subject_access_review(body, _request_timeout=TIMEOUT_S)
        else:
            body = {"metadata": {"namespace": namespace}, "spec": {"resourceAttributes": wanted, "user": user}}
            review = reviews.create_namespaced_local_subject_access_review(namespace, body, _request_timeout=TIMEOUT_S)
        return bool(review.status.allowed)

    return may


def _role(namespace: str, account: str, rights: tuple[Right, ...]) -> str:
    """Return the Role that gives these rights to an account, and its RoleBinding, as YAML."""
    metadata = {"name": ROLE, "namespace": namespace}
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in rights
    ]
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    return yaml.safe_dump_all([role, binding], sort_keys=False)


def _has(api: Any, job: JobKind) -> bool:
    """Return whether a cluster serves a resource in the version that we use, which every account may ask."""
    groups = client.ApisApi(api).get_api_versions(_request_timeout=TIMEOUT_S).groups
    if not any(each.name == job.group and job.version in [one.version for one in each.versions] for each in groups):
        return False
    ask: Callable[..., Any] = client.CustomObjectsApi(api).get_api_resources
    resources = ask(job.group, job.version, _request_timeout=TIMEOUT_S).resources
    return any(resource.name == job.plural for resource in resources)
