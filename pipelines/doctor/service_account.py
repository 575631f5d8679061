"""Whether the cluster has the service account of the pods."""

from kubernetes import client

from pipelines.cluster_settings import Cluster
from pipelines.doctor.cluster_access import TIMEOUT_S, NoAccessError, cluster_api, pods_account
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
            what = f"{what} of the cluster {api.configuration.host}"
            service_account = client.CoreV1Api(api).read_namespaced_service_account(
                account, place, _request_timeout=TIMEOUT_S
            )
    except NoAccessError as error:
        return Finding(ACCOUNT, "unknown", f"{what}: {error}")
    except client.ApiException as error:
        if error.status == 404:
            return Finding(ACCOUNT, "missing", f"there is no {what}: create it, or give another with --service-account")
        return Finding(ACCOUNT, "unknown", f"{what}: the cluster does not show it ({error.status})")
    if cluster.credentials.secret is None and IRSA not in (service_account.metadata.annotations or {}):
        return Finding(ACCOUNT, "unknown", f"{what} has no annotation {IRSA}: without a Secret, pods need another way "
                       "to the bucket")  # fmt: skip
    return Finding(ACCOUNT, "ok", what)
