"""`nofrost task runtime`: the TrainingRuntime that TrainJobs of nofrost need, as YAML for `kubectl apply`."""

import click


@click.command("runtime")
@click.option(
    "--settings",
    default="{}",
    metavar="JSON",
    help="Settings of training jobs, as `nofrost task launch` takes them; only restarts, gang, priority_class, "
    "image_pull_policy and runtime matter here.",
)
def task_runtime(settings: str) -> None:
    """Print the TrainingRuntime for TrainJobs, to be applied once in each namespace where they run.

    Its name depends on the settings, and a job looks for the one of its own settings.

    Example: nofrost task runtime --settings '{"restarts": 1}' | kubectl apply --namespace research -f -
    """
    from nofrost.cluster.job.settings import load_job_settings
    from nofrost.cluster.job.training_runtime import training_runtime
    from nofrost.config import as_yaml

    click.echo(as_yaml(training_runtime(load_job_settings(settings))), nl=False)
