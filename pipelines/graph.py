"""The graph: the stages of dvc.yaml as a Kubeflow pipeline.

What travels between tasks is text: configuration, and outputs by content (``data/dataset@<md5>.dir:...``). No task
takes an artifact, so what Kubeflow's cache compares is exactly refs, configuration and image: it is content-addressed.
Artifacts are for people: the report and its numbers. (No `from __future__ import annotations` here: Kubeflow reads the
annotations of pipelines as types.)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from pipelines import components
from pipelines.cluster import Cluster
from pipelines.placement import on_gpu, placed

NAME = "nofrost"
Placed = Callable[..., PipelineTask]


def make_pipeline(cluster: Cluster, *, caching: bool = True) -> BaseComponent:
    """Return the pipeline for a cluster.

    Args:
        cluster: resources, placement and credentials of the tasks.
        caching: let a task that ran with the same refs, configuration and image before give its output again.
    """
    stage = partial(placed, cluster=cluster, caching=caching)
    every_run = _runs(cluster, stage)

    @dsl.pipeline(
        name=NAME,
        description="Prepare, augment, train every recipe and seed of a study, attack and corrupt, report.",
        pipeline_config=dsl.PipelineConfig(
            ttl_seconds_after_finished=cluster.kept_s, active_deadline_seconds=cluster.deadline_s
        ),
    )
    def nofrost(
        store: str,
        stage_image: str,
        train_image: str,
        study: str = "digits",
        data_ref: str = "",
        gpus: int = 0,
        nodes: int = 1,
        shards: int = 2,
    ) -> None:
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        ending = placed(components.finish(run=run, store=store), None, stage_image, cluster=cluster, caching=False)
        with dsl.ExitHandler(ending, name="study"):
            parts = stage(components.plan(study=study, gpus=gpus, nodes=nodes), None, stage_image).outputs
            items = stage(components.plan_runs(study=study), None, stage_image).output
            pieces = stage(components.plan_shards(shards=shards), None, stage_image).output
            prepared = components.prepare(spec=parts["dataset"], source=data_ref, store=store)
            dataset = stage(prepared, "prepare", stage_image).output
            augmented = components.augment(spec=parts["augmentation"], dataset=dataset, store=store)
            augmentation = stage(augmented, "augment", stage_image).output
            made = every_run(
                items=items,
                dataset=dataset,
                augmentation=augmentation,
                adversarial=parts["adversarial"],
                ood=parts["ood"],
                shards=pieces,
                store=store,
                stage_image=stage_image,
                train_image=train_image,
                gpus=gpus,
                on_gpu=parts["on_gpu"],
            ).outputs
            outputs = {"dataset": dataset, "augmentation": augmentation, **made}
            page = components.report(study=study, **outputs, store=store)
            report = stage(page, "report", stage_image).outputs["Output"]
            candidate = components.write_candidate(
                study=study, source=data_ref, **outputs, report=report, run=run, image=stage_image, store=store
            )
            placed(candidate, None, stage_image, cluster=cluster, caching=False)

    return nofrost


# Loops stand in pipelines of their own, which get all they need as parameters: kfp.local puts the loop's item in the
# place of whatever a loop is given by another task beside it.


class Made(NamedTuple):
    """All outputs of all runs, stage by stage."""

    trained: list[str]
    adversarial: list[str]
    ood: list[str]


def _runs(cluster: Cluster, stage: Placed) -> BaseComponent:
    train = _train(cluster, stage)
    attack = _evaluate("adversarial", cluster, stage)
    corrupt = _evaluate("ood", cluster, stage)

    @dsl.pipeline(name="runs")
    def runs(
        items: list[dict[str, str]],
        dataset: str,
        augmentation: str,
        adversarial: str,
        ood: str,
        shards: list[str],
        store: str,
        stage_image: str,
        train_image: str,
        gpus: int,
        on_gpu: bool,
    ) -> Made:
        with dsl.ParallelFor(items, name="recipe-and-seed", parallelism=cluster.parallel_runs or None) as item:
            where = {"store": store, "gpus": gpus, "on_gpu": on_gpu}
            config = {"recipe": item.recipe, "recipe_id": item.recipe_id, "seed": item.seed}
            data = {"dataset": dataset, "augmentation": augmentation}
            trained = train(**config, **data, **where, image=train_image)
            given = {"dataset": dataset, "checkpoint": trained.output, "shards": shards, **where, "image": stage_image}
            attacked = attack(suite=adversarial, **given)
            corrupted = corrupt(suite=ood, **given)
        return Made(dsl.Collected(trained.output), dsl.Collected(attacked.output), dsl.Collected(corrupted.output))

    return runs


def _train(cluster: Cluster, stage: Placed) -> BaseComponent:
    @dsl.pipeline(name="train")
    def train(
        recipe: str,
        recipe_id: str,
        seed: str,
        dataset: str,
        augmentation: str,
        store: str,
        image: str,
        gpus: int,
        on_gpu: bool,
    ) -> str:
        config = {"recipe": recipe, "recipe_id": recipe_id, "seed": seed}
        given = {**config, "dataset": dataset, "augmentation": augmentation, "store": store, "gpus": gpus}
        return _somewhere(lambda: stage(components.train(**given), "train", image), gpus, on_gpu, cluster)

    return train


def _evaluate(kind: str, cluster: Cluster, stage: Placed) -> BaseComponent:
    """Return the pipeline that evaluates one model with the suite of this kind: shard by shard, then merged.

    Merging looks at a few images again, so that it runs where the shards ran.
    """

    @dsl.pipeline(name="shard")
    def one_shard(
        shard: str, suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        given = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store, "gpus": gpus}
        evaluated = partial(components.evaluate_shard, shard=shard, **given)
        return _somewhere(lambda: stage(evaluated(), "evaluate", image), gpus, on_gpu, cluster)

    @dsl.pipeline(name="merge")
    def merge(
        shards: list[str], suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        given = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store, "gpus": gpus}
        merged = partial(components.evaluate, shards=shards, **given)
        return _somewhere(lambda: stage(merged(), "evaluate", image), gpus, on_gpu, cluster)

    @dsl.pipeline(name=f"evaluate-{kind}")
    def evaluate(
        shards: list[str], suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        given = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store}
        where = {"image": image, "gpus": gpus, "on_gpu": on_gpu}
        with dsl.ParallelFor(shards, name="shards") as shard:
            part = one_shard(shard=shard, **given, **where)
        output: str = merge(shards=dsl.Collected(part.output), **given, **where).output
        return output

    return evaluate


def _somewhere(make: Callable[[], PipelineTask], gpus: int, wanted: bool, cluster: Cluster) -> str:
    """Make the task twice, on GPU nodes and on any node, of which one runs; return the output of the one that ran.

    The task must itself take `gpus`: Kubeflow's compiler does not bring a parameter that is nothing but a limit of the
    accelerator into the branch.
    """
    with dsl.If(wanted == True, name="on-gpu"):  # noqa: E712  (a condition that Kubeflow evaluates)
        quick = on_gpu(make(), gpus, cluster)
    with dsl.Else(name="on-cpu"):
        slow = make()
    either: str = dsl.OneOf(*(next(iter(task.outputs.values())) for task in (quick, slow)))
    return either
