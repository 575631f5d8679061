"""Jobs on Kubernetes: training jobs that a task of the pipeline starts beside its own pod."""
