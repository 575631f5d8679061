"""`nofrost task train|launch|log|reap|runtime|start-run`: what containers of the pipeline and of training jobs run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

import click

from nofrost.cli.options import PATH, FiniteFloatRange, data_option, emit, json_option
from nofrost.cluster.job.kinds import BackendChoice
from nofrost.errors import UserError, printable, remark

F = TypeVar("F", bound=Callable[..., Any])

# The first eight are the fields of `nofrost.cluster.job.spec.Training`.
_TRAINING_OPTIONS = (
    click.option("--recipe", required=True, help="The recipe as JSON."),
    click.option("--recipe-id", required=True, help="Name of the recipe."),
    click.option("--seed", required=True, help="Seed of everything random."),
    click.option("--dataset", required=True, metavar="PATH@REF", help="The dataset."),
    click.option("--augmentation", required=True, metavar="PATH@REF", help="The augmentation sets."),
    click.option("--store", required=True, metavar="URL", help="Store of the refs."),
    data_option,
    click.option(
        "--start",
        default="",
        metavar="PATH@REF",
        help="The output of a training that has done the first phases of the recipe with this seed. Default: none.",
    ),
    click.option(
        "--gpus",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="GPUs that each machine must have; several share every batch.",
    ),
    click.option(
        "--nodes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Machines that share every batch, on each of which a job runs `nofrost task train`; PET_* say which is "
        "which.",
    ),
    click.option("--output-file", type=PATH, help="File to write the output's PATH@REF to. Default: none."),
)


def training_options(command: F) -> F:
    """Add the options of the commands that train one run."""
    for option in reversed(_TRAINING_OPTIONS):
        command = option(command)
    return command


@click.group()
def task() -> None:
    """Run a task of the pipeline, as its containers do.

    A task pulls its inputs by ref, runs a stage and pushes the output. To run a stage on local folders, use `nofrost
    train` and the like.
    """


@task.command("train")
@training_options
def task_train(gpus: int, nodes: int, output_file: Path | None, **training: Any) -> None:
    """Train one run and push its output.

    When it is stopped and the same command is run again, here or elsewhere, it continues from the last save in the
    store. On several nodes, the first one writes the file.
    """
    from nofrost import tasks
    from nofrost.cluster.job.spec import Training
    from nofrost.tasks.task_exit import failure_code

    with failure_code():
        _write(output_file, tasks.train(Training(**training), gpus, nodes))


@task.command("launch")
@training_options
@click.option("--image", required=True, metavar="IMAGE@DIGEST", help="Image of the job.")
@click.option(
    "--settings",
    default="{}",
    metavar="JSON",
    help="Settings of the job: those of the section training_job of a cluster's file, and of all pods.",
)
@click.option(
    "--backend",
    type=click.Choice(get_args(BackendChoice)),
    help="Kind of job; auto asks the cluster, none trains in this pod. Default: that of the settings.",
)
def task_launch(
    gpus: int,
    nodes: int,
    output_file: Path | None,
    image: str,
    settings: str,
    backend: BackendChoice | None,
    **training: Any,
) -> None:
    """Train one run in a job on the cluster.

    Creates a PyTorchJob or a TrainJob, or follows the one of the same content; shows where it stands and the log of
    rank 0, keeps that in the store, and ends as the job ended: 0, 2 for wrong input, else 1. When it is stopped, the
    job is deleted. Needs a pod whose service account may do that, or a kubeconfig.
    """
    from nofrost.cluster.job.spec import Training

    launch = _job_tasks().launch_training
    _write(output_file, launch(Training(**training), gpus, nodes, image, settings, backend))


@task.command("log")
@click.argument("job")
@click.option("--store", required=True, metavar="URL", help="Store of the job.")
def task_log(job: str, store: str) -> None:
    """Print the log of rank 0 of a training JOB from the store, also when its pods are gone.

    The store has what a launcher has read up to half a minute ago. The log of the task `launch` names the job.
    """
    from nofrost.cluster.outcome.stored_log import read_log
    from nofrost.store import open_store

    is_empty = True
    for line in read_log(job, open_store(store)):
        is_empty = False
        click.echo(printable(line))
    if is_empty:
        raise UserError(f"{store} has no log of a job {job}: compare the name with that in the log of the launcher")


@task.command("reap")
@click.option("--store", required=True, metavar="URL", help="Store of the runs and of the jobs' logs.")
@click.option(
    "--older-than",
    "hours",
    type=FiniteFloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Time since the end of its launcher after which a job is deleted, though its run has no record of its end.",
)
@click.option("--dry-run", is_flag=True, help="Only print which would be deleted.")
@json_option
def task_reap(store: str, hours: float, dry_run: bool, as_json: bool) -> None:
    """Delete the training jobs that no one needs in the namespace of this pod or kubeconfig, their logs stored first.

    Those are jobs whose run is over, and those whose launcher has been gone for long. One whose log cannot be stored
    stays. Only jobs of nofrost are looked at.
    """
    jobs = []
    for job in _job_tasks().reap_jobs(store, least_age_s=hours * 3600, pretend=dry_run):
        done = f"not deleted ({job.problem})" if job.problem else "would be deleted" if dry_run else "deleted"
        jobs.append({"kind": job.kind, "name": job.name, "reason": job.reason, "problem": job.problem})
        if not as_json:
            click.echo(printable(f"{job.kind} {job.name}: {done}: {job.reason}"))
    emit(jobs, "", as_json)
    if not jobs:
        remark("no job is left over")


@task.command("runtime")
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


@task.command("start-run")
@click.option("--request", required=True, metavar="JSON", help="The run, as Kubeflow's API takes it.")
@click.option("--schedule", required=True, help="Name of the schedule.")
@click.option("--study", required=True, help="Name of the study, for metrics, as the next two are.")
@click.option("--cron", required=True, help="Its five fields.")
@click.option("--time-zone", required=True, help="The zone of its clock.")
@json_option
def task_start_run(request: str, study: str, schedule: str, cron: str, time_zone: str, as_json: bool) -> None:
    """Start the run of a schedule, as its CronJob does.

    `python -m pipelines schedule` makes the CronJob. No second run is started for the same time, and none while the
    last one goes on.
    """
    try:
        from nofrost.tasks.schedule_facts import push_schedule_facts
        from nofrost.tasks.scheduled_run import start_scheduled_run
    except ImportError as error:
        raise UserError(f"asking Kubeflow needs more ({error}): run pip install 'nofrost[pipeline]'") from None
    outcome = start_scheduled_run(schedule, request)
    push_schedule_facts(study, schedule, cron, time_zone, submitted=outcome.started)
    run = f"run {outcome.run_id}" if outcome.run_id else "another run"
    text = run if outcome.started else f"{run} goes on: no other one is started"
    emit(outcome._asdict(), text, as_json)


def _write(output_file: Path | None, output: str) -> None:
    from nofrost.files import write_text

    if output_file is not None and output:
        write_text(output_file, output)


def _job_tasks() -> ModuleType:
    """Return the module of the tasks, which needs what not every installation has."""
    try:
        from nofrost.tasks import job_tasks
    except ImportError as error:
        raise UserError(f"jobs on a cluster need more ({error}): run pip install 'nofrost[store]'") from None
    return job_tasks
