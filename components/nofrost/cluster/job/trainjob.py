"""The training job as a TrainJob of Kubeflow Trainer 2.3. What it cannot say stands in its TrainingRuntime."""

from __future__ import annotations

from nofrost.cluster.job.kinds import NODE, TRAINJOB
from nofrost.cluster.job.pod import (
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
from nofrost.cluster.job.training_runtime import runtime_name


def as_trainjob(spec: JobSpec) -> Json:
    """Return the TrainJob of a specification, as the body of the request that creates it.

    Kubernetes does not delete it after its end (https://github.com/kubeflow/trainer/issues/4052): the launcher does.

    Raises:
        UserError: a setting is one that a TrainJob cannot have.
    """
    settings = spec.settings
    check_backend(settings, "trainjob")
    mounts = mounts_of_data_cache(settings)
    # Trainer adds these to those of the runtime.
    containers = {"containers": [{"name": NODE, "volumeMounts": mounts}]} if mounts else {}
    pod = {
        "metadata": pod_metadata(spec),
        "spec": {
            **place(spec),
            "securityContext": pod_security(settings),
            **containers,
            "volumes": volumes(settings),
        },
    }
    patch = {"template": {"spec": {"replicatedJobs": [{"name": NODE, "template": {"spec": {"template": pod}}}]}}}
    return {
        "apiVersion": TRAINJOB.api_version,
        "kind": TRAINJOB.kind,
        "metadata": spec.metadata(),
        "spec": {
            "activeDeadlineSeconds": settings.deadline_s,
            "runtimeRef": {
                "apiGroup": TRAINJOB.group,
                "kind": "TrainingRuntime",
                "name": runtime_name(settings),
            },
            "trainer": {
                "image": spec.image,
                "args": arguments(spec),
                "env": environment(spec),
                "numNodes": spec.nodes,
                "numProcPerNode": spec.processes,
                "resourcesPerNode": resources(spec),
            },
            "runtimePatches": [{"manager": "nofrost/launcher", "trainingRuntimeSpec": patch}],
        },
    }
