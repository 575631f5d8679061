"""`nofrost task launch|reap`: training jobs on the cluster, followed to their ends, or deleted."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import click

from nofrost.cli.options import emit, json_option, training_options


@click.command("launch")
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
    type=click.Choice(["auto", "pytorchjob", "trainjob", "none"]),
    help="Kind of job; auto asks the cluster, none trains in this pod. Default: that of the settings.",
)
def task_launch(store_url: str, output_file: Path, **options: Any) -> None:
    """Train one run in a job on the cluster, and write its output (PATH@REF) to a file.

    Creates a PyTorchJob or a TrainJob, or follows the one of the same content; shows where it stands and the log of
    rank 0, keeps that in the store, and ends as the job ended: 0, 2 for wrong input, else 1. When it is stopped, the
    job is deleted. Needs a pod whose service account may do that, or a kubeconfig.
    """
    from nofrost.files import write_text

    write_text(output_file, _job_tasks().launch_training(store=store_url, **options))


@click.command("reap")
@click.option("--store", "store_url", required=True, metavar="URL", help="Store of the runs and of the jobs' logs.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Time since the end of its launcher after which a job is deleted, though its run has no record of its end.",
)
@click.option("--dry-run", is_flag=True, help="Only print which would be deleted.")
@json_option
def task_reap(store_url: str, hours: float, dry_run: bool, as_json: bool) -> None:
    """Delete the training jobs that nobody needs in the namespace of this pod or kubeconfig, their logs stored first.

    Those are jobs whose run is over, and those whose launcher has been gone for long. One whose log cannot be stored
    stays. Only jobs of nofrost are looked at.
    """
    from nofrost.errors import printable, remark

    jobs = []
    for job in _job_tasks().reap_jobs(store_url, least_age_s=hours * 3600, pretend=dry_run):
        done = f"not deleted ({job.problem})" if job.problem else "would be deleted" if dry_run else "deleted"
        jobs.append({"kind": job.kind, "name": job.name, "reason": job.reason, "problem": job.problem})
        if not as_json:
            click.echo(printable(f"{job.kind} {job.name}: {done}: {job.reason}"))
    emit(jobs, "", as_json)
    if not jobs:
        remark("no job is left over")


def _job_tasks() -> ModuleType:
    """Return the module of the tasks, which needs what not every installation has."""
    from nofrost.errors import UserError

    try:
        from nofrost.tasks import job_tasks
    except ImportError as error:
        raise UserError(f"jobs on a cluster need more ({error}): run pip install 'nofrost[store]'") from None
    return job_tasks
