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

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from pipelines.study_plan import PlannedSuite, StudyPlan

# Of all pipelines: Kubeflow's cache serves a task only within pipelines of one name.
NAME = "nofrost"


def make_pipeline(plan: StudyPlan, settings: GraphSettings) -> BaseComponent:
    """Return the pipeline of a study.

    Its parameters are `store`, `stage_image`, `train_image`, `data_ref`: the ref of the source data, or
    ``latest:NAME`` for its newest release, and `schedule`: the name whose lease the run takes, if Kubeflow starts it by
    a schedule of its own.
    """
    graph = _Graph(plan, settings)
    one_run, champion = graph.run_pipeline(), graph.champion_pipeline() if plan.champion else None

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
        outputs: of all parts together, with the keys of ``outputs.json``: texts for `dataset` and `augmentation`,
            lists for `test_sets` (and after them further datasets, each with its augmentation), `trained`,
            `adversarial` and `ood`.
    """
    graph = _Graph(plan, settings)
    champion = graph.champion_pipeline() if plan.champion else None

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
        test_sets = {suite: self._test_sets(suite, stage_image, data_ref, dataset, store) for suite in plan.ood}
        augmentation = self._augmentation(stage_image, spec=plan.augmentation, dataset=dataset, store=store)
        inputs = {"": (dataset, augmentation), **self._further(stage_image, data_ref, store)}
        runs: dict[tuple[str, str], Any] = {}
        all_outputs: list[Any] = []
        for run in plan.runs:
            # What it would start from may be in another part of the study: then it trains all of its phases.
            first = runs.get((run.start, run.seed))
            task = one_run(
                recipe=run.recipe,
                recipe_id=run.recipe_id,
                seed=run.seed,
                dataset=inputs[run.dataset][0],
                augmentation=inputs[run.dataset][1],
                store=store,
                stage_image=stage_image,
                train_image=train_image,
                **({"start": first["trained"] if first else ""} if plan.has_starts else {}),
                **{
                    name: "" if run.dataset else sets
                    for name, sets in zip(_numbered("test_sets", plan.ood), test_sets.values(), strict=True)
                },
            )
            task.set_caching_options(self.settings.caching).set_display_name(f"{run.recipe_id}, seed {run.seed}")
            runs[run.recipe_id, run.seed] = task.outputs
            all_outputs.append(task.outputs)
        names = {"trained": ["trained"], "adversarial": self._names("adversarial"), "ood": self._names("ood")}
        by_stage = {stage: [run[name] for run in all_outputs for name in of_stage] for stage, of_stage in names.items()}
        further = [output for name, outputs in inputs.items() if name for output in outputs]
        common = {"dataset": dataset, "test_sets": [*test_sets.values(), *further], "augmentation": augmentation}
        return {**common, **by_stage}

    def _further(self, image: str, data_ref: str, store: str) -> dict[str, tuple[Any, Any]]:
        """Add the tasks that make the further datasets and their augmentations; return their outputs by name."""
        made = {}
        for further in self.plan.further:
            source = data_ref if further.is_inside else ""
            prepared = components.prepare_further(spec=further.dataset, name=further.name, source=source, store=store)
            prepared.set_display_name(f"prepare {further.name}")
            dataset = self.place(prepared, "prepare", image).output
            inputs = {"spec": further.augmentation, "dataset": dataset, "store": store}
            made[further.name] = dataset, self._augmentation(image, of=f" {further.name}", **inputs)
        return made

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
        champion: BaseComponent | None,
        outputs: Mapping[str, Any],
        store: str,
        image: str,
        newest: Mapping[str, Any],
    ) -> None:
        """Add the tasks that compare outputs with the champion, report on them, write the candidate and promote.

        Args:
            champion: as :meth:`champion_pipeline` returns it; None for a study without a gate.
            newest: as :meth:`resolve` returns it.
        """
        study, run = self.plan.study, dsl.PIPELINE_JOB_ID_PLACEHOLDER
        gate = self._gate(champion, outputs, store, image, newest) if champion else ""
        shown = {key: value for key, value in outputs.items() if key != "test_sets"}
        if self.plan.further:
            further = outputs["test_sets"][len(self.plan.ood) :]
            rendered = components.report_on_datasets(study=study, further=further, **shown, gate=gate, store=store)
        else:
            rendered = components.report(study=study, **shown, gate=gate, store=store)
        report = self.place(rendered, "report", image).outputs["Output"]
        written = components.write_candidate(
            study=study, source=newest["source"], **outputs, report=report, run=run, image=image, store=store
        )
        candidate = self.place(written, None, image, caching=False).output
        if champion:
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
        plan, (attacked, shifted) = self.plan, self.plan.gate_suites
        evaluated = champion(
            dataset=outputs["dataset"],
            checkpoint=newest["checkpoint"],
            store=store,
            stage_image=image,
            **({"test_sets": outputs["test_sets"][plan.ood.index(shifted)]} if shifted else {}),
        )
        evaluated.set_caching_options(self.settings.caching)
        decided = components.gate(
            study=plan.study,
            adversarial=self._of_suite(attacked, plan.adversarial, outputs["adversarial"]),
            ood=self._of_suite(shifted, plan.ood, outputs["ood"]),
            champion=newest["champion"],
            champion_adversarial=evaluated.outputs["adversarial"],
            champion_ood=evaluated.outputs["ood"] if shifted else "",
            store=store,
        )
        return self.place(decided, "report", image).output

    def _of_suite(
        self, suite: PlannedSuite | None, suites: Sequence[PlannedSuite], outputs: Sequence[Any]
    ) -> list[Any]:
        """Return the outputs of one suite, of the runs on the dataset of the study; none without a suite.

        Args:
            outputs: of all runs with all `suites`.
        """
        if suite is None:
            return []
        of_runs = zip(self.plan.runs, outputs[suites.index(suite) :: len(suites)], strict=True)
        return [output for run, output in of_runs if not run.dataset]

    def champion_pipeline(self) -> BaseComponent:
        """Return the pipeline that evaluates the champion. kfp wants it to be made before the pipeline that uses it."""
        attacked, shifted = ([suite] if suite else [] for suite in self.plan.gate_suites)
        test_sets = _numbered("test_sets", shifted)
        inputs = ("dataset", "checkpoint", "store", "stage_image", *test_sets)

        def champion(*values: Any) -> Any:
            given = dict(zip(inputs, values, strict=True))
            return self._evaluations(attacked, shifted, [given.pop(name) for name in test_sets], **given)

        outputs = [*_numbered("adversarial", attacked), *_numbered("ood", shifted)]
        return _nested(champion, "champion", inputs, outputs)

    def run_pipeline(self) -> BaseComponent:
        """Return the pipeline of one recipe and seed. kfp wants it to be made before the pipeline that uses it."""
        of_training = ["recipe", "recipe_id", "seed", "dataset", "augmentation", "store"]
        # Each input of a run takes a part of the little that a workflow may hold.
        of_training += ["start"] if self.plan.has_starts else []
        test_sets = _numbered("test_sets", self.plan.ood)
        inputs = (*of_training, "stage_image", "train_image", *test_sets)

        def run(*values: Any) -> Any:
            given = dict(zip(inputs, values, strict=True))
            stage_image, train_image = given["stage_image"], given["train_image"]
            checkpoint = self._train({name: given[name] for name in of_training}, stage_image, train_image).output
            evaluations = self._evaluations(
                self.plan.adversarial,
                self.plan.ood,
                [given[name] for name in test_sets],
                dataset=given["dataset"],
                checkpoint=checkpoint,
                store=given["store"],
                stage_image=stage_image,
            )
            return (checkpoint, *evaluations)

        return _nested(run, "run", inputs, ["trained", *self._names("adversarial"), *self._names("ood")])

    def _names(self, kind: str) -> list[str]:
        """Return the names of the outputs of a run's evaluations with the suites of a kind."""
        return _numbered(kind, self.plan.adversarial if kind == "adversarial" else self.plan.ood)

    def _test_sets(self, suite: PlannedSuite, image: str, data_ref: str, dataset: Any, store: str) -> Any:
        """Add the task that makes the test sets of an ood suite; return its output."""
        made = components.prepare_test_sets(
            spec=suite.test_sets, suite_id=suite.suite_id, source=data_ref, dataset=dataset, store=store
        )
        if len(self.plan.ood) > 1:
            made.set_display_name(f"prepare-test-sets {suite.suite_id}")
        return self.place(made, "prepare", image).output

    def _augmentation(self, image: str, of: str = "", **inputs: Any) -> Any:
        """Add the augmentation: in one task, or all shards and their merge; `of` names a further dataset."""

        def add(task: PipelineTask, part: str) -> Any:
            return self.place(task.set_display_name(f"augment{of}{part}"), "augment", image).output

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

    def _evaluations(
        self,
        attacked: Sequence[PlannedSuite],
        shifted: Sequence[PlannedSuite],
        test_sets: Sequence[Any],
        *,
        stage_image: str,
        **inputs: Any,
    ) -> tuple[Any, ...]:
        """Add the evaluations of a checkpoint with each suite and return their outputs.

        Args:
            attacked, shifted: adversarial and ood suites.
            test_sets: of each ood suite.
        """
        outputs = [self._evaluate("adversarial", suite, stage_image, test_sets="", **inputs) for suite in attacked]
        for suite, sets in zip(shifted, test_sets, strict=True):
            outputs.append(self._evaluate("ood", suite, stage_image, test_sets=sets, **inputs))
        return tuple(outputs)

    def _evaluate(self, kind: str, suite: PlannedSuite, image: str, **inputs: Any) -> Any:
        """Add the evaluation with a suite: in one task, or all shards and their merge.

        Merging evaluates a few images again, so it gets the same device as the shards.
        """
        gpus = self.settings.evaluation_gpus
        inputs |= {"suite": suite.suite, "suite_id": suite.suite_id, "gpus": gpus}
        # Of the only suite of its kind the name says nothing.
        name = f"evaluate-{kind}" + (f" {suite.suite_id}" if len(self._names(kind)) > 1 else "")

        def add(task: PipelineTask, part: str) -> Any:
            return self.place(task.set_display_name(f"{name}{part}"), "evaluate", image, gpus=gpus).output

        names = shard_names(self.settings.shards)
        shards = [add(components.evaluate_shard(**inputs, shard=shard), f", {shard}") for shard in names]
        return add(components.evaluate(**inputs, shards=shards), ", merge" if shards else "")


def _nested(function: Callable[..., Any], name: str, inputs: Sequence[str], outputs: Sequence[str]) -> BaseComponent:
    """Return the pipeline that a function of texts makes, whose inputs and outputs depend on the suites of a study."""
    parameters = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str) for each in inputs]
    # By its functional form, since the fields are only known here; kfp reads them from the signature.
    returned = NamedTuple("Outputs", [(each, str) for each in outputs])  # type: ignore[misc]

    def pipeline(*values: Any) -> Any:
        return returned(*function(*values))

    pipeline.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
    made: BaseComponent = dsl.pipeline(pipeline, name=name)
    return made


def _numbered(name: str, suites: Iterable[PlannedSuite]) -> list[str]:
    """Return a name of an input or output for each suite: `name` for the first, then `name_2` and so on."""
    return [name if number == 1 else f"{name}_{number}" for number, _ in enumerate(suites, 1)]
