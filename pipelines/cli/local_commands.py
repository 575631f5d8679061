"""Commands that need no cluster: compile the graph of a study, draw it, run it on this machine."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import (
    PATH,
    check_configuration_apart,
    emit,
    set_option,
    stage_options,
    store_option,
    study_option,
)
from nofrost.errors import UserError, remark
from pipelines.cli.shared_options import (
    AUGMENT_SHARDS,
    CACHE,
    CLUSTER,
    DATA,
    DATA_REF,
    GPUS,
    NODES,
    SHARDS,
    load_checked_study,
)

if TYPE_CHECKING:
    from nofrost.cluster.job.spec import DataAccess


@click.command("compile")
@study_option
@set_option
@click.option("--out", type=PATH, default=Path("nofrost.yaml"), show_default=True, help="File to write.")
@GPUS
@NODES
@SHARDS
@AUGMENT_SHARDS
@DATA
@CLUSTER
@CACHE
def compile_(
    study_name: str | None,
    overrides: tuple[str, ...],
    out: Path,
    gpus: int,
    nodes: int,
    shards: int,
    augment_shards: int,
    data: DataAccess,
    cluster: Path | None,
    cache: bool,
) -> None:
    """Write the pipeline of a study as YAML for Kubeflow's web page and clients. The same input gives the same bytes.

    Images, store and source data are parameters of the pipeline. Example:
    python -m pipelines compile --study digits --shards 4 --gpus 1 --out digits.yaml
    """
    study = load_checked_study(study_name, overrides)
    check_configuration_apart(out, study_name, str(cluster) if cluster else None)
    from pipelines.cluster_settings import load_cluster
    from pipelines.graph import make_pipeline
    from pipelines.graph_settings import GraphSettings
    from pipelines.package import Documents, canonical, write_package
    from pipelines.study_plan import StudyPlan, plan_study
    from pipelines.workflow_size import check_size

    settings = GraphSettings(load_cluster(cluster), shards, gpus, nodes, data, cache, augment_shards)

    # The size is that of the package that is written.
    @functools.cache
    def compiled(plan: StudyPlan) -> Documents:
        return canonical(make_pipeline(plan, settings))

    plan = plan_study(study, gpus, nodes)
    write_package(out, compiled(plan))
    try:
        check_size(plan, compiled, {}, shards=shards)
    except UserError as error:
        # The administrator may have allowed more than Argo does by default.
        remark(str(error))
    click.echo(f"{out}: written")


@click.command("graph")
@stage_options
@click.option("--out", type=PATH, help="File to draw, FILE.svg or FILE.mmd. Default: Mermaid on standard output.")
@GPUS
@NODES
@SHARDS
@AUGMENT_SHARDS
@CLUSTER
def graph_(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    gpus: int,
    nodes: int,
    shards: int,
    augment_shards: int,
    cluster: Path | None,
) -> None:
    """Draw the graph of a study as a cluster would run it, and print how large its workflow becomes.

    Example: python -m pipelines graph --study digits --shards 4 --out graph.svg
    """
    study = load_checked_study(study_name, overrides)
    from pipelines.cluster_settings import load_cluster
    from pipelines.drawing import as_mermaid, drawing_of
    from pipelines.drawing_file import draw
    from pipelines.graph import make_pipeline
    from pipelines.graph_settings import GraphSettings
    from pipelines.package import canonical
    from pipelines.study_plan import plan_study
    from pipelines.workflow_size import estimate_size

    settings = GraphSettings(load_cluster(cluster), shards, gpus, nodes, augment_shards=augment_shards)
    spec, platform = canonical(make_pipeline(plan_study(study, gpus, nodes), settings))
    size = estimate_size(spec, platform, {})
    if out is None:
        mermaid = as_mermaid(drawing_of(spec))
        emit({**asdict(size), "mermaid": mermaid}, f"%% {size}\n{mermaid}".rstrip("\n"), as_json)
    else:
        check_configuration_apart(out, study_name, str(cluster) if cluster else None)
        draw(spec, out)
        emit({**asdict(size), "out": str(out)}, f"{out}: written\n{size}", as_json)


@click.command("run")
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
@NODES
@SHARDS
@AUGMENT_SHARDS
@DATA
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

    With --nodes 2 a training is two groups of processes, each with its own folders, as on two machines.

    Example: python -m pipelines run --study params.yaml --runner docker --store s3://bucket/prefix
    """
    from nofrost.store import default_store
    from pipelines.local_run import run

    result = run(
        load_checked_study(study_name, overrides),
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
