"""Settings of a cluster, read from a YAML file: what all pods share, and resources, retries and limits of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nofrost.cluster.job.pod_settings import PodSettings, Resources
from nofrost.cluster.job.settings import JobSettings, TrainingJobSettings, refusal
from nofrost.cluster.job.values import Int32, Wait
from nofrost.config import load_schema
from nofrost.config.base import Schema

Stage = Literal["prepare", "augment", "train", "evaluate", "report"]
DEFAULTS: dict[Stage, Resources] = {
    "prepare": Resources(cpu="2", memory="4Gi"),
    "augment": Resources(cpu="4", memory="8Gi"),
    "train": Resources(cpu="4", memory="16Gi"),
    "evaluate": Resources(cpu="4", memory="16Gi"),
    "report": Resources(cpu="1", memory="2Gi"),
}


def _refuse(values: Any, key: str, reason: str) -> Any:
    """Return the values of a schema, unless one has a key that went."""
    if isinstance(values, Mapping) and key in values:
        raise ValueError(f"{key} is no setting any more: {reason}; delete it")
    return values


class Retries(Schema):
    """Retries of a task. Kubeflow cannot distinguish wrong input (exit code 2) from a lost node.

    Attributes:
        count: of retries; 0 for none.
        first_wait: before the first retry; each further one waits `factor` times as long.
        factor: a whole number, as Argo reads no other.
        window: since the start of the first try; later there is no retry, and a try that still runs then is ended.
    """

    count: int = Field(default=2, ge=0, le=100)
    first_wait: Wait = "30s"
    factor: int = Field(default=2, ge=1, le=100)
    window: Wait = Field(default="720h", pattern=r"^[1-9]")

    @model_validator(mode="before")
    @classmethod
    def _keys_that_went(cls, values: Any) -> Any:
        return _refuse(values, "longest_wait", "Kubeflow has none; window limits all tries of a task together")


class Cluster(PodSettings):
    """Everything in the compiled pipeline that depends on the cluster.

    Attributes:
        resources: by stage; ``evaluate`` is for both evaluations, ``train`` also for a node of a training job.
        training_job: of trainings on several GPUs or nodes, beside what all pods share.
        deadline_s: seconds after which the whole run is stopped; null for no limit.
        kept_s: seconds that Kubernetes keeps the objects of a finished run; null as Kubeflow is set up.
    """

    resources: dict[Stage, Resources] = Field(default={})
    training_job: TrainingJobSettings = TrainingJobSettings()
    retries: Retries = Retries()
    deadline_s: Int32 | None = Field(default=None, ge=60)
    kept_s: Int32 | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _keys_that_went(cls, values: Any) -> Any:
        return _refuse(
            values, "parallel_runs", "GPUs, quotas or a queue such as Kueue limit how many runs work at once"
        )

    @model_validator(mode="after")
    def _the_kind_of_job_has_its_settings(self) -> Self:
        backend = self.training_job.backend
        if backend in ("pytorchjob", "trainjob"):
            # Unchecked, as its own check would not say where in the file the setting is.
            settings = JobSettings.model_construct(**self._fields_of_the_job())
            if reason := refusal(settings, backend):
                raise ValueError(f"training_job.{reason}")
        return self

    def resources_of(self, stage: Stage) -> Resources:
        """Return the resources of a pod of a stage."""
        return self.resources.get(stage, DEFAULTS[stage])

    def job_settings(self) -> JobSettings:
        """Return all settings of a training job."""
        return JobSettings(**self._fields_of_the_job())

    def _fields_of_the_job(self) -> dict[str, Any]:
        shared = {name: getattr(self, name) for name in PodSettings.model_fields}
        return {**shared, **dict(self.training_job), "resources": self.resources_of("train")}


def load_cluster(path: Path | None) -> Cluster:
    """Return the cluster that the YAML file at `path` describes, or the default one.

    Raises:
        UserError: the file is missing, or a key or value is wrong; the message names file, key and what is allowed.
    """
    return Cluster() if path is None else load_schema(Cluster, path)
