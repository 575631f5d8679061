"""The kinds of objects that the double of the API server knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
NAMESPACE = "research"


@dataclass(frozen=True)
class Resource:
    """A kind of objects, in one namespace.

    Attributes:
        fields: that a field selector may name, beside metadata.name and metadata.namespace.
        has_status: what is in `status` of a request is dropped.
        has_crd: its objects are checked against the definition in ../shared/crds.
    """

    group: str
    version: str
    plural: str
    kind: str
    fields: tuple[str, ...] = ()
    has_status: bool = True
    has_crd: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """Path of the collection."""
        root = "/apis" if self.group else "/api"
        return f"{root}/{self.api_version}/namespaces/{NAMESPACE}/{self.plural}"

    @property
    def full_name(self) -> str:
        """Name of the resource in messages, such as pytorchjobs.kubeflow.org."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def full_kind(self) -> str:
        """Name of the kind in messages, such as PyTorchJob.kubeflow.org."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
PODS = Resource("", "v1", "pods", "Pod", ("spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"))
EVENTS = Resource(
    "", "v1", "events", "Event", (*(f"involvedObject.{name}" for name in _INVOLVED), "reason", "type", "source"), False
)
PYTORCHJOBS = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob", has_crd=True)
TRAINJOBS = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob", has_crd=True)
RUNTIMES = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime", has_status=False)
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")
# The group of the training operator has other kinds as well, such as notebooks.
NOTEBOOKS = Resource("kubeflow.org", "v1", "notebooks", "Notebook")
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob")
RESOURCES = (PODS, EVENTS, PYTORCHJOBS, TRAINJOBS, RUNTIMES, WORKLOADS, NOTEBOOKS, CRONJOBS)
