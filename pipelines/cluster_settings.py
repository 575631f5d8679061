"""Settings of a cluster, read from a YAML file: resources, GPUs, tolerations, credentials."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nofrost.config import load_schema
from nofrost.config.base import Schema
from nofrost.stage import SAVE_INTERVALS_S
from pipelines.kubernetes_values import (
    DeviceResource,
    Int32,
    LabelKey,
    LabelValue,
    Memory,
    ObjectName,
    Processors,
    Wait,
)

Stage = Literal["prepare", "augment", "train", "evaluate", "report"]


def _refuse(values: Any, key: str, reason: str) -> Any:
    """Return the values of a schema, unless one has a key that went."""
    if isinstance(values, Mapping) and key in values:
        raise ValueError(f"{key} is no setting any more: {reason}; delete it")
    return values


class Resources(Schema):
    """Requests of one pod, which are also its limits, as Kubernetes quantities (``500m``, ``4``, ``16Gi``)."""

    cpu: Processors = "2"
    memory: Memory = "4Gi"


class Toleration(Schema):
    """A toleration of the pods."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Exists"
    value: LabelValue | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None

    @model_validator(mode="after")
    def _value_fits_the_operator(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("the operator Equal compares the value of a key: add key, or write Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("the operator Exists takes no value: delete value, or write Equal")
        return self


class Placement(Schema):
    """Where pods may run."""

    node_selector: dict[LabelKey, LabelValue] = Field(default={})
    tolerations: tuple[Toleration, ...] = ()


class Gpu(Placement):
    """GPUs of the pods: the resource of the device plugin, and the nodes that have it."""

    resource: DeviceResource = "nvidia.com/gpu"
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", effect="NoSchedule"),)


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


class Credentials(Schema):
    """Where pods get their S3 credentials: a Secret with keys named like the environment variables, or, with `secret`
    null, the service account of the run (IRSA). The ConfigMap holds endpoint and region; both maps may be absent."""

    secret: ObjectName | None = "nofrost-s3"
    config_map: ObjectName | None = "nofrost-s3"


class Cluster(Schema):
    """Everything in the compiled pipeline that depends on the cluster.

    Attributes:
        resources: by stage; ``evaluate`` is for both evaluations.
        shared_memory: size of ``/dev/shm`` in training and evaluation, which counts towards their memory.
        run_as: user and group of the containers. Null for KFP 2.15, which refuses a pipeline that says it; the images
            themselves run as 1000.
        save_interval_s: seconds between two saves of a training. An evaluation saves after every batch; what it saves
            is sent to the store as soon as the pause after the last one, at most a quarter of this, is over.
        deadline_s: seconds after which the whole run is stopped; null for no limit.
        kept_s: seconds that Kubernetes keeps the objects of a finished run; null as Kubeflow is set up.
    """

    resources: dict[Stage, Resources] = Field(default={})
    placement: Placement = Placement()
    gpu: Gpu = Gpu()
    shared_memory: Memory = "1Gi"
    retries: Retries = Retries()
    credentials: Credentials = Credentials()
    run_as: Int32 | None = Field(default=1000, ge=1)
    save_interval_s: int = Field(default=300, ge=SAVE_INTERVALS_S.start, lt=SAVE_INTERVALS_S.stop)
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    deadline_s: Int32 | None = Field(default=None, ge=60)
    kept_s: Int32 | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _keys_that_went(cls, values: Any) -> Any:
        return _refuse(
            values, "parallel_runs", "GPUs, quotas or a queue such as Kueue limit how many runs work at once"
        )


def load_cluster(path: Path | None) -> Cluster:
    """Return the cluster that the YAML file at `path` describes, or the default one.

    Raises:
        UserError: the file is missing, or a key or value is wrong; the message names file, key and what is allowed.
    """
    return Cluster() if path is None else load_schema(Cluster, path)
