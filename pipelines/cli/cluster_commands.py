"""Commands for a cluster: submit a study to Kubeflow, and look for what that needs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import FiniteFloatRange, aligned, emit, json_option, not_empty, stage_options, store_option
from pipelines.cli.shared_options import (
    AUGMENT_SHARDS,
    CA_CERT,
    CACHE,
    CLUSTER,
    DATA,
    DATA_REF,
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
    from nofrost.cluster.job.spec import DataAccess


@click.command("submit")
@stage_options
@STAGE_IMAGE
@TRAIN_IMAGE
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@EXPERIMENT
@click.option("--run-name", callback=not_empty, help="Name of the run. Default: the study's name.")
@SERVICE_ACCOUNT
@PIPELINE_ROOT
@click.option("--wait", "wait_for", is_flag=True, help="Wait for the run, and exit with 1 if it fails.")
@click.option("--timeout", type=FiniteFloatRange(min=0), help="Seconds to wait with --wait. Default: forever.")
@click.option(
    "--split",
    metavar="[N]",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=0,
    help="With --wait: a study with more than N runs (recipes with a seed each) becomes several runs of the pipeline, "
    "one after the other, and a last one that reports on all. Default for N: as many as fit into one.",
)
@click.option(
    "--resubmit",
    metavar="N",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="With --wait: start a run that failed again, up to N times; it continues from what was finished and saved.",
)
@store_option
@DATA_REF
@GPUS
@NODES
@SHARDS
@AUGMENT_SHARDS
@DATA
@CLUSTER
@CACHE
def submit_(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    store_url: str | None,
    stage_image: str,
    train_image: str,
    data_ref: str | None,
    gpus: int,
    nodes: int,
    shards: int,
    augment_shards: int,
    data: DataAccess,
    cluster: Path | None,
    cache: bool,
    **options: Any,
) -> None:
    """Start a run of a study on Kubeflow, after uploading the pipeline if this version is not there yet.

    Give images by their digest: a tag can move, and Kubeflow's cache would return old results for new code.
    Source data of the study are pushed to the store first, unless --data-ref is given.

    \b
    Example: python -m pipelines submit --host http://localhost:8080 --store s3://bucket/nofrost --wait
             --stage-image registry/nofrost-stage@sha256:... --train-image registry/nofrost-train@sha256:...
    """
    from nofrost.store import default_store
    from pipelines.submit import SubmitRequest, submit_study

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
    run = submit_study(request, **options)
    emit(asdict(run), f"run {run.run_id}: {run.url}", as_json)


@click.command("doctor")
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@SERVICE_ACCOUNT
@click.option("--stage-image", metavar="IMAGE@sha256:...", help="Image of the stages, to look for in its registry.")
@click.option("--train-image", metavar="IMAGE@sha256:...", help="Image of the training, to look for in its registry.")
@click.option(
    "--installation",
    is_flag=True,
    help="Also look for what the manifests in k8s/ install: limits, network policy, reaper, monitoring.",
)
@store_option
@GPUS
@NODES
@CLUSTER
@json_option
def doctor_(
    host: str | None,
    namespace: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    store_url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Look for what a submission needs, with a line each: ok, missing, or unknown where it cannot be seen from here.

    What is missing in Kubernetes follows as YAML. Nothing is started. The exit code is 1 if something is missing.
    """
    from nofrost.store import default_store
    from pipelines.doctor import Subject, examine
    from pipelines.submit import Endpoint

    endpoint = Endpoint(host, namespace, token_file, ca_cert)
    findings = list(examine(Subject(endpoint, store_url or default_store(), **options)))
    rows = [(finding.state, finding.check, finding.detail) for finding in findings]
    manifests = [f"---\n{finding.manifest.rstrip()}" for finding in findings if finding.manifest]
    emit(findings, "\n".join([aligned(rows), *manifests]), as_json)
    if any(finding.state == "missing" for finding in findings):
        sys.exit(1)
