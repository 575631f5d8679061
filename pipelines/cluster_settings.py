"""Settings of a cluster, read from a YAML file: what all pods share, and resources, retries and limits of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nofrost.cluster.kubernetes_values import Int32, Wait
from nofrost.cluster.pod_settings import PodSettings, Resources
from nofrost.config import load_schema
from nofrost.config.base import Schema

Stage = Literal["prepare", "augment", "train", "evaluate", "report"]


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
        resources: by stage; ``evaluate`` is for both evaluations.
        deadline_s: seconds after which the whole run is stopped; null for no limit.
        kept_s: seconds that Kubernetes keeps the objects of a finished run; null as Kubeflow is set up.
    """

    resources: dict[Stage, Resources] = Field(default={})
    retries: Retries = Retries()
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
