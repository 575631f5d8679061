"""The jobs that belong to a run of the pipeline, by their label: deleted when the run has ended, however it ended.

Cancelling a run stops its pods alone, so a job that a task has started would go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nofrost.cluster.api.connection import pod_namespace
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.job.values import LABEL_VALUE
from nofrost.errors import reason

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

_ATTEMPTS, _FIRST_WAIT_S = 4, 0.5
# Lists of jobs, of which some were changed by others while they were deleted.
_MOST_LISTS = 5
# To connect, and between two pieces of an answer.
_TIMEOUTS_S = (5, 20)


def delete_run_jobs(run: str) -> list[str]:
    """Delete the PyTorchJobs and TrainJobs of a run in this pod's namespace; nothing outside a cluster.

    Kubernetes deletes their pods afterwards. A kind of job that the cluster does not know is no error.

    Args:
        run: id of the run, which the label ``nofrost/run`` of its jobs names.

    Returns:
        A sentence for each kind of which jobs may be left: which, why, and how to delete them.
    """
    # Nothing can have such a label.
    if not LABEL_VALUE.fullmatch(run):
        return []
    namespace = pod_namespace()
    if namespace is None:
        return []
    try:
        api = _connect()
    except Exception as error:
        kinds = ",".join(job.plural for job in JOB_KINDS)
        return [_left(kinds, run, namespace, f"this pod cannot use Kubernetes ({reason(error)})")]
    sentences = []
    for job in JOB_KINDS:
        kind = {"group": job.group, "version": job.version, "namespace": namespace, "plural": job.plural}
        problem = _delete(api, kind, run)
        if problem:
            sentences.append(_left(f"{job.plural}.{job.group}", run, namespace, problem))
    return sentences


def _connect() -> CustomObjectsApi:
    """Return a client with the service account of this pod."""
    from kubernetes import client, config
    from urllib3 import Retry

    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    configuration.retries = Retry(
        _ATTEMPTS - 1,
        backoff_factor=_FIRST_WAIT_S,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return client.CustomObjectsApi(client.ApiClient(configuration))


def _delete(api: CustomObjectsApi, kind: dict[str, str], run: str) -> str:
    """Delete the jobs of one kind; return what prevents that, "" if nothing does."""
    from kubernetes.client import ApiException

    def call(method: Any, **arguments: Any) -> Any:
        try:
            return method(**kind, **arguments, _request_timeout=_TIMEOUTS_S)
        except ApiException as error:
            # The cluster does not know this kind of job, or the job has ended meanwhile.
            if error.status == 404:
                return {}
            # It has changed since it was listed: another run may have adopted it.
            if error.status == 409:
                return None
            raise

    try:
        for _ in range(_MOST_LISTS):
            jobs = call(api.list_namespaced_custom_object, label_selector=f"{RUN_LABEL}={run}").get("items", ())
            answers = []
            for job in jobs:
                metadata = job["metadata"]
                listed = {key: metadata[key] for key in ("uid", "resourceVersion")}
                options = {"propagationPolicy": "Background", "preconditions": listed}
                name = metadata["name"]
                answers.append(call(api.delete_namespaced_custom_object, name=name, body=options))
            if None not in answers:
                return ""
        return "they change all the time"
    except ApiException as error:
        denied = "the service account may not list or delete them" if error.status == 403 else "Kubernetes refuses"
        return f"{denied} ({error.status} {error.reason})"
    except Exception as error:
        # No answer, for which urllib3 has many errors, or one that is not Kubernetes's.
        return f"Kubernetes does not answer ({reason(error)})"


def _left(kinds: str, run: str, namespace: str, problem: str) -> str:
    return (
        f"{kinds} of run {run} may be left: {problem}: run kubectl delete {kinds} --namespace {namespace} "
        f"--selector {RUN_LABEL}={run}"
    )
