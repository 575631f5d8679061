"""The kinds of training jobs, as the API of Kubernetes names them."""

from typing import Literal, NamedTuple

# Names of the kinds in settings, and what else may stand there: the kind that the cluster knows, or no job at all.
JobBackend = Literal["pytorchjob", "trainjob"]
BackendChoice = Literal["auto", JobBackend, "none"]


class JobKind(NamedTuple):
    """A kind of job that trains on several nodes, as the API of Kubernetes names it.

    Attributes:
        succeeded: type of the condition of a job that has.
        pod_label: whose value is the name of the job that a pod belongs to.
    """

    kind: str
    group: str
    version: str
    plural: str
    succeeded: str
    pod_label: str

    def path(self, namespace: str) -> str:
        """Return the path of its jobs in a namespace."""
        return f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}"


# Of Kubeflow's training operator, and of its trainer, which replaces that: a cluster has one or the other.
JOB_KINDS = (
    JobKind("PyTorchJob", "kubeflow.org", "v1", "pytorchjobs", "Succeeded", "training.kubeflow.org/job-name"),
    JobKind("TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", "Complete", "jobset.sigs.k8s.io/jobset-name"),
)
