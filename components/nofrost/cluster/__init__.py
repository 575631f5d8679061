"""Jobs on Kubernetes: training jobs that a task of the pipeline starts beside its own pod."""

from nofrost.cluster.job_settings import JobSettings, TrainingJobSettings, load_job_settings
from nofrost.cluster.job_spec import JobSpec, Owner, Training
from nofrost.cluster.kubernetes_facts import TRAINING_JOBS, TrainingJob, pod_namespace
from nofrost.cluster.pytorchjob import as_pytorchjob
from nofrost.cluster.run_jobs import LABEL, delete_run_jobs
from nofrost.cluster.training_runtime import runtime_name, training_runtime
from nofrost.cluster.trainjob import as_trainjob

__all__ = [
    "LABEL",
    "TRAINING_JOBS",
    "JobSettings",
    "JobSpec",
    "Owner",
    "Training",
    "TrainingJob",
    "TrainingJobSettings",
    "as_pytorchjob",
    "as_trainjob",
    "delete_run_jobs",
    "load_job_settings",
    "pod_namespace",
    "runtime_name",
    "training_runtime",
]
