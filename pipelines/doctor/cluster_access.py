"""The cluster that is asked: that of this pod, else of the current kubeconfig."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes import client, config

from nofrost.cluster.api.connection import pod_namespace
from nofrost.errors import reason

# To connect, to answer.
TIMEOUT_S = (5, 20)
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


@contextmanager
def cluster_api() -> Iterator[Any]:
    """Yield a client of the cluster of this pod, else of the current kubeconfig; raise NoAccessError without one."""
    settings = client.Configuration()
    settings.retries = 0
    try:
        try:
            config.load_incluster_config(settings)
        except config.ConfigException:
            config.load_kube_config(client_configuration=settings)
    # A kubeconfig may be anything and name a program that gives the credentials.
    except Exception as error:
        raise NoAccessError(f"this is no pod, and the kubeconfig cannot be used ({reason(error)})") from None
    try:
        with client.ApiClient(settings) as api:
            yield api
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoAccessError(f"the cluster at {settings.host} cannot be reached ({reason(error)})") from None
