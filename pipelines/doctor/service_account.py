"""Whether the cluster has the service account of the pods."""

from nofrost.cluster.api.errors import KubernetesError
from pipelines.cluster_settings import Cluster
from pipelines.doctor.cluster_access import NoAccessError, cluster_api, pods_account
from pipelines.doctor.finding import Finding

ACCOUNT = "service account"
IRSA = "eks.amazonaws.com/role-arn"


def check_service_account(namespace: str | None, name: str | None, cluster: Cluster) -> Finding:
    """Look for the service account of the pods.

    Args:
        namespace, name: as for :func:`pods_account`.
        cluster: without a Secret in it, the account has to give the right to use the bucket.
    """
    place, account = pods_account(namespace, name)
    what = f"{account} in namespace {place}"
    try:
        with cluster_api() as api:
            what = f"{what} of the cluster {api.url}"
            found = api.get(f"/api/v1/namespaces/{place}/serviceaccounts/{account}")
    except NoAccessError as error:
        return Finding(ACCOUNT, "unknown", f"{what}: {error}")
    except KubernetesError as error:
        if error.status == 404:
            return Finding(ACCOUNT, "missing", f"there is no {what}: create it, or give another with --service-account")
        return Finding(ACCOUNT, "unknown", f"{what}: the cluster does not show it ({error.status})")
    if cluster.credentials.secret is None and IRSA not in found["metadata"].get("annotations", {}):
        return Finding(ACCOUNT, "unknown", f"{what} has no annotation {IRSA}: without a Secret, pods need another way "
                       "to the bucket")  # fmt: skip
    return Finding(ACCOUNT, "ok", what)
