"""The cluster that is asked: that of this pod, else of the current kubeconfig."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.connection import connection, pod_namespace
from nofrost.cluster.api.errors import KubernetesError
from nofrost.errors import UserError

# The namespace of an installation for one user.
KUBEFLOW = "kubeflow"
# Kubeflow's own service accounts, in a namespace of a user and in an installation for one.
USERS_ACCOUNT, COMMON_ACCOUNT = "default-editor", "pipeline-runner"


class NoAccessError(Exception):
    """There is no cluster that can be asked, or it does not answer."""


def pods_account(namespace: str | None, name: str | None) -> tuple[str, str]:
    """Return namespace and service account of the pods.

    Args:
        namespace: of the user; None for that of this pod, else that of an installation for one user.
        name: None for Kubeflow's own.
    """
    place = namespace or pod_namespace() or KUBEFLOW
    return place, name or (COMMON_ACCOUNT if place == KUBEFLOW else USERS_ACCOUNT)


def found_in(api: KubernetesApi, path: str) -> dict[str, Any] | None:
    """Return what there is at a path of the API; None if there is nothing.

    Raises:
        KubernetesError: the cluster does not show it, or does not answer.
    """
    try:
        return api.get(path)
    except KubernetesError as error:
        if error.status != 404:
            raise
        return None


@contextmanager
def cluster_api() -> Iterator[KubernetesApi]:
    """Yield a client of the cluster, which asks only once.

    Raises:
        NoAccessError: there is none, or it does not answer.
    """
    try:
        api = KubernetesApi(connection(), most_tries=1)
    except UserError as error:
        raise NoAccessError(str(error)) from None
    try:
        yield api
    except KubernetesError as error:
        if error.status:
            raise
        raise NoAccessError(f"the cluster at {api.url} cannot be reached ({error.detail})") from None
