"""Commands for schedules: make one, show where they stand, delete one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import emit, json_option, not_empty, stage_options, store_option
from nofrost.errors import remark
from pipelines.cli.shared_options import (
    AUGMENT_SHARDS,
    CA_CERT,
    CACHE,
    CLUSTER,
    DATA,
    EXPERIMENT,
    GPUS,
    HOST,
    NAMESPACE,
    NODES,
    PIPELINE_ROOT,
    SERVICE_ACCOUNT,
    SHARDS,
    STAGE_IMAGE,
    TOKEN_FILE,
    TRAIN_IMAGE,
    load_checked_study,
)

if TYPE_CHECKING:
    from datetime import datetime

    from nofrost.cluster.job.spec import DataAccess
    from pipelines.schedule.zone import Form


@click.command("schedule")
@click.argument("name")
@click.option("--cron", required=True, metavar="CRON", help="Five fields, such as '0 3 * * 1': Mondays at 03:00.")
@click.option("--time-zone", default="UTC", show_default=True, metavar="ZONE", help="Such as Europe/Berlin.")
@click.option(
    "--form",
    type=click.Choice(["recurring-run", "cronjob"]),
    help="What starts the runs. Default: a recurring run of Kubeflow for UTC, a CronJob of Kubernetes for other zones.",
)
@stage_options
@STAGE_IMAGE
@TRAIN_IMAGE
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@EXPERIMENT
@SERVICE_ACCOUNT
@PIPELINE_ROOT
@store_option
@click.option(
    "--data-ref",
    metavar="latest:NAME|REF",
    callback=not_empty,
    help="Data of each run: the newest that `nofrost data release NAME` gave, or always the same. Default: "
    "latest:STUDY, where the study reads files.",
)
@GPUS
@NODES
@SHARDS
@AUGMENT_SHARDS
@DATA
@CLUSTER
@CACHE
@click.option(
    "--cluster-host",
    metavar="URL",
    callback=not_empty,
    help="The KFP API as pods reach it, for a CronJob. Default: that of Kubeflow's own manifests.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be changed.")
def schedule_(
    name: str,
    cron: str,
    time_zone: str,
    form: Form | None,
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    stage_image: str,
    train_image: str,
    host: str | None,
    namespace: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    store_url: str | None,
    data_ref: str | None,
    gpus: int,
    nodes: int,
    shards: int,
    augment_shards: int,
    data: DataAccess,
    cluster: Path | None,
    cache: bool,
    cluster_host: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Let a study run again and again, as the schedule NAME.

    The same command again changes nothing, and with other options what differs. One run at a time; of the times that
    were missed while the cluster was down, the last one is made up for.

    \b
    Example: python -m pipelines schedule weekly --cron '0 3 * * 1' --time-zone Europe/Berlin --study study.yaml
             --store s3://bucket/nofrost --data-ref latest:photos
             --stage-image registry/nofrost-stage@sha256:... --train-image registry/nofrost-train@sha256:...
    """
    from nofrost.store import default_store
    from pipelines.schedule.status import clock_time
    from pipelines.schedule.study_schedule import CLUSTER_HOST, read_times, schedule_study
    from pipelines.submit import Endpoint, SubmitRequest

    when = read_times(name, cron, time_zone, form)
    present = _now()
    for sentence in when.irregularities(present):
        remark(sentence)
    request = SubmitRequest(
        study=load_checked_study(study_name, overrides),
        store=store_url or default_store(),
        stage_image=stage_image,
        train_image=train_image,
        data_ref=data_ref,
        gpus=gpus,
        nodes=nodes,
        shards=shards,
        data=data,
        augment_shards=augment_shards,
        cluster=cluster,
        caching=cache,
    )
    changes = schedule_study(
        request,
        when,
        endpoint=Endpoint(host, namespace, token_file, ca_cert),
        cluster_host=cluster_host or CLUSTER_HOST,
        dry_run=dry_run,
        **options,
    )
    runs = when.next_runs(present)
    kind = {"recurring-run": "recurring run of Kubeflow", "cronjob": "CronJob of Kubernetes"}[when.form]
    lines = [f"schedule {name}: a {kind}, as {when.why}"]
    lines += [f"  next run: {clock_time(run)}" for run in runs]
    lines += [f"  {'would change' if dry_run else 'changed'}: {line}" for line in changes] or ["  nothing to change"]
    value: dict[str, Any] = {"schedule": name, "form": when.form, "why": when.why}
    value |= {"cron": when.cron.text, "time_zone": when.zone, "next_runs": [run.isoformat() for run in runs]}
    value |= {"changes": changes, "dry_run": dry_run}
    emit(value, "\n".join(lines), as_json)


@click.command("status")
@click.argument("name", required=False)
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@json_option
def status_(name: str | None, as_json: bool, **options: Any) -> None:
    """Show where the schedule NAME stands, or all: its next run, how the last one went, and what was edited by hand."""
    from pipelines.schedule.status import statuses
    from pipelines.schedule.study_schedule import all_triggers
    from pipelines.submit import Endpoint

    found = statuses(name, *all_triggers(Endpoint(**options)), _now())
    emit(found, "\n".join(each.text() for each in found), as_json)
    if not found:
        remark("there are no schedules")


@click.command("unschedule")
@click.argument("name")
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@store_option
@json_option
def unschedule_(name: str, store_url: str | None, as_json: bool, **options: Any) -> None:
    """Delete the schedule NAME. Runs that it has started go on."""
    from nofrost.cli.options import open_store
    from pipelines.schedule.definition import check_name
    from pipelines.schedule.reconcile import remove
    from pipelines.schedule.study_schedule import all_triggers
    from pipelines.submit import Endpoint

    check_name(name)
    _, triggers = all_triggers(Endpoint(**options))
    lines = remove(name, triggers, open_store(store_url))
    emit(lines, "\n".join(lines), as_json)


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)
