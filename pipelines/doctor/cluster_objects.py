"""What the cluster has: the service account of the pods, and kinds of training jobs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes import client, config

from nofrost.cluster import TRAINING_JOBS, TrainingJob, pod_namespace
from nofrost.errors import reason
from pipelines.cluster_settings import Cluster
from pipelines.doctor.finding import Finding

# To connect, to answer.
TIMEOUT_S = (5, 20)
ACCOUNT, JOBS = "service account", "training jobs"
# The namespace of an installation for one user.
KUBEFLOW = "kubeflow"
# Kubeflow's own service accounts, in a namespace of a user and in an installation for one.
USERS_ACCOUNT, COMMON_ACCOUNT = "default-editor", "pipeline-runner"
IRSA = "eks.amazonaws.com/role-arn"


class _NoAccessError(Exception):
    """There is no cluster that can be asked, or it does not answer."""


def check_service_account(namespace: str | None, name: str | None, cluster: Cluster) -> Finding:
    """Look for the service account of the pods.

    Args:
        namespace: of the user; None for that of this pod, else that of an installation for one user.
        name: None for Kubeflow's own.
        cluster: without a Secret in it, the account has to give the right to use the bucket.
    """
    place = namespace or pod_namespace() or KUBEFLOW
    account = name or (COMMON_ACCOUNT if place == KUBEFLOW else USERS_ACCOUNT)
    what = f"{account} in namespace {place}"
    try:
        with _asked() as api:
            what = f"{what} of the cluster {api.configuration.host}"
            service_account = client.CoreV1Api(api).read_namespaced_service_account(
                account, place, _request_timeout=TIMEOUT_S
            )
    except _NoAccessError as error:
        return Finding(ACCOUNT, "unknown", f"{what}: {error}")
    except client.ApiException as error:
        if error.status == 404:
            return Finding(ACCOUNT, "missing", f"there is no {what}: create it, or give another with --service-account")
        return Finding(ACCOUNT, "unknown", f"{what}: the cluster does not show it ({error.status})")
    if cluster.credentials.secret is None and IRSA not in (service_account.metadata.annotations or {}):
        return Finding(ACCOUNT, "unknown", f"{what} has no annotation {IRSA}: without a Secret, pods need another way "
                       "to the bucket")  # fmt: skip
    return Finding(ACCOUNT, "ok", what)


def check_training_jobs() -> Finding:
    """Look for the kinds of jobs that train on several nodes; one of them is enough.

    No submission uses them yet (``--nodes`` is 1), so a cluster without them lacks nothing.
    """
    kinds = " or ".join(job.kind for job in TRAINING_JOBS)
    try:
        with _asked() as api:
            is_served = {job.kind: _has(api, job) for job in TRAINING_JOBS}
    except _NoAccessError as error:
        return Finding(JOBS, "unknown", f"{kinds}: {error}")
    except client.ApiException as error:
        return Finding(JOBS, "unknown", f"{kinds}: the cluster does not list its kinds ({error.status})")
    if not any(is_served.values()):
        return Finding(JOBS, "ok", f"no {kinds}: not needed, as every training uses one node")
    kinds = ", ".join(kind if there else f"no {kind}" for kind, there in is_served.items())
    return Finding(JOBS, "ok", f"{kinds} (one kind is enough)")


def _has(api: Any, job: TrainingJob) -> bool:
    """Return whether a cluster serves a resource in any version, which every account may ask."""
    groups = client.ApisApi(api).get_api_versions(_request_timeout=TIMEOUT_S).groups
    versions = [version.version for each in groups if each.name == job.group for version in each.versions]
    ask: Callable[..., Any] = client.CustomObjectsApi(api).get_api_resources
    resources_by_version = (ask(job.group, version, _request_timeout=TIMEOUT_S).resources for version in versions)
    return any(resource.name == job.plural for resources in resources_by_version for resource in resources)


@contextmanager
def _asked() -> Iterator[Any]:
    """Yield a client of the cluster of this pod, else of the current kubeconfig; raise _NoAccessError without one."""
    settings = client.Configuration()
    settings.retries = 0
    try:
        try:
            config.load_incluster_config(settings)
        except config.ConfigException:
            config.load_kube_config(client_configuration=settings)
    # A kubeconfig may be anything and name a program that gives the credentials.
    except Exception as error:
        raise _NoAccessError(f"this is no pod, and the kubeconfig cannot be used ({reason(error)})") from None
    try:
        with client.ApiClient(settings) as api:
            yield api
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _NoAccessError(f"the cluster at {settings.host} cannot be reached ({reason(error)})") from None
