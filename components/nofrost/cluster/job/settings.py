"""Settings of training jobs on a cluster: where and when they may run, what waits for what, and which kind they are.

What every pod has (resources, GPUs, credentials) stands in the file of the cluster beside them (`pod_settings.py`); a
launcher gets both as JSON.

Sources: the CRDs of the training operator 1.9 and of Kubeflow Trainer 2.3, and the documentation of Kueue, Volcano and
the scheduler plugins.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nofrost.cluster.job.identity import FIXED_ENV
from nofrost.cluster.job.kinds import BackendChoice, JobBackend
from nofrost.cluster.job.pod_settings import CONFIG_KEYS, SECRET_KEYS, PodSettings, Resources
from nofrost.cluster.job.values import Int32, ObjectName, QueueName
from nofrost.config import parse_part
from nofrost.config.base import Schema, first_duplicate
from nofrost.errors import UserError, shortened

# Pods have this long to save and publish after SIGTERM, before Kubernetes kills them.
POD_GRACE_S = 120
_SCHEDULERS = {"volcano": "volcano", "scheduler-plugins": "scheduler-plugins-scheduler"}
# Settings that a TrainJob takes from its TrainingRuntime.
RUNTIME_SETTINGS = ("restarts", "gang", "priority_class", "image_pull_policy")
# The CRD of TrainJobs allows 128, of which up to thirteen are ours.
_MOST_VARIABLES = 100
_OPERATOR_VARIABLES = re.compile(
    r"(PET|KUBEFLOW|TORCHELASTIC)_.*|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|RANK|PYTHONUNBUFFERED"
)


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{,254}", name):
        raise ValueError(f"{shortened(name)} is not a name of an environment variable: write letters, digits and _")
    if _OPERATOR_VARIABLES.fullmatch(name):
        raise ValueError(f"{name} is set by the operator of the jobs, or torch: delete it")
    if name.startswith("NOFROST_") or name in FIXED_ENV:
        raise ValueError(f"{name} is set by nofrost: delete it")
    if name in (*SECRET_KEYS, *CONFIG_KEYS):
        raise ValueError(f"{name} comes from the Secret or the ConfigMap of credentials: write it there")
    return name


def _value(text: str) -> str:
    if len(text) > 4096 or not text.isprintable():
        raise ValueError(f"{shortened(text)} is not a value of a variable: write at most 4096 printable characters")
    return text


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if (twice := first_duplicate(names)) is not None:
        raise ValueError(f"{twice} is there twice: name each once")
    return names


class Gang(Schema):
    """A scheduler that places the pods of a job together or not at all.

    Attributes:
        scheduler_name: of the pods; null for the one that the scheduler is installed under by default.
        queue: of Volcano; null for its default queue.
        timeout_s: of the scheduler plugins, for which pods that found a place wait for the others.
    """

    scheduler: Literal["volcano", "scheduler-plugins"]
    scheduler_name: ObjectName | None = None
    queue: ObjectName | None = None
    timeout_s: Int32 | None = Field(default=None, ge=1)

    @property
    def name_of_scheduler(self) -> str:
        """The name that the pods ask for."""
        return self.scheduler_name or _SCHEDULERS[self.scheduler]

    @model_validator(mode="after")
    def _settings_are_of_the_scheduler(self) -> Self:
        if self.queue is not None and self.scheduler != "volcano":
            raise ValueError("the scheduler plugins have no queues: delete queue, or write scheduler: volcano")
        if self.timeout_s is not None and self.scheduler != "scheduler-plugins":
            raise ValueError("volcano takes no timeout: delete timeout_s, or write scheduler: scheduler-plugins")
        return self


class TrainingJobSettings(Schema):
    """What training jobs have of their own.

    Attributes:
        backend: the kind of job; `auto` takes a PyTorchJob where the cluster knows it, otherwise a TrainJob; `none`
            trains in the pod of the launcher.
        priority_class: PriorityClass of the pods.
        queue: LocalQueue of Kueue, which admits the job.
        queue_priority: WorkloadPriorityClass of Kueue; null for that of the pods.
        gang: scheduler that places all pods together; null for none, or where Kueue does it.
        deadline_s: seconds that a job may run, after which it fails.
        queue_timeout_s: seconds that the launcher waits until all nodes run, after which it deletes the job.
        ttl_s: seconds that Kubernetes keeps a PyTorchJob after its end; null for a day. A TrainJob has none: its
            launcher deletes it.
        service_account: of the pods; null for the namespace's own.
        pull_secrets: Secrets with the credentials of the registry.
        env: further environment variables, such as NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME.
        runtime: TrainingRuntime of a TrainJob in the namespace of the job; null for the one that
            :mod:`nofrost.cluster.job.training_runtime` renders.
        restarts: of a whole TrainJob after errors that are worth another try; a pod that was evicted, stopped after
            saving or left alone by others does not count. With 0, a PyTorchJob fails at the first pod that fails;
            its operator ignores other numbers.
    """

    backend: BackendChoice = "auto"
    priority_class: ObjectName | None = None
    queue: QueueName | None = None
    queue_priority: QueueName | None = None
    gang: Gang | None = None
    deadline_s: Int32 = Field(default=7 * 24 * 3600, ge=60)
    queue_timeout_s: Int32 = Field(default=24 * 3600, ge=60)
    ttl_s: Int32 | None = Field(default=None, ge=0)
    service_account: ObjectName | None = None
    pull_secrets: Annotated[tuple[ObjectName, ...], AfterValidator(_unique)] = Field(default=(), max_length=64)
    env: dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_value)]] = Field(
        default={}, max_length=_MOST_VARIABLES
    )
    runtime: ObjectName | None = None
    restarts: int = Field(default=3, ge=0, le=100)

    @model_validator(mode="after")
    def _one_queue_at_most(self) -> Self:
        if self.queue is not None and self.gang is not None:
            raise ValueError("queue and gang both decide when all pods start: delete one of them")
        if self.queue is None and self.queue_priority is not None:
            raise ValueError("queue_priority is of a queue of Kueue: add queue, or write priority_class instead")
        return self


class JobSettings(TrainingJobSettings, PodSettings):
    """Everything that the file of the cluster says of the pods of a training job.

    Attributes:
        resources: of one node.
    """

    resources: Resources = Resources(cpu="4", memory="16Gi")

    @model_validator(mode="after")
    def _the_backend_has_them(self) -> Self:
        if self.backend in ("pytorchjob", "trainjob") and (reason := refusal(self, self.backend)):
            raise ValueError(reason)
        return self


def check_backend(settings: JobSettings, backend: JobBackend) -> None:
    """Check that a kind of job can have these settings.

    Raises:
        UserError: it cannot have one of them; the message says why.
    """
    if reason := refusal(settings, backend):
        raise UserError(f"the settings of the training job: {reason}")


def refusal(settings: JobSettings, backend: JobBackend) -> str:
    """Return why a kind of job cannot have these settings; "" if it can."""
    if backend == "pytorchjob":
        if settings.runtime is not None:
            return "runtime: a PyTorchJob has none: delete it, or write backend: trainjob"
        return ""
    if settings.ttl_s is not None:
        return "ttl_s: a TrainJob has none, its launcher deletes it: delete ttl_s, or write backend: pytorchjob"
    if settings.runtime is not None:
        default = JobSettings()
        for name in RUNTIME_SETTINGS:
            if getattr(settings, name) != getattr(default, name):
                return (
                    f"{name}: a TrainJob takes it from its runtime {settings.runtime}: write it there and delete "
                    "it here, or delete runtime for the runtime of nofrost"
                )
    return ""


def load_job_settings(text: str) -> JobSettings:
    """Return the settings that JSON `text` holds (as :meth:`JobSettings.as_json` gives them).

    Raises:
        UserError: the text is not JSON, or a key or value is wrong; the message names it and what is allowed.
    """
    return parse_part(JobSettings, text, "the settings of the training job", source="`python -m pipelines compile`")
