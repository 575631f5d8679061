"""Tasks around training jobs on the cluster: one that launches a job, and one that deletes what is left of them.

They are no part of `nofrost.tasks`, as they need urllib3, which comes with the extras `store` and `pipeline`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.connection import connection
from nofrost.cluster.discovery import check_runtime, choose_kind
from nofrost.cluster.job.identity import RUN_ID
from nofrost.cluster.job.kinds import TRAINJOB, BackendChoice
from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import load_job_settings
from nofrost.cluster.job.spec import JobSpec, Owner, Training
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.cluster.launcher.follower import TaskError
from nofrost.cluster.launcher.launch import launch
from nofrost.cluster.launcher.state import time_of
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.reap import ReapedJob, reap
from nofrost.config import Recipe, parse_part
from nofrost.errors import UserError
from nofrost.store import Store, open_store
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import launch_label, train_label
from nofrost.tasks.run_record import read_record
from nofrost.tasks.stages import train
from nofrost.tasks.task_errors import errors_of
from nofrost.tasks.task_exit import exit_on_error

# An API server that has just started refuses everything until it has read its rules.
_DENIED_S = 30.0


@exit_on_error(launch_label)
def launch_training(
    training: Training, gpus: int, nodes: int, image: str, settings: str, backend: BackendChoice | None = None
) -> str:
    """Train one run in a job on the cluster. Called again, it follows the job that is there.

    Args:
        gpus: of each node.
        nodes: number of pods of the job.
        image: of the job, by digest.
        settings: :class:`JobSettings` as JSON.
        backend: the kind of job; None for that of the settings. With "none" this process trains.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/train``.
    """
    job_settings = load_job_settings(from_ascii(settings))
    wanted = backend or job_settings.backend
    if wanted == "none":
        return train(training, gpus, nodes)
    # Wrong input needs no job to be found out.
    parse_part(Recipe, from_ascii(training.recipe), f"recipes.{training.recipe_id}")
    opened, api = open_store(training.store, patient=True), KubernetesApi(connection(), denied_s=_DENIED_S)
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    spec = JobSpec(
        training=training,
        image=image,
        gpus=gpus,
        nodes=nodes,
        settings=job_settings,
        namespace=api.namespace,
        run=os.environ.get(RUN_ID, ""),
        owner=Owner(name, uid) if name and uid else None,
    )
    kind = choose_kind(api, wanted)
    if kind is TRAINJOB:
        job = as_trainjob(spec)
        check_runtime(api, job_settings)
    else:
        job = as_pytorchjob(spec)
    # The pods of the job record their errors as those of the task `train`, which they run.
    label = train_label(training.recipe_id, training.seed)
    return launch(
        job,
        kind,
        nodes,
        api=api,
        store=opened,
        limits=Limits(deadline_s=job_settings.deadline_s, queue_timeout_s=job_settings.queue_timeout_s),
        recorded=lambda run, since: _recorded_error(run, label, since, opened),
    )


def reap_jobs(store: str, *, least_age_s: float, pretend: bool) -> Iterator[ReapedJob]:
    """Delete the training jobs in this pod's namespace that no one needs and whose logs are stored; yield each.

    Args:
        store: where runs have their records and jobs their logs.
        least_age_s: seconds since the end of the launcher of a job whose run has no record.
        pretend: whether to leave them as they are.
    """
    opened = open_store(store, patient=True)
    api = KubernetesApi(connection())

    def ended(run: str) -> datetime | None:
        record = read_record(run, opened)
        return time_of(record.ended) if record else None

    yield from reap(api, opened, ended, least_age_s=least_age_s, pretend=pretend)


def _recorded_error(run: str, task: str, since: datetime, store: Store) -> TaskError | None:
    """Return the error that a task of a run has recorded since a time."""
    # A store that does not answer hides no failure.
    with suppress(UserError):
        errors = [error for error in errors_of(run, store, since) if error.task == task] if run else []
        if errors:
            return TaskError(errors[0].exit_code, errors[0].message, errors[0].input_is_wrong)
    return None
