"""The TrainingRuntime `nofrost-torch`: the part of a TrainJob that only the one who installs it may write.

Whatever Kubernetes Job, JobSet and Kubeflow Trainer do when a pod fails is decided here and nowhere else, because
Kubeflow Trainer has no field of its own for it yet (KEP-4162). A failed pod fails its Job, the Job the JobSet, and the
JobSet starts all pods again, as a lone pod could not join the others again.

The two patterns match sentences of the controller of Jobs (pkg/controller/job/pod_failure_policy.go of Kubernetes),
"Container node for pod NAMESPACE/POD failed with exit code 143 matching FailJob rule at index 1" and "Pod NAMESPACE/POD
has condition DisruptionTarget matching FailJob rule at index 0", which are no versioned interface: where they do not
match, every failure counts as one of the restarts, and 2 is tried again until none is left.

Of pods that fail within one look of the controller, the first in its list decides: beside a process that ended with 1
or 2, another one that lost it may start the job once more. The training itself ends a job that starts again and
again without a new save.
"""

from __future__ import annotations

import hashlib
import json
import shlex

from nofrost.cluster.job.kinds import NODE, TRAINJOB
from nofrost.cluster.job.pod import (
    COMMON_POD_FIELDS,
    CONTAINER_SECURITY,
    MOUNTS,
    PORTS,
    WITHOUT_ISTIO,
    pod_security,
    volumes,
)
from nofrost.cluster.job.settings import RUNTIME_SETTINGS, JobSettings
from nofrost.cluster.job.spec import Json
from nofrost.errors import PeerLostError, StoppedError, UserError

RUNTIME_NAME = "nofrost-torch"
_NEVER_AGAIN, _STOPPED, _PEER_LOST = UserError.exit_code, StoppedError.exit_code, PeerLostError.exit_code


def runtime_name(settings: JobSettings) -> str:
    """Return the name of the TrainingRuntime that jobs with these settings need.

    It is `nofrost-torch` for the defaults of what is the runtime's own; others have a hash of these settings at the
    end, so that a job never trains in a runtime with other ones: it is missing instead.
    """
    if settings.runtime is not None:
        return settings.runtime
    changed = _changed(settings)
    if not changed:
        return RUNTIME_NAME
    return f"{RUNTIME_NAME}-{hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]}"


def how_to_install(settings: JobSettings, namespace: str) -> str:
    """Return the command that installs the TrainingRuntime for jobs with these settings."""
    changed = _changed(settings)
    options = f" --settings {shlex.quote(json.dumps(changed))}" if changed else ""
    return f"nofrost task runtime{options} | kubectl apply --namespace {namespace} -f -"


def training_runtime(settings: JobSettings) -> Json:
    """Return the TrainingRuntime for jobs with these settings, to be applied in their namespace.

    Raises:
        UserError: the settings name a runtime of the user's, which is not ours to write.
    """
    if settings.runtime is not None:
        raise UserError(
            f"the settings of the training job: runtime: {settings.runtime} is a runtime of your own: delete it for "
            "the one of nofrost"
        )
    gang, default = settings.gang, JobSettings(run_as=None)  # each job has its own user and shared memory
    fields = {
        "schedulerName": gang.name_of_scheduler if gang else None,
        "priorityClassName": settings.priority_class,
    }
    pod = {
        "metadata": {"labels": dict(WITHOUT_ISTIO), "annotations": dict(WITHOUT_ISTIO)},
        "spec": {
            **COMMON_POD_FIELDS,
            **{name: value for name, value in fields.items() if value},
            "restartPolicy": "Never",
            "securityContext": pod_security(default),
            "containers": [
                {
                    "name": NODE,
                    "imagePullPolicy": settings.image_pull_policy,
                    "ports": list(PORTS),
                    "securityContext": CONTAINER_SECURITY,
                    "volumeMounts": list(MOUNTS),
                }
            ],
            "volumes": volumes(default),
        },
    }
    queue = (
        {"metadata": {"annotations": {"scheduling.volcano.sh/queue-name": gang.queue}}} if gang and gang.queue else {}
    )
    return {
        "apiVersion": TRAINJOB.api_version,
        "kind": "TrainingRuntime",
        "metadata": {"name": runtime_name(settings), "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            **_gang(settings),
            "template": {
                **queue,
                "spec": {
                    "failurePolicy": _failures_of_the_job(settings.restarts),
                    "replicatedJobs": [
                        {
                            "name": NODE,
                            "template": {
                                "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                                "spec": {
                                    # The default of 6 starts a pod alone, while the others wait for the one that left.
                                    "backoffLimit": 0,
                                    "podFailurePolicy": _failures_of_a_pod(),
                                    "template": pod,
                                },
                            },
                        }
                    ],
                },
            },
        },
    }


def _changed(settings: JobSettings) -> Json:
    """Return what is the runtime's own and not the default."""
    own, default = (each.model_dump(mode="json", include=set(RUNTIME_SETTINGS)) for each in (settings, JobSettings()))
    return {name: value for name, value in own.items() if value != default[name]}


def _failures_of_a_pod() -> Json:
    """Return the rules that make the reason of a pod's end a part of the message of its Job's failure."""
    codes = sorted((_NEVER_AGAIN, _STOPPED, _PEER_LOST))
    return {
        "rules": [
            {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": TRAINJOB.container, "operator": "In", "values": codes},
            },
        ]
    }


def _failures_of_the_job(restarts: int) -> Json:
    """Return the rules, of which the first that matches counts; a failure without one counts as a restart.

    A JobSet controller that is too old to know the patterns takes the first rule for each of these ends, so that it is
    the one that ends the job.
    """
    again = f"failed with exit code ({_STOPPED}|{_PEER_LOST}) "
    rules = (
        ("input", "FailJobSet", f"failed with exit code {_NEVER_AGAIN} "),
        ("evicted", "RestartJobSetAndIgnoreMaxRestarts", "has condition DisruptionTarget"),
        ("stopped", "RestartJobSetAndIgnoreMaxRestarts", again),
    )
    return {
        "maxRestarts": restarts,
        "restartStrategy": "BlockingRecreate",  # no new pod before the last old one is gone
        "rules": [
            {
                "name": name,
                "action": action,
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": [pattern],
            }
            for name, action, pattern in rules
        ],
    }


def _gang(settings: JobSettings) -> Json:
    gang = settings.gang
    if gang is None:
        return {}
    if gang.scheduler == "volcano":
        return {"podGroupPolicy": {"volcano": {}}}
    timeout = {} if gang.timeout_s is None else {"scheduleTimeoutSeconds": gang.timeout_s}
    return {"podGroupPolicy": {"coscheduling": timeout}}
