"""The graph: the stages of dvc.yaml as a Kubeflow pipeline, with all runs of a study written out.

Tasks exchange text: configuration, and outputs by content (``data/dataset@<md5>.dir:...``). No task takes an artifact,
so Kubeflow's cache compares exactly refs, configuration and image: it is content-addressed. Artifacts are for people:
the report and its numbers.

What is newest is found when a run begins: a schedule starts a fixed package with fixed arguments. The first task,
which is never taken from the cache, resolves the source data and the champion; the champion is evaluated anew on the
dataset of the run, which the cache serves as long as data, suites and champion are the same.

There is no loop, condition or collection: the KFP server handles each of them wrongly somewhere, such as a
condition whose task was in the cache. (No `from __future__ import annotations` here: Kubeflow evaluates the
annotations of pipelines.)
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from nofrost.tasks.ascii_text import to_ascii
from pipelines import components
from pipelines.graph_settings import GraphSettings, shard_names
from pipelines.placement import placed
from pipelines.study_plan import StudyPlan

# Of all pipelines: Kubeflow's cache serves a task only within pipelines of one name.
NAME = "nofrost"


class ChampionOutputs(NamedTuple):
    """The outputs of the evaluations of the champion."""

    adversarial: str
    ood: str


class RunOutputs(NamedTuple):
    """The outputs of a run by stage; ``outputs.json`` lists them under these names."""

    trained: str
    adversarial: str
    ood: str


def make_pipeline(plan: StudyPlan, settings: GraphSettings) -> BaseComponent:
    """Return the pipeline of a study.

    Its parameters are `store`, `stage_image`, `train_image`, `data_ref`: the ref of the source data, or
    ``latest:NAME`` for its newest release, and `schedule`: the name whose lease the run takes, if Kubeflow starts it by
    a schedule of its own.
    """
    graph = _Graph(plan, settings)
    one_run, champion = graph.run_pipeline(), graph.champion_pipeline()

    @graph.pipeline("Prepare, augment, train every recipe and seed of a study, attack and corrupt, report.")
    def nofrost(store: str, stage_image: str, train_image: str, data_ref: str = "", schedule: str = "") -> None:
        with graph.finish_at_the_end(store, stage_image):
            newest = graph.resolve(store, stage_image, data_ref, schedule)
            outputs = graph.outputs(one_run, store, stage_image, train_image, newest["source"])
            graph.report(champion, outputs, store, stage_image, newest)

    return nofrost


def make_part_pipeline(plan: StudyPlan, settings: GraphSettings) -> BaseComponent:
    """Return the pipeline of a part of a study's runs, which lists its outputs in ``nofrost/runs/RUN/outputs.json``.

    Its parameters are `store`, `stage_image`, `train_image` and `data_ref`, a ref: all parts have the same data.

    Args:
        plan: of the study with these runs alone.
    """
    graph = _Graph(plan, settings)
    one_run = graph.run_pipeline()

    @graph.pipeline("Prepare, augment, train some recipes and seeds of a study, attack and corrupt.")
    def nofrost(store: str, stage_image: str, train_image: str, data_ref: str = "") -> None:
        with graph.finish_at_the_end(store, stage_image):
            outputs = graph.outputs(one_run, store, stage_image, train_image, data_ref)
            recorded = components.record_outputs(**outputs, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, store=store)
            graph.place(recorded, None, stage_image, caching=False)

    return nofrost


def make_report_pipeline(plan: StudyPlan, outputs: Mapping[str, Any], settings: GraphSettings) -> BaseComponent:
    """Return the pipeline that reports on a study whose runs were made in parts, and writes its candidate.

    Its parameters are `store`, `stage_image` and `data_ref`, which is that of the parts.

    Args:
        plan: of the whole study.
        outputs: of all parts together, with the keys of ``outputs.json``: texts for `dataset`, `test_sets` and
            `augmentation`, lists for `trained`, `adversarial` and `ood`.
    """
    graph = _Graph(plan, settings)
    champion = graph.champion_pipeline()

    @graph.pipeline("Report on a study whose recipes and seeds were trained and evaluated before.")
    def nofrost(store: str, stage_image: str, data_ref: str = "") -> None:
        with graph.finish_at_the_end(store, stage_image):
            graph.report(champion, outputs, store, stage_image, graph.resolve(store, stage_image, data_ref))

    return nofrost


@dataclass(frozen=True)
class _Graph:
    """What the parts of a graph are made with. The values that its methods take are parameters of the pipeline."""

    plan: StudyPlan
    settings: GraphSettings

    def pipeline(self, description: str) -> Callable[..., BaseComponent]:
        cluster = self.settings.cluster
        config = dsl.PipelineConfig(
            ttl_seconds_after_finished=cluster.kept_s, active_deadline_seconds=cluster.deadline_s
        )
        decorator: Callable[..., BaseComponent] = dsl.pipeline(
            name=NAME, description=description, pipeline_config=config
        )
        return decorator

    def place(
        self, task: PipelineTask, stage: Any, image: str, *, gpus: int = 0, caching: bool | None = None
    ) -> PipelineTask:
        caching = self.settings.caching if caching is None else caching
        return placed(task, stage, image, cluster=self.settings.cluster, caching=caching, gpus=gpus)

    @contextmanager
    def finish_at_the_end(self, store: str, image: str) -> Iterator[None]:
        """Add the tasks of the block, and the task that runs when they have ended, however they ended."""
        finish = components.finish(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, store=store)
        with dsl.ExitHandler(self.place(finish, None, image, caching=False), name="study"):
            yield

    def outputs(
        self, one_run: BaseComponent, store: str, stage_image: str, train_image: str, data_ref: str
    ) -> dict[str, Any]:
        """Add all tasks up to the evaluations, and return their outputs."""
        plan = self.plan
        prepared = components.prepare(spec=plan.dataset, source=data_ref, store=store)
        dataset = self.place(prepared, "prepare", stage_image).output
        beside = components.prepare_test_sets(spec=plan.test_sets, source=data_ref, dataset=dataset, store=store)
        test_sets = self.place(beside, "prepare", stage_image).output
        augmentation = self._augmentation(stage_image, spec=plan.augmentation, dataset=dataset, store=store)
        runs = []
        for run in plan.runs:
            task = one_run(
                recipe=run.recipe,
                recipe_id=run.recipe_id,
                seed=run.seed,
                dataset=dataset,
                test_sets=test_sets,
                augmentation=augmentation,
                store=store,
                stage_image=stage_image,
                train_image=train_image,
            )
            task.set_caching_options(self.settings.caching).set_display_name(f"{run.recipe_id}, seed {run.seed}")
            runs.append(task.outputs)
        by_stage = {stage: [run[stage] for run in runs] for stage in RunOutputs._fields}
        return {"dataset": dataset, "test_sets": test_sets, "augmentation": augmentation, **by_stage}

    def resolve(self, store: str, image: str, data_ref: str, schedule: str = "") -> Mapping[str, Any]:
        """Add the task that finds what is newest; return its outputs `source`, `champion` and `checkpoint`."""
        resolved = components.resolve(
            data_ref=data_ref,
            study=self.plan.champion,
            schedule=schedule,
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            store=store,
        )
        outputs: Mapping[str, Any] = self.place(resolved, None, image, caching=False).outputs
        return outputs

    def report(
        self,
        champion: BaseComponent,
        outputs: Mapping[str, Any],
        store: str,
        image: str,
        newest: Mapping[str, Any],
    ) -> None:
        """Add the tasks that compare outputs with the champion, report on them, write the candidate and promote.

        Args:
            champion: as :meth:`champion_pipeline` returns it.
            newest: as :meth:`resolve` returns it.
        """
        study, run = self.plan.study, dsl.PIPELINE_JOB_ID_PLACEHOLDER
        gate = self._gate(champion, outputs, store, image, newest) if self.plan.champion else ""
        shown = {key: value for key, value in outputs.items() if key != "test_sets"}
        rendered = components.report(study=study, **shown, gate=gate, store=store)
        report = self.place(rendered, "report", image).outputs["Output"]
        written = components.write_candidate(
            study=study, source=newest["source"], **outputs, report=report, run=run, image=image, store=store
        )
        candidate = self.place(written, None, image, caching=False).output
        if self.plan.champion:
            promoted = components.promote(
                gate=gate, candidate=candidate, champion=newest["champion"], run=run, store=store
            )
            self.place(promoted, None, image, caching=False)

    def _gate(
        self,
        champion: BaseComponent,
        outputs: Mapping[str, Any],
        store: str,
        image: str,
        newest: Mapping[str, Any],
    ) -> Any:
        """Add the evaluations of the champion and the task that decides; return its output."""
        evaluated = champion(
            dataset=outputs["dataset"],
            test_sets=outputs["test_sets"],
            checkpoint=newest["checkpoint"],
            store=store,
            stage_image=image,
        )
        evaluated.set_caching_options(self.settings.caching)
        decided = components.gate(
            study=self.plan.study,
            adversarial=outputs["adversarial"],
            ood=outputs["ood"],
            champion=newest["champion"],
            champion_adversarial=evaluated.outputs["adversarial"],
            champion_ood=evaluated.outputs["ood"],
            store=store,
        )
        return self.place(decided, "report", image).output

    def champion_pipeline(self) -> BaseComponent:
        """Return the pipeline that evaluates the champion. kfp wants it to be made before the pipeline that uses it."""

        @dsl.pipeline(name="champion")
        def champion(dataset: str, test_sets: str, checkpoint: str, store: str, stage_image: str) -> ChampionOutputs:
            return ChampionOutputs(*self._evaluations(stage_image, dataset, test_sets, checkpoint, store))

        return champion

    def run_pipeline(self) -> BaseComponent:
        """Return the pipeline of one recipe and seed. kfp wants it to be made before the pipeline that uses it."""

        @dsl.pipeline(name="run")
        def run(
            recipe: str,
            recipe_id: str,
            seed: str,
            dataset: str,
            test_sets: str,
            augmentation: str,
            store: str,
            stage_image: str,
            train_image: str,
        ) -> RunOutputs:
            training = {"recipe": recipe, "recipe_id": recipe_id, "seed": seed, "dataset": dataset}
            training |= {"augmentation": augmentation, "store": store}
            checkpoint = self._train(training, stage_image, train_image).output
            return RunOutputs(checkpoint, *self._evaluations(stage_image, dataset, test_sets, checkpoint, store))

        return run

    def _augmentation(self, image: str, **inputs: Any) -> Any:
        """Add the augmentation: in one task, or all shards and their merge."""

        def add(task: PipelineTask, part: str) -> Any:
            return self.place(task.set_display_name(f"augment{part}"), "augment", image).output

        names = shard_names(self.settings.augment_shards)
        shards = [add(components.augment_shard(**inputs, shard=name), f", {name}") for name in names]
        return add(components.augment(**inputs, shards=shards), ", merge" if shards else "")

    def _train(self, inputs: Mapping[str, Any], stage_image: str, train_image: str) -> PipelineTask:
        """Add a training: in its own pod, or as a job that a small pod starts and follows."""
        gpus, nodes = self.settings.gpus, self.settings.nodes
        inputs = {**inputs, "data": self.settings.data}
        if not self.settings.launches_jobs:
            return self.place(components.train(**inputs, gpus=gpus), "train", train_image, gpus=gpus)
        settings = self.settings.cluster.job_settings().as_json()
        text = to_ascii(json.dumps(settings, sort_keys=True, ensure_ascii=False))
        launched = components.launch(**inputs, gpus=gpus, nodes=nodes, image=train_image, settings=text)
        return self.place(launched, None, stage_image)

    def _evaluations(self, image: str, dataset: Any, test_sets: Any, checkpoint: Any, store: str) -> tuple[Any, Any]:
        """Add both evaluations of a checkpoint and return their outputs; only that with the ood suite has test sets."""
        inputs = {"dataset": dataset, "checkpoint": checkpoint, "store": store}
        return (
            self._evaluate("adversarial", image, suite=self.plan.adversarial, test_sets="", **inputs),
            self._evaluate("ood", image, suite=self.plan.ood, test_sets=test_sets, **inputs),
        )

    def _evaluate(self, kind: str, image: str, **inputs: Any) -> Any:
        """Add the evaluation with the suite of a kind: in one task, or all shards and their merge.

        Merging evaluates a few images again, so it gets the same device as the shards.
        """

        gpus = self.settings.evaluation_gpus

        def add(task: PipelineTask, part: str) -> Any:
            named = task.set_display_name(f"evaluate-{kind}{part}")
            return self.place(named, "evaluate", image, gpus=gpus).output

        names = shard_names(self.settings.shards)
        shards = [add(components.evaluate_shard(**inputs, shard=name, gpus=gpus), f", {name}") for name in names]
        return add(components.evaluate(**inputs, shards=shards, gpus=gpus), ", merge" if shards else "")
