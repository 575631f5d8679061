"""The graph: the stages of dvc.yaml as a Kubeflow pipeline.

Tasks exchange text: configuration, and outputs by content (``data/dataset@<md5>.dir:...``). No task takes an artifact,
so Kubeflow's cache compares exactly refs, configuration and image: it is content-addressed. Artifacts are for people:
the report and its numbers. (No `from __future__ import annotations` here: Kubeflow evaluates the annotations of
pipelines.)
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
        caching: reuse the output of a task that ran with the same refs, configuration and image before.
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
        finish = placed(components.finish(run=run, store=store), None, stage_image, cluster=cluster, caching=False)
        with dsl.ExitHandler(finish, name="study"):
            plan = stage(components.plan(study=study, gpus=gpus, nodes=nodes), None, stage_image).outputs
            items = stage(components.plan_runs(study=study), None, stage_image).output
            shard_names = stage(components.plan_shards(shards=shards), None, stage_image).output
            prepared = components.prepare(spec=plan["dataset"], source=data_ref, store=store)
            dataset = stage(prepared, "prepare", stage_image).output
            augmented = components.augment(spec=plan["augmentation"], dataset=dataset, store=store)
            augmentation = stage(augmented, "augment", stage_image).output
            run_outputs = every_run(
                items=items,
                dataset=dataset,
                augmentation=augmentation,
                adversarial=plan["adversarial"],
                ood=plan["ood"],
                shards=shard_names,
                store=store,
                stage_image=stage_image,
                train_image=train_image,
                gpus=gpus,
                on_gpu=plan["on_gpu"],
            ).outputs
            outputs = {"dataset": dataset, "augmentation": augmentation, **run_outputs}
            rendered = components.report(study=study, **outputs, store=store)
            report = stage(rendered, "report", stage_image).outputs["Output"]
            candidate = components.write_candidate(
                study=study, source=data_ref, **outputs, report=report, run=run, image=stage_image, store=store
            )
            placed(candidate, None, stage_image, cluster=cluster, caching=False)

    return nofrost


# Loops are in pipelines of their own, which get all inputs as parameters: in a loop, kfp.local replaces every input
# that comes from a task outside the loop by the item of the loop.


class RunOutputs(NamedTuple):
    """The outputs of all runs, by stage."""

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
    ) -> RunOutputs:
        with dsl.ParallelFor(items, name="recipe-and-seed", parallelism=cluster.parallel_runs or None) as item:
            device = {"store": store, "gpus": gpus, "on_gpu": on_gpu}
            config = {"recipe": item.recipe, "recipe_id": item.recipe_id, "seed": item.seed}
            data = {"dataset": dataset, "augmentation": augmentation}
            trained = train(**config, **data, **device, image=train_image)
            inputs = {"dataset": dataset, "checkpoint": trained.output, "shards": shards, "image": stage_image}
            attacked = attack(suite=adversarial, **inputs, **device)
            corrupted = corrupt(suite=ood, **inputs, **device)
        return RunOutputs(*(dsl.Collected(task.output) for task in (trained, attacked, corrupted)))

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
        inputs = {**config, "dataset": dataset, "augmentation": augmentation, "store": store, "gpus": gpus}
        return _on_gpu_or_cpu(lambda: stage(components.train(**inputs), "train", image), gpus, on_gpu, cluster)

    return train


def _evaluate(kind: str, cluster: Cluster, stage: Placed) -> BaseComponent:
    """Return the pipeline that evaluates one model with the suite of this kind: all shards, then their merge.

    Merging evaluates a few images again, so it runs on the same device as the shards.
    """

    @dsl.pipeline(name="shard")
    def one_shard(
        shard: str, suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        inputs = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store, "gpus": gpus}
        evaluated = partial(components.evaluate_shard, shard=shard, **inputs)
        return _on_gpu_or_cpu(lambda: stage(evaluated(), "evaluate", image), gpus, on_gpu, cluster)

    @dsl.pipeline(name="merge")
    def merge(
        shards: list[str], suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        inputs = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store, "gpus": gpus}
        merged = partial(components.evaluate, shards=shards, **inputs)
        return _on_gpu_or_cpu(lambda: stage(merged(), "evaluate", image), gpus, on_gpu, cluster)

    @dsl.pipeline(name=f"evaluate-{kind}")
    def evaluate(
        shards: list[str], suite: str, dataset: str, checkpoint: str, store: str, image: str, gpus: int, on_gpu: bool
    ) -> str:
        inputs = {"suite": suite, "dataset": dataset, "checkpoint": checkpoint, "store": store}
        device = {"image": image, "gpus": gpus, "on_gpu": on_gpu}
        with dsl.ParallelFor(shards, name="shards") as shard:
            shard_output = one_shard(shard=shard, **inputs, **device)
        output: str = merge(shards=dsl.Collected(shard_output.output), **inputs, **device).output
        return output

    return evaluate


def _on_gpu_or_cpu(make: Callable[[], PipelineTask], gpus: int, wanted: bool, cluster: Cluster) -> str:
    """Make a task for GPU nodes and one for any node, of which one runs, and return the output of that one.

    The task must take `gpus` as an input: Kubeflow's compiler does not pass a parameter into a branch that uses it only
    as the limit of the accelerator.
    """
    with dsl.If(wanted == True, name="on-gpu"):  # noqa: E712  (a condition that Kubeflow evaluates)
        gpu_task = on_gpu(make(), gpus, cluster)
    with dsl.Else(name="on-cpu"):
        cpu_task = make()
    output: str = dsl.OneOf(*(next(iter(task.outputs.values())) for task in (gpu_task, cpu_task)))
    return output
