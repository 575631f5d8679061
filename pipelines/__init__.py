"""How the stages are wired on Kubeflow: `python -m pipelines compile|run|submit`."""
