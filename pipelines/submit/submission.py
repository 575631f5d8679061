"""Submitting a study: compile the pipeline, push the study's source data, start a run, and wait for it."""

import math
import os
import re
import socket
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nofrost.cluster.job.spec import DataAccess
from nofrost.config import Study
from nofrost.errors import UserError, printable, remark
from nofrost.store import Lease, Store, open_store
from nofrost.store.releases import resolve_ref
from nofrost.tasks.run_lease import RunGoesOnError, give_to_run, take_run_lease
from pipelines.cluster_settings import load_cluster
from pipelines.graph_settings import GraphSettings
from pipelines.package import push_source
from pipelines.schedule.definition import PREFIX, can_name_a_schedule
from pipelines.study_plan import StudyPlan, plan_study
from pipelines.submit.api import Api
from pipelines.submit.compiled import CompiledPipeline
from pipelines.submit.completion import check_deadline, complete
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.packages import Packages
from pipelines.submit.parts import plan_parts, run_parts
from pipelines.submit.start import StartedRun, start_run
from pipelines.submit.texts import check_texts
from pipelines.submit.versions import check_version, release
from pipelines.submit.waiting import has_ended

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class SubmitRequest:
    """A study to run on Kubeflow, and the parameters of the pipeline.

    Attributes:
        store: URL of the store on S3.
        stage_image, train_image: by digest.
        data_ref: ref of the source data; None pushes the data at the study's ``dataset.path``.
        cluster: YAML file that describes the cluster; None for the default.
        data: where a training reads shards of images, as :class:`GraphSettings` has it.
        caching: reuse outputs of tasks that ran before.
        augment_shards: of the augmentation.
    """

    study: Study
    store: str
    stage_image: str
    train_image: str
    data_ref: str | None = None
    gpus: int = 0
    nodes: int = 1
    shards: int = 1
    data: DataAccess = "local"
    cluster: Path | None = None
    caching: bool = True
    augment_shards: int = 1

    def __post_init__(self) -> None:
        for option, image in (("--stage-image", self.stage_image), ("--train-image", self.train_image)):
            if not DIGEST.fullmatch(image):
                raise UserError(
                    f"{option} {printable(image)} has no digest: give IMAGE@sha256:..., as `docker push` prints it (a "
                    "tag can move, and the cache would return old results for new code)"
                )
        if not self.store.startswith("s3://"):
            raise UserError(f"store {self.store} is a folder of this machine, which pods cannot see: give one on S3")


