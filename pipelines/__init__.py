"""How the stages are wired on Kubeflow; `python -m pipelines --help` lists the commands."""
