"""Whether the cluster has the service account of the pods."""

from nofrost.cluster.api.errors import KubernetesError
from pipelines.cluster_settings import Cluster
from pipelines.doctor.cluster_access import NoAccessError, cluster_api, pods_account
from pipelines.doctor.finding import Finding

ACCOUNT, USE = "service account", "use of the account"
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


def check_use(namespace: str | None, name: str | None) -> Finding:
    """Ask whether whoever asks may start runs under an account that is not Kubeflow's own.

    Servers after KFP 2.17 refuse it to others (https://github.com/kubeflow/pipelines/pull/14181); earlier ones do not
    ask.

    Args:
        namespace, name: as for :func:`pods_account`.
    """
    place, account = pods_account(namespace, name)
    right = {"namespace": place, "group": "", "resource": "serviceaccounts", "name": account, "verb": "use"}
    content = {"spec": {"resourceAttributes": right}}
    what = f"the verb `use` on service account {account} in namespace {place}"
    try:
        with cluster_api() as api:
            reviewed = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", content=content)
    except (NoAccessError, KubernetesError) as error:
        return Finding(USE, "unknown", f"{what}: {error}")
    if reviewed.get("status", {}).get("allowed"):
        return Finding(USE, "ok", f"you have {what}")
    return Finding(USE, "unknown", f"you do not have {what}, which KFP after 2.17 asks for: bind the Role "
                   "nofrost-submitter of k8s/ to you")  # fmt: skip
