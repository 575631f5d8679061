"""The kinds of training jobs, as the API of Kubernetes names them."""

from typing import Literal, NamedTuple

# Names of the kinds in settings, and what else may stand there: the kind that the cluster knows, or no job at all.
JobBackend = Literal["pytorchjob", "trainjob"]
BackendChoice = Literal["auto", JobBackend, "none"]

# API group of Kueue, which keeps queues of jobs.
KUEUE = "kueue.x-k8s.io"
# In the JobSet of a TrainJob: of the replicated job whose pods train, and of their container.
NODE = "node"


class JobKind(NamedTuple):
    """A kind of job that trains on several nodes, as the API of Kubernetes names it.

    Attributes:
        succeeded: type of the condition of a job that has.
        pod_label: whose value is the name of the job that a pod belongs to.
        container: name of the container that trains.
    """

    kind: str
    group: str
    version: str
    plural: str
    succeeded: str
    pod_label: str
    container: str

    @property
    def api_version(self) -> str:
        """Group and version, as an object names them."""
        return f"{self.group}/{self.version}"

    def path(self, namespace: str) -> str:
        """Return the path of its jobs in a namespace."""
        return f"/apis/{self.api_version}/namespaces/{namespace}/{self.plural}"

    def selector(self, name: str) -> str:
        """Return the selector of the pods of a job by their label."""
        return f"{self.pod_label}={name}"


# Of Kubeflow's training operator, which gives no container but the one of this name the addresses of the others.
PYTORCHJOB = JobKind(
    "PyTorchJob", "kubeflow.org", "v1", "pytorchjobs", "Succeeded", "training.kubeflow.org/job-name", "pytorch"
)
# Of Kubeflow Trainer.
TRAINJOB = JobKind(
    "TrainJob",
    "trainer.kubeflow.org",
    "v1alpha1",
    "trainjobs",
    "Complete",
    "jobset.sigs.k8s.io/jobset-name",
    NODE,
)
# Kubeflow's trainer replaces its training operator: a cluster has one or the other.
JOB_KINDS = (PYTORCHJOB, TRAINJOB)
