"""The command line `python -m pipelines COMMAND ...`; commands import what is slow to load when called."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli import CommandGroup, main
from nofrost.cli.options import (
    PATH,
    aligned,
    check_configuration_apart,
    emit,
    json_option,
    set_option,
    stage_options,
    store_option,
    study_option,
)
from nofrost.errors import UserError, remark

if TYPE_CHECKING:
    from nofrost.config import Study

# More than 64 of a single run would outgrow what Argo can store of a workflow.
SHARDS = click.option(
    "--shards", type=click.IntRange(1, 64), default=1, show_default=True, help="Parts of every evaluation."
)
GPUS = click.option("--gpus", type=click.IntRange(0, 1), default=0, show_default=True, help="GPUs for each training.")
NODES = click.option(
    "--nodes", type=click.IntRange(1, 1), default=1, show_default=True, help="Machines for each training."
)
DATA_REF = click.option(
    "--data-ref",
    metavar="REF",
    help="Source data by content. Default: the data at the study's dataset.path, which are pushed.",
)
CLUSTER = click.option("--cluster", type=PATH, help="YAML file with resources, placement and credentials.")
HOST = click.option(
    "--host", metavar="URL", help="The KFP API. Default: KF_PIPELINES_ENDPOINT, else the current cluster."
)
NAMESPACE = click.option("--namespace", help="Namespace of the user, where one installation serves several.")
TOKEN_FILE = click.option("--token-file", type=PATH, help="File with a bearer token, read again for every request.")
CA_CERT = click.option("--ca-cert", type=PATH, help="PEM file of the authority that signed the host's certificate.")
SERVICE_ACCOUNT = click.option(
    "--service-account", help="Service account of the pods, such as one that may use the bucket (IRSA)."
)
CACHE = click.option("--cache/--no-cache", default=True, help="Reuse outputs of tasks that ran before.")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def pipelines() -> None:
    """Compile the pipeline, run it on this machine or on Kubeflow, and look for what that needs."""
    if importlib.util.find_spec("kfp") is None:
        raise UserError("kfp is not installed here: install it with `pip install --editable '.[pipeline,docker]'`")


@pipelines.command("compile")
@study_option
@set_option
@click.option("--out", type=PATH, default=Path("nofrost.yaml"), show_default=True, help="File to write.")
@GPUS
@NODES
@SHARDS
@CLUSTER
@CACHE
def compile_(
    study_name: str | None,
    overrides: tuple[str, ...],
    out: Path,
    gpus: int,
    nodes: int,
    shards: int,
    cluster: Path | None,
    cache: bool,
) -> None:
    """Write the pipeline of a study as YAML for Kubeflow's web page and clients. The same input gives the same bytes.

    Images, store and source data are parameters of the pipeline. Example:
    python -m pipelines compile --study digits --shards 4 --gpus 1 --out digits.yaml
    """
    study = _load_study(study_name, overrides)
    check_configuration_apart(out, study_name, str(cluster) if cluster else None)
    from pipelines.cluster import load_cluster
    from pipelines.graph import make_pipeline
    from pipelines.package import write_package
    from pipelines.plan import plan_study
    from pipelines.size import check_size

    plan, settings = plan_study(study, gpus, nodes), load_cluster(cluster)
    make = partial(make_pipeline, cluster=settings, shards=shards, gpus=gpus, nodes=nodes, caching=cache)
    write_package(out, make(plan))
    try:
        check_size(plan, make, {}, shards=shards)
    except UserError as error:
        # The administrator may have allowed more than Argo does by default.
        remark(str(error))
    click.echo(f"{out}: written")


@pipelines.command("graph")
@stage_options
@click.option("--out", type=PATH, help="File to draw, FILE.svg or FILE.mmd. Default: Mermaid on standard output.")
@GPUS
@NODES
@SHARDS
@CLUSTER
def graph_(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    gpus: int,
    nodes: int,
    shards: int,
    cluster: Path | None,
) -> None:
    """Draw the graph of a study as a cluster would run it, and print how large its workflow becomes.

    Example: python -m pipelines graph --study digits --shards 4 --out graph.svg
    """
    study = _load_study(study_name, overrides)
    from pipelines.cluster import load_cluster
    from pipelines.drawing import as_mermaid, draw, drawing_of
    from pipelines.graph import make_pipeline
    from pipelines.package import canonical
    from pipelines.plan import plan_study
    from pipelines.size import estimate_size

    pipeline = make_pipeline(
        plan_study(study, gpus, nodes), load_cluster(cluster), shards=shards, gpus=gpus, nodes=nodes
    )
    spec, platform = canonical(pipeline)
    size = estimate_size(spec, platform, {})
    if out is None:
        mermaid = as_mermaid(drawing_of(spec))
        emit({**asdict(size), "mermaid": mermaid}, f"%% {size}\n{mermaid}".rstrip("\n"), as_json)
    else:
        check_configuration_apart(out, study_name, str(cluster) if cluster else None)
        draw(spec, out)
        emit({**asdict(size), "out": str(out)}, f"{out}: written\n{size}", as_json)


@pipelines.command("run")
@stage_options
@click.option("--runner", type=click.Choice(["process", "docker"]), default="process", show_default=True)
@click.option("--stage-image", default="nofrost-stage:latest", show_default=True, help="Image for --runner docker.")
@click.option("--train-image", default="nofrost-train:latest", show_default=True, help="Image for --runner docker.")
@click.option(
    "--out", type=PATH, default=Path(".kfp"), show_default=True, help="Folder for logs, artifacts, cache and report."
)
@store_option
@DATA_REF
@GPUS
@SHARDS
@CACHE
def run_(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    store_url: str | None,
    stage_image: str,
    train_image: str,
    out: Path,
    cache: bool,
    **options: Any,
) -> None:
    """Run the graph on this machine: the tasks as processes, or in the containers that the cluster would run.

    Example: python -m pipelines run --study params.yaml --runner docker --store s3://bucket/prefix
    """
    from nofrost.store import default_store
    from pipelines.local_run import run

    result = run(
        _load_study(study_name, overrides),
        store=store_url or default_store(),
        folder=out,
        images=(stage_image, train_image),
        caching=cache,
        quiet=as_json,
        **options,
    )
    report = result.report / "report.html"
    hint = f"`nofrost promote show {result.run}` shows what `nofrost promote` would change"
    text = f"run {result.run}: {hint}\nthe report: file://{report}"
    emit({"run": result.run, "report": str(report)}, text, as_json)


@pipelines.command("submit")
@stage_options
@click.option("--stage-image", required=True, metavar="IMAGE@sha256:...", help="Image of the stages, by its digest.")
@click.option("--train-image", required=True, metavar="IMAGE@sha256:...", help="Image of the training, by its digest.")
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@click.option(
    "--experiment", default="nofrost", show_default=True, help="Experiment of the run; created if it does not exist."
)
@click.option("--run-name", help="Name of the run. Default: the study's name.")
@SERVICE_ACCOUNT
@click.option("--pipeline-root", metavar="URL", help="Where Kubeflow keeps artifacts. Default: as it is set up.")
@click.option("--wait", "wait_for", is_flag=True, help="Wait for the run, and exit with 1 if it fails.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait with --wait. Default: for ever.")
@click.option(
    "--split",
    metavar="[N]",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=0,
    help="With --wait: a study with more than N recipes and seeds becomes several runs, one after the other, and a "
    "last one that reports on all. Default for N: as many as one run can have.",
)
@click.option(
    "--resubmit",
    metavar="N",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="With --wait: start a run that failed again, up to N times; it goes on from what was finished and saved.",
)
@store_option
@DATA_REF
@GPUS
@NODES
@SHARDS
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
        study=_load_study(study_name, overrides),
        store=store_url or default_store(),
        stage_image=stage_image,
        train_image=train_image,
        data_ref=data_ref,
        gpus=gpus,
        nodes=nodes,
        shards=shards,
        cluster=cluster,
        caching=cache,
    )
    run = submit_study(request, **options)
    emit(asdict(run), f"run {run.run_id}: {run.url}", as_json)


@pipelines.command("doctor")
@HOST
@NAMESPACE
@TOKEN_FILE
@CA_CERT
@SERVICE_ACCOUNT
@click.option("--stage-image", metavar="IMAGE@sha256:...", help="Image of the stages, to look for in its registry.")
@click.option("--train-image", metavar="IMAGE@sha256:...", help="Image of the training, to look for in its registry.")
@store_option
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

    Nothing is started. The exit code is 1 if something is missing.
    """
    from nofrost.store import default_store
    from pipelines.doctor import Subject, examine
    from pipelines.submit import Endpoint

    endpoint = Endpoint(host, namespace, token_file, ca_cert)
    findings = list(examine(Subject(endpoint, store_url or default_store(), **options)))
    rows = [(finding.state, finding.check, finding.detail) for finding in findings]
    emit(findings, aligned(rows), as_json)
    if any(finding.state == "missing" for finding in findings):
        sys.exit(1)


def _load_study(name: str | None, overrides: tuple[str, ...]) -> Study:
    """Return a study (by default the active one) after checking its recipes, suites and dataset."""
    from nofrost.config import load_study
    from nofrost.tasks import check_study

    origin = name or "params.yaml"
    return check_study(load_study(origin, overrides), origin, overrides)


if __name__ == "__main__":
    main(pipelines)
