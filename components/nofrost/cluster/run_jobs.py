"""The jobs that belong to a run of the pipeline, by their label: deleted when the run has ended, however it ended.

Cancelling a run stops its pods alone, so a job that a task has started would continue.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nofrost.cluster.api.connection import pod_connection, pod_namespace
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.job.values import LABEL_VALUE
from nofrost.errors import UserError, reason

if TYPE_CHECKING:
    from nofrost.cluster.api.client import KubernetesApi

# A server that refuses at once has a few seconds; one that never answers takes longer, up to its time-outs.
_MOST_TRIES, _RETRY_FOR_S = 4, 90.0
# Lists of jobs, of which some were changed by others while they were deleted.
_MOST_LISTS = 5


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
    except (ImportError, UserError) as error:
        kinds = ",".join(kind.plural for kind in JOB_KINDS)
        return [_may_be_left(kinds, run, namespace, f"this pod cannot use Kubernetes ({error})")]
    problems = ((kind, _delete_kind(api, kind.path(namespace), run)) for kind in JOB_KINDS)
    return [
        _may_be_left(f"{kind.plural}.{kind.group}", run, namespace, problem) for kind, problem in problems if problem
    ]


def _connect() -> KubernetesApi:
    from nofrost.cluster.api.client import KubernetesApi

    connection = pod_connection()
    if connection is None:
        raise UserError("it has no service account, or no address of the API server")
    return KubernetesApi(connection, _RETRY_FOR_S, most_tries=_MOST_TRIES)


def _delete_kind(api: KubernetesApi, path: str, run: str) -> str:
    """Delete the jobs of one kind; return what prevents that, "" if nothing does."""
    try:
        for _ in range(_MOST_LISTS):
            deleted = []
            for job in api.items(path, labelSelector=f"{RUN_LABEL}={run}"):
                metadata = job["metadata"]
                # One that has changed since it was listed may belong to another run by now.
                listed = f"{path}/{metadata['name']}", metadata["uid"], metadata["resourceVersion"]
                deleted.append(api.with_retries(partial(api.delete_once, *listed)))
            if all(deleted):
                return ""
        return "they change all the time"
    except KubernetesError as error:
        # The cluster does not know this kind of job.
        if error.status == 404:
            return ""
        if not error.status:
            return f"Kubernetes does not answer ({error.detail})"
        denied = "the service account may not list or delete them" if error.status == 403 else "Kubernetes refuses"
        return f"{denied} ({error.status}: {error.detail})"
    except Exception as error:
        # An answer that is not Kubernetes's must not keep the record of the run from being written.
        return f"Kubernetes does not answer ({reason(error)})"


def _may_be_left(kinds: str, run: str, namespace: str, problem: str) -> str:
    return (
        f"{kinds} of run {run} may be left: {problem}: run kubectl delete {kinds} --namespace {namespace} "
        f"--selector {RUN_LABEL}={run}"
    )