def submit_study(
    request: SubmitRequest,
    *,
    host: str | None,
    namespace: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    experiment: str,
    run_name: str | None,
    service_account: str | None,
    pipeline_root: str | None,
    wait_for: bool,
    timeout: float | None,
    resubmit: int = 0,
    split: int | None = None,
) -> StartedRun:
    """Start a run; with `wait_for`, return when it has succeeded.

    Args:
        timeout: of all waiting together, in seconds; None to wait forever.
        resubmit: how often a run that failed is started again.
        split: most runs of the study in one run of the pipeline, where a larger study becomes several, one after
            the other; 0 for as many as fit, None to refuse a study that does not fit into one.

    Returns:
        The run that was started; of several the last one, which reports on all.

    Raises:
        UserError: the request or an option is wrong, the study is too large, the server is too old, or the store or the
            API cannot be reached.
        RunFailedError: the run did not succeed.
    """
    if timeout is not None and not math.isfinite(timeout):
        raise UserError(f"--timeout {timeout} is not a number of seconds: leave it out to wait forever")
    if timeout is not None and not wait_for:
        raise UserError("--timeout limits the waiting, which --wait asks for: add --wait")
    for option, given in (("--resubmit", resubmit), ("--split", split is not None)):
        if given and not wait_for:
            raise UserError(f"{option} acts when a run has ended, which only --wait sees: add --wait")
    run_name = run_name or request.study.name
    options: dict[str, Any] = {
        "experiment": experiment,
        "service_account": service_account,
        "pipeline_root": pipeline_root,
    }
    check_texts(
        {
            "--store": request.store,
            "--stage-image": request.stage_image,
            "--train-image": request.train_image,
            # The names of parts are longer.
            "--run-name": run_name if split is None else f"{run_name}, part 999 of 999",
            **{f"--{name.replace('_', '-')}": text for name, text in options.items()},
        }
    )
    cluster = load_cluster(request.cluster)
    settings = GraphSettings(
        cluster, request.shards, request.gpus, request.nodes, request.data, request.caching, request.augment_shards
    )
    plan = plan_study(request.study, request.gpus, request.nodes)
    api = Api(Endpoint(host, namespace, token_file, ca_cert))
    store = open_store(request.store)
    images = {"stage_image": request.stage_image, "train_image": request.train_image}
    arguments = {"store": store.url, **images, "data_ref": request.data_ref or "", "schedule": ""}
    with tempfile.TemporaryDirectory() as folder:
        packages = Packages(Path(folder), settings)
        parts = plan_parts(plan, split, packages, arguments, release(api.health.version))
        first = packages.write(packages.compile_study(plan) if len(parts) == 1 else packages.compile_part(parts[0]))
        check_version(api.health.version, first.needs, api.address)
        arguments["data_ref"] = push_source(request.study, request.data_ref, store)
        if len(parts) > 1 and arguments["data_ref"]:
            # All parts have the same data.
            arguments["data_ref"] = str(resolve_ref(arguments["data_ref"], store))

        def start(package: CompiledPipeline, name: str = run_name) -> StartedRun:
            lease = _lease_of(run_name, store, api)
            run = start_run(package, arguments, api, run_name=name, **options)
            if lease:
                give_to_run(lease, run.run_id, scheduled=False)
            return run

        if not wait_for:
            return start(first)
        deadline = None if timeout is None else time.monotonic() + timeout

        def complete_run(package: CompiledPipeline, name: str = run_name, *, patient: bool = False) -> StartedRun:
            starting = partial(start, package, name)
            return complete(starting, api, store, resubmit=resubmit, deadline=deadline, patient=patient)

        def complete_part(part: StudyPlan, suffix: str) -> StartedRun:
            if part is not parts[0]:
                check_deadline(deadline, f"{run_name}{suffix}")
            package = packages.write(packages.compile_part(part))
            return complete_run(package, f"{run_name}{suffix}", patient=part is not parts[0])

        if len(parts) == 1:
            return complete_run(first)
        outputs = run_parts(parts, complete_part, store)
        check_deadline(deadline, f"{run_name}, the report on all parts,")
        return complete_run(packages.write(packages.compile_report(plan, outputs)), patient=True)


def _lease_of(name: str, store: Store, api: Api) -> Lease | None:
    """Return the lease of the runs of a name, by which a schedule of that name starts none beside this one.

    There is none where no schedule can have that name, where another run that was submitted has it, as before there
    were schedules, and where the store cannot be reached from here.

    Raises:
        RunGoesOnError: a run that a schedule started goes on.
    """
    if not can_name_a_schedule(name):
        return None
    try:
        _check_recurring_runs(name, api)
        return take_run_lease(store, name, f"{socket.gethostname()}, process {os.getpid()}", scheduled=False)
    except RunGoesOnError as error:
        if error.scheduled:
            raise
    except UserError as error:
        remark(f"whether a schedule has started a run of the name {name} is not known: {error}")
    return None


def _check_recurring_runs(name: str, api: Api) -> None:
    """Check that no run goes on which Kubeflow has started for the schedule of a name: it knows no lease.

    Raises:
        RunGoesOnError: one does.
        UserError: the API refuses to say.
    """
    ids = {each.recurring_run_id for each in api.recurring_runs() if each.display_name == f"{PREFIX}{name}"}
    for run in api.newest_runs() if ids else ():
        if run.recurring_run_id in ids and not has_ended(run):
            raise RunGoesOnError(
                f"{name} has a scheduled run {run.run_id}: wait for its end, or give another name with --run-name",
                run.run_id,
                scheduled=True,
            )
