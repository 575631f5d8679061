"""Jobs on Kubernetes: training jobs that a task of the pipeline starts beside its own pod."""

from nofrost.cluster.job.kinds import JOB_KINDS, JobKind, pod_namespace
from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import JobSettings, TrainingJobSettings, load_job_settings
from nofrost.cluster.job.spec import JobSpec, Owner, Training
from nofrost.cluster.job.training_runtime import runtime_name, training_runtime
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.cluster.run_jobs import LABEL, delete_run_jobs

__all__ = [
    "JOB_KINDS",
    "LABEL",
    "JobKind",
    "JobSettings",
    "JobSpec",
    "Owner",
    "Training",
    "TrainingJobSettings",
    "as_pytorchjob",
    "as_trainjob",
    "delete_run_jobs",
    "load_job_settings",
    "pod_namespace",
    "runtime_name",
    "training_runtime",
]
