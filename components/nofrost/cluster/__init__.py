"""Jobs on Kubernetes: training jobs that a task of the pipeline starts beside its own pod."""

from nofrost.cluster.kubernetes_facts import TRAINING_JOBS, TrainingJob, pod_namespace
from nofrost.cluster.run_jobs import LABEL, delete_run_jobs

__all__ = ["LABEL", "TRAINING_JOBS", "TrainingJob", "delete_run_jobs", "pod_namespace"]
