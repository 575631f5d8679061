"""The training job as a PyTorchJob of Kubeflow's training operator 1.9."""

from __future__ import annotations

from nofrost.cluster.job.identity import FAILURE_CODE
from nofrost.cluster.job.kinds import PYTORCHJOB
from nofrost.cluster.job.pod import (
    COMMON_POD_FIELDS,
    CONTAINER_SECURITY,
    MOUNTS,
    PORTS,
    arguments,
    environment,
    mounts_of_data_cache,
    place,
    pod_metadata,
    pod_security,
    resources,
    volumes,
)
from nofrost.cluster.job.settings import check_backend
from nofrost.cluster.job.spec import JobSpec, Json

# None that a shell, a signal or Python gives.
_FAILED = 201
# A launcher that was away for a while finds out how the job ended.
DEFAULT_TTL_S = 24 * 3600


def as_pytorchjob(spec: JobSpec) -> Json:
    """Return the PyTorchJob of a specification, as the body of the request that creates it.

    The operator tries a pod again, alone and without limit, that ends with 128 or more, and fails the job at any other
    exit code. So a pod ends with 201 where it would end with 1. The operator ignores its own `backoffLimit`
    (https://github.com/kubeflow/trainer/issues/2045) unless that is 0; the training itself counts the starts without a
    new save. It does so for a run alone: without one, 1 remains 1, and fails the job.

    The pods of workers get a container of the operator's own that waits for the master (`init-pytorch`, by default of
    the image alpine:3.10). Its security context is the operator's: a namespace that enforces the Pod Security Standard
    `restricted` refuses it, unless the template that the operator is installed with says one.

    Raises:
        UserError: a setting is one that a PyTorchJob cannot have.
    """
    settings = spec.settings
    check_backend(settings, "pytorchjob")
    replicas = {"Master": 1, **({"Worker": spec.nodes - 1} if spec.nodes > 1 else {})}
    return {
        "apiVersion": PYTORCHJOB.api_version,
        "kind": PYTORCHJOB.kind,
        "metadata": spec.metadata(),
        "spec": {
            "nprocPerNode": str(spec.processes),
            "runPolicy": {
                "activeDeadlineSeconds": settings.deadline_s,
                "backoffLimit": settings.restarts,
                # A pod that runs on without the others ends; those that have ended keep their logs.
                "cleanPodPolicy": "Running",
                "ttlSecondsAfterFinished": DEFAULT_TTL_S if settings.ttl_s is None else settings.ttl_s,
                **_scheduling(spec),
            },
            "pytorchReplicaSpecs": {
                role: {"replicas": count, "restartPolicy": "ExitCode", "template": _pod(spec)}
                for role, count in replicas.items()
            },
        },
    }


def _pod(spec: JobSpec) -> Json:
    settings = spec.settings
    container = {
        "name": PYTORCHJOB.container,
        "image": spec.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": arguments(spec),
        "env": [*environment(spec), *([{"name": FAILURE_CODE, "value": str(_FAILED)}] if spec.run else [])],
        "ports": list(PORTS),
        "resources": resources(spec),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [*MOUNTS, *mounts_of_data_cache(settings)],
    }
    fields = {
        "schedulerName": settings.gang.name_of_scheduler if settings.gang else None,
        "priorityClassName": settings.priority_class,
    }
    return {
        "metadata": pod_metadata(spec),
        "spec": {
            **COMMON_POD_FIELDS,
            **place(spec),
            **{name: value for name, value in fields.items() if value},
            "securityContext": pod_security(settings),
            "containers": [container],
            "volumes": volumes(settings),
        },
    }


def _scheduling(spec: JobSpec) -> Json:
    """Return the policy by which the operator makes a group of the pods, all of which are placed together."""
    gang = spec.settings.gang
    if gang is None:
        return {}
    policy = {
        "minAvailable": spec.nodes,
        "queue": gang.queue,
        "priorityClass": spec.settings.priority_class if gang.scheduler == "volcano" else None,
        "scheduleTimeoutSeconds": gang.timeout_s,
    }
    return {"schedulingPolicy": {name: value for name, value in policy.items() if value is not None}}
