"""Make the schedule of a study: check it, upload the pipeline, and bring about what starts its runs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from nofrost.errors import ReportedError, UserError, remark
from nofrost.prepare import resolve_source
from nofrost.store import Ref, Store, open_store
from nofrost.store.releases import LATEST, resolve_ref
from nofrost.tasks.schedule_facts import push_schedule_facts
from pipelines.cluster_settings import Cluster, load_cluster
from pipelines.doctor.cluster_access import pods_account
from pipelines.graph_settings import GraphSettings
from pipelines.schedule.cron import Cron
from pipelines.schedule.cronjob import CronJobs
from pipelines.schedule.definition import RunSettings, Schedule, check_name
from pipelines.schedule.reconcile import Triggers, reconcile
from pipelines.schedule.recurring import RecurringRuns
from pipelines.schedule.zone import Form, choose_form, irregularities, is_utc, load_zone
from pipelines.study_plan import plan_study
from pipelines.submit import Api, Endpoint
from pipelines.submit.compiled import CompiledPipeline
from pipelines.submit.packages import Packages
from pipelines.submit.start import Uploaded, upload
from pipelines.submit.submission import SubmitRequest
from pipelines.submit.texts import check_texts
from pipelines.submit.versions import check_version, release
from pipelines.workflow_size import estimate_size

NEXT_RUNS = 5
# Of the service in front of Kubeflow's API, as its manifests name it.
CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"


@dataclass(frozen=True)
class When:
    """The times of a schedule.

    Attributes:
        name: of the schedule.
        form: what starts its runs.
        why: it is that.
    """

    name: str
    cron: Cron
    zone: str
    form: Form
    why: str

    def next_runs(self, now: datetime) -> list[datetime]:
        """Return the next times, by the clock of the zone."""
        return list(islice(self.cron.times(load_zone(self.zone), now), NEXT_RUNS))

    def irregularities(self, now: datetime) -> list[str]:
        """Return a sentence for each change of the clock that leaves out or repeats runs."""
        return irregularities(self.cron, load_zone(self.zone), now)


def read_times(name: str, cron: str, zone: str, form: Form | None) -> When:
    """Return the times of a schedule.

    Args:
        form: None for the one that fits the zone.

    Raises:
        UserError: one of them is wrong, or the form cannot follow the zone.
    """
    found = load_zone(zone)
    chosen, why = choose_form(found)
    if form == "recurring-run" and not is_utc(found):
        why = f"a recurring run of Kubeflow follows UTC, and not the clock of {zone}"
        raise UserError(f"{why}: leave out --form, for a CronJob of Kubernetes, or give --time-zone UTC")
    if form is not None:
        chosen, why = form, "as --form says" if form != chosen else why
    return When(check_name(name), Cron.parse(cron), zone, chosen, why)


def schedule_study(
    request: SubmitRequest,
    when: When,
    *,
    endpoint: Endpoint,
    experiment: str,
    service_account: str | None,
    pipeline_root: str | None,
    cluster_host: str,
    dry_run: bool,
) -> list[str]:
    """Bring about the schedule of a study, and return what was changed, a line each: none where nothing is otherwise.

    Args:
        request: the study and the parameters of its runs; `data_ref` None for ``latest:STUDY`` where it reads files.
        cluster_host: address of Kubeflow's API for pods.
        dry_run: upload and change nothing, and return what would be changed.

    Raises:
        UserError: the request is wrong, the study is too large for one run of the pipeline, the server is too old or
            would run it in another way, or the store or an API refuses.
    """
    check_texts(
        {
            "--store": request.store,
            "--stage-image": request.stage_image,
            "--train-image": request.train_image,
            "--experiment": experiment,
            "--service-account": service_account,
            "--pipeline-root": pipeline_root,
        }
    )
    cluster = load_cluster(request.cluster)
    settings = GraphSettings(
        cluster, request.shards, request.gpus, request.nodes, request.data, request.caching, request.augment_shards
    )
    plan = plan_study(request.study, request.gpus, request.nodes)
    store = open_store(request.store)
    parameters = {
        "store": store.url,
        "stage_image": request.stage_image,
        "train_image": request.train_image,
        "data_ref": checked_data_ref(request, store),
        "schedule": when.name,
    }
    api = Api(endpoint)
    with tempfile.TemporaryDirectory() as folder:
        packages = Packages(Path(folder), settings)
        documents = packages.compile_study(plan)
        version = api.health.version
        if max(estimate_size(*documents, parameters, release(version)).shares(release(version)).values()) > 1:
            raise UserError(
                f"{len(plan.runs)} runs of the study at --shards {request.shards} do not fit into one run of the "
                "pipeline, which is what a schedule starts: use fewer shards or seeds"
            )
        compiled = packages.write(documents)
        check_version(version, compiled.needs, api.address)
        # Before anything is uploaded.
        triggers, others = _triggers(when, request, cluster, api, service_account, cluster_host)
        # A CronJob takes the lease before it starts a run, and Kubeflow starts one without any question.
        parameters["schedule"] = when.name if triggers.kind == RecurringRuns.kind else ""
        given = {name: parameters[name] for name in compiled.parameters}
        uploaded = _look_up(compiled, experiment, api) if dry_run else upload(compiled, api, experiment)
        ids = uploaded.pipeline_id, uploaded.version_id, uploaded.experiment_id
        run = RunSettings(*ids, given, service_account, pipeline_root)
        study = request.study.name
        schedule = Schedule(when.name, study, when.cron, load_zone(when.zone), run)
        changes = reconcile(schedule, triggers, others, store, dry_run=dry_run)
    if not dry_run:
        push_schedule_facts(study, when.name, when.cron.text, when.zone, submitted=False)
    return changes


def checked_data_ref(request: SubmitRequest, store: Store) -> str:
    """Return the data of each run: ``latest:NAME``, a ref, or nothing where the study reads no files.

    Raises:
        UserError: it is none of these, or there are no data of that name.
    """
    text = request.data_ref
    if text is None:
        if not resolve_source(request.study.dataset, request.study.name, ("dataset",)).needs_path:
            return ""
        text = f"{LATEST}{request.study.name}"
    if not text.startswith(LATEST):
        return str(Ref.parse(text))
    resolve_ref(text, store)
    return text


def all_triggers(endpoint: Endpoint) -> tuple[Api, list[Triggers]]:
    """Return all that may start runs of schedules, and the API of Kubeflow that one of them uses."""
    api = Api(endpoint)
    api.connect()
    return api, [RecurringRuns(api), *_cron_jobs(pods_account(api.namespace, None)[0])]


def _cron_jobs(namespace: str) -> list[Triggers]:
    """Return the CronJobs of a namespace; nothing where they cannot be seen, and then say so."""
    try:
        jobs = CronJobs(namespace)
    except UserError:
        # There is no cluster that this machine knows of.
        return []
    try:
        jobs.find()
    except ReportedError as error:
        remark(f"CronJobs of schedules in namespace {namespace} cannot be seen from here, and are left alone: {error}")
        return []
    return [jobs]


def _triggers(
    when: When, request: SubmitRequest, cluster: Cluster, api: Api, service_account: str | None, cluster_host: str
) -> tuple[Triggers, Sequence[Triggers]]:
    """Return what is to start the runs, and what must not beside it.

    Raises:
        UserError: it would start them in another way than asked for, or cannot be reached.
    """
    recurring = RecurringRuns(api)
    place, account = pods_account(api.namespace, service_account)
    if when.form == "cronjob":
        return CronJobs(place, account, request.stage_image, cluster, cluster_host), [recurring]
    recurring.check(service_account)
    return recurring, _cron_jobs(place)


def _look_up(compiled: CompiledPipeline, experiment: str, api: Api) -> Uploaded:
    """Return the ids of what is there; of what is not, what it is to be."""
    pipeline_id = api.find_pipeline(compiled.name)
    version_id = api.find_version(pipeline_id, compiled.version) if pipeline_id else None
    return Uploaded(
        pipeline_id or f"{compiled.name}, to be created",
        version_id or f"{compiled.version}, to be uploaded",
        api.find_experiment(experiment) or f"{experiment}, to be created",
        version_id is None,
    )
