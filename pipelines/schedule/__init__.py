"""Schedules: runs of a study again and again, by a recurring run of Kubeflow or a CronJob of Kubernetes."""
