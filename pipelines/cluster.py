"""Settings of a cluster, read from a YAML file: resources, GPUs, tolerations, credentials."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from nofrost.config import load_schema
from nofrost.config.base import Schema

Stage = Literal["prepare", "augment", "train", "evaluate", "report"]


class Resources(Schema):
    """Requests of one pod, which are also its limits, as Kubernetes quantities (``500m``, ``4``, ``16Gi``)."""

    cpu: str = Field(default="2", pattern=r"^[0-9]+(\.[0-9]+)?m?$")
    memory: str = Field(default="4Gi", pattern=r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki)?$")


class Toleration(Schema):
    """A toleration of the pods."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


class Placement(Schema):
    """Where pods may run."""

    node_selector: dict[str, str] = Field(default={})
    tolerations: tuple[Toleration, ...] = ()


class Gpu(Placement):
    """GPUs of the pods: the resource of the device plugin, and the nodes that have it."""

    resource: str = "nvidia.com/gpu"
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", effect="NoSchedule"),)


class Retries(Schema):
    """Retries of a task. Kubeflow cannot distinguish wrong input (exit code 2) from a lost node."""

    count: int = Field(default=2, ge=0)
    first_wait: str = Field(default="30s", pattern=r"^[0-9]+[smh]$")
    factor: float = Field(default=2.0, ge=1)
    longest_wait: str = Field(default="600s", pattern=r"^[0-9]+[smh]$")


class Credentials(Schema):
    """Where pods get their S3 credentials: a Secret with keys named like the environment variables, or, with `secret`
    null, the service account of the run (IRSA). The ConfigMap holds endpoint and region; both maps may be absent."""

    secret: str | None = "nofrost-s3"
    config_map: str | None = "nofrost-s3"


class Cluster(Schema):
    """Everything in the compiled pipeline that depends on the cluster.

    Attributes:
        resources: by stage; ``evaluate`` is for both evaluations.
        shared_memory: size of ``/dev/shm`` in training and evaluation, which counts towards their memory.
        parallel_runs: runs that are trained and evaluated at the same time; 0 for all.
        deadline_s: seconds after which the whole run is stopped; null for no limit.
        kept_s: seconds that Kubernetes keeps the objects of a finished run; null for ever.
    """

    resources: dict[Stage, Resources] = Field(default={})
    placement: Placement = Placement()
    gpu: Gpu = Gpu()
    shared_memory: str = Field(default="1Gi", pattern=r"^[0-9]+(\.[0-9]+)?[GM]i$")
    retries: Retries = Retries()
    credentials: Credentials = Credentials()
    parallel_runs: int = Field(default=0, ge=0)
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    deadline_s: int | None = Field(default=None, ge=60)
    kept_s: int | None = Field(default=None, ge=0)


def load_cluster(path: Path | None) -> Cluster:
    """Return the cluster that the YAML file at `path` describes, or the default one.

    Raises:
        UserError: the file is missing, or a key or value is wrong; the message names file, key and what is allowed.
    """
    return Cluster() if path is None else load_schema(Cluster, path)
