"""Jobs on Kubernetes: training jobs that a task of the pipeline starts beside its own pod."""

from nofrost.cluster.run_jobs import LABEL, delete_run_jobs

__all__ = ["LABEL", "delete_run_jobs"]
