"""What every pod that works for us gets from the cluster: resources, places, GPUs, credentials, user, pauses of saves.

The file of a cluster holds them for the tasks of the pipeline, and training jobs take them from there.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from nofrost.cluster.job.values import (
    CpuQuantity,
    DeviceResource,
    Int32,
    LabelKey,
    LabelValue,
    Memory,
    ObjectName,
)
from nofrost.config.base import Schema
from nofrost.data_cache import FOLDER_VARIABLE, SIZE_VARIABLE
from nofrost.stage import SAVE_INTERVALS_S
from nofrost.telemetry.log import VARIABLE as LOG_VARIABLE
from nofrost.telemetry.metrics.gateway import VARIABLE as GATEWAY_VARIABLE

# Environment variables of all pods, by the names of the keys in the Secret and in the ConfigMap.
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
CONFIG_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", GATEWAY_VARIABLE, LOG_VARIABLE)
# Where the volume of the data cache is mounted.
DATA_CACHE_PATH = "/data-cache"
# Where pods that train or evaluate serve their metrics.
METRICS_PORT = 8081


class Resources(Schema):
    """Requests of one pod, which are also its limits, as Kubernetes quantities (``500m``, ``4``, ``16Gi``)."""

    cpu: CpuQuantity = "2"
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
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=64)


class Gpu(Placement):
    """GPUs of the pods: the resource of the device plugin, and the nodes that have it."""

    resource: DeviceResource = "nvidia.com/gpu"
    tolerations: tuple[Toleration, ...] = Field(
        default=(Toleration(key="nvidia.com/gpu", effect="NoSchedule"),), max_length=64
    )


class Credentials(Schema):
    """Where pods get their S3 credentials: a Secret with keys named like the environment variables, or, with `secret`
    null, the service account of the run (IRSA). The ConfigMap holds endpoint, region and the Pushgateway; both maps may
    be absent."""

    secret: ObjectName | None = "nofrost-s3"
    config_map: ObjectName | None = "nofrost-s3"


class DataCache(Schema):
    """Where pods that read shards of images keep them: in a PersistentVolumeClaim, which other pods find again, or in a
    folder of their own, where there is no `claim`. All shards in it have at most `limit` bytes."""

    limit: Memory
    claim: ObjectName | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which tasks find it."""
        return {FOLDER_VARIABLE: DATA_CACHE_PATH, SIZE_VARIABLE: self.limit}


class PodSettings(Schema):
    """What the pods of every task share.

    Attributes:
        shared_memory: size of ``/dev/shm`` in training and evaluation, which counts towards their memory.
        run_as: user and group of the containers. Null for KFP 2.15, which refuses a pipeline that says it; the images
            themselves run as 1000.
        save_interval_s: seconds between two saves of a training. An evaluation saves after every batch; what it saves
            is sent to the store as soon as the pause after the last one, at most a quarter of this, is over.
        data_cache: null for the folder of temporary files of each pod, without a limit.
    """

    placement: Placement = Placement()
    gpu: Gpu = Gpu()
    shared_memory: Memory = "1Gi"
    credentials: Credentials = Credentials()
    run_as: Int32 | None = Field(default=1000, ge=1)
    save_interval_s: int = Field(default=300, ge=SAVE_INTERVALS_S.start, lt=SAVE_INTERVALS_S.stop)
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    data_cache: DataCache | None = None
