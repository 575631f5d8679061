"""The graph of a study is that of dvc.yaml, written out, with what is about the champion and about parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp")

from pipelines.cluster_settings import Cluster
from pipelines.graph import make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from pipelines.study_plan import StudyPlan
from tests.pipelines.compiled_graphs import CHAMPION, MANY, NOTES, compiled, only, part_of_a_study, report_of_parts
from tests.pipelines.package_graph import PackageGraph, Source, plan_of

ROOT = Path(__file__).parents[2]
STUDIES = [(1, 1), (4, 1), (3, 2)]
Instance = tuple[str, ...]  # a stage, and of a run also its recipe and seed


def instance(graph: PackageGraph, task: tuple[str, ...]) -> Instance:
    """The stage of dvc.yaml that a task belongs to: shards and their merge are one evaluation, a job is a training."""
    kind = graph.kind(task).replace("launch", "train").removesuffix("-on-datasets")
    if len(task) < 3:
        if kind in ("augment", "augment-shard"):
            return ("augment", *instance(graph, graph.value(task, "dataset").task)[1:])
        if kind == "prepare-further":
            return ("prepare", graph.value(task, "name"))
        return (kind, graph.value(task, "suite_id")) if kind == "prepare-test-sets" else (kind,)
    if graph.kind(task[:-1]) == "champion":
        return ("champion",)
    run = task[:-1]
    of_run = (graph.value(run, "recipe_id"), graph.value(run, "seed"))
    if not kind.startswith("evaluate"):
        return (kind, *of_run)
    what, _, suite = graph.value(task, "suite").rpartition(" ")
    assert suite == graph.value(task, "suite_id")
    return ({"the attacks": "evaluate-adversarial", "the corruptions": "evaluate-ood"}[what], *of_run, suite)


def instances(matrix: dict[str, str], plan: StudyPlan) -> Iterator[dict[str, str]]:
    """The values of the matrix of a stage for each of its instances."""
    of_plan = {"${suites.adversarial}": plan.adversarial, "${suites.ood}": plan.ood}
    on_dataset = [run for run in plan.runs if not run.dataset]
    for run in on_dataset if "recipe" in matrix else [None]:
        of_run = {"recipe": run.recipe_id, "seed": run.seed} if run else {}
        for suite in of_plan[matrix["suite"]] if "suite" in matrix else [None]:
            yield {**of_run, **({"suite": suite.suite_id} if suite else {})}


def items(foreach: str, plan: StudyPlan) -> Iterator[dict[str, str]]:
    """The values of each instance, as a study has them in the key that `foreach` names."""
    suites = {"${further.adversarial}": plan.adversarial, "${further.ood}": plan.ood}
    if foreach == "${datasets}":
        yield from ({"key": further.name, "item.path": "data/source"} for further in plan.further)
    for run in plan.runs if foreach != "${datasets}" else ():
        recipe = {"recipe": run.recipe_id, "seed": run.seed}
        if foreach in suites and run.dataset:
            for suite in suites[foreach]:
                yield {f"item.{key}": value for key, value in recipe.items()} | {
                    "item.suite": suite.suite_id,
                    "item.dataset": run.dataset,
                }
        elif foreach == ("${further.trainings}" if run.dataset else "${trainings}"):
            dataset = f"data/datasets/{run.dataset}" if run.dataset else "data/dataset"
            needs = f"runs/{run.start}/seed-{run.seed}/train" if run.start else dataset
            options = {f"item.options.{key}": value for key, value in recipe.items()}
            yield {**options, "item.needs": needs, "item.dataset": run.dataset}


def edges_of_dvc(plan: StudyPlan) -> set[tuple[Instance, Instance]]:
    """Pairs of stages of dvc.yaml, written out for a study, of which the second reads an output of the first."""
    stages: dict[Instance, tuple[list[str], list[str]]] = {}
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        of_matrix = (
            {f"item.{key}": value for key, value in values.items()}
            for values in instances(stage.get("matrix", {}), plan)
        )
        for values in items(stage["foreach"], plan) if "foreach" in stage else of_matrix:
            paths = [
                [
                    re.sub(r"\${(key|item\.[\w.]+)}", lambda match, v=values: v[match[1]], path)
                    for path in described[key]
                ]
                for described in [stage.get("do", stage)]
                for key in ("deps", "outs")
            ]
            told = (value for key, value in values.items() if key not in ("item.needs", "item.dataset", "item.path"))
            stages[(name.removesuffix("-further"), *told)] = (paths[0], paths[1])
    return {
        (maker, reader)
        for maker, (_, outs) in stages.items()
        for reader, (deps, _) in stages.items()
        if maker != reader and any(out == dep or out.startswith(f"{dep}/") for out in outs for dep in deps)
    }


SUITES: list[dict[str, tuple[str, ...]]] = [
    {},
    {"adversarial": ("a", "b-c"), "ood": ("d", "e", "f")},
    {"ood": ()},
    {"adversarial": (), "ood": ("d", "e"), "champion": ""},
]


@pytest.mark.parametrize("suites", SUITES)
@pytest.mark.parametrize("shards", [1, 3])
def test_any_number_of_suites_of_each_kind_gives_the_graph_of_dvc(
    suites: dict[str, tuple[str, ...]], shards: int
) -> None:
    assert between_stages(compiled(2, 2, suites=suites, shards=shards)) == edges_of_dvc(plan_of(2, 2, **suites))


@pytest.mark.parametrize("devices", [{}, MANY])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("recipes", "seeds"), STUDIES)
def test_the_graph_is_that_of_dvc_edge_by_edge(recipes: int, seeds: int, shards: int, devices: dict[str, int]) -> None:
    graph = compiled(recipes, seeds, shards=shards, **devices)
    assert between_stages(graph) == edges_of_dvc(plan_of(recipes, seeds))


def between_stages(graph: PackageGraph) -> set[tuple[Instance, Instance]]:
    """Pairs of stages of which the second takes an output of the first."""
    edges = {
        (instance(graph, source), instance(graph, task)) for task in graph.tasks() for source in graph.sources(task)
    }
    return {(one, other) for one, other in edges if one != other and not {one[0], other[0]} & (NOTES | CHAMPION)}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("recipes", "seeds"), STUDIES)
def test_the_tasks_are_one_for_each_stage_shard_merge_and_note(recipes: int, seeds: int, shards: int) -> None:
    graph = compiled(recipes, seeds, shards=shards)
    evaluations = 1 if shards == 1 else shards + 1
    tasks = list(graph.tasks())
    assert len(tasks) == 9 + 2 * evaluations + recipes * seeds * (1 + 2 * evaluations)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {instance(graph, task)[0] for task in tasks} == {
        *(name for name in stages if not name.endswith("-further")),
        *CHAMPION,
        "write-candidate",
        "finish",
        "resolve",
        "promote",
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_the_augmentation_is_one_task_or_its_shards_and_their_merge(shards: int) -> None:
    graph = compiled(augment_shards=shards)
    parts = {graph.value(task, "shard"): task for task in graph.tasks() if graph.kind(task) == "augment-shard"}
    (whole,) = [task for task in graph.tasks() if graph.kind(task) == "augment"]
    expected = [f"{index}/{shards}" for index in range(shards)] if shards > 1 else []
    assert sorted(parts) == expected
    assert graph.value(whole, "shards") == [Source(parts[name], "Output") for name in expected]
    for task in (*parts.values(), whole):
        assert graph.value(task, "dataset") == Source(("exit-handler-1", "prepare"), "Output")


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_are_merged_in_their_order_and_one_shard_needs_no_merge(shards: int) -> None:
    graph = compiled(shards=shards)
    for kind in ("evaluate-adversarial", "evaluate-ood"):
        mine = [task for task in graph.tasks() if instance(graph, task)[0] == kind]
        by_shard = {graph.value(task, "shard"): task for task in mine if graph.kind(task) == "evaluate-shard"}
        (whole,) = [task for task in mine if graph.kind(task) == "evaluate"]
        expected = [f"{index}/{shards}" for index in range(shards)] if shards > 1 else []
        assert sorted(by_shard) == expected
        assert graph.value(whole, "shards") == [Source(by_shard[shard], "Output") for shard in expected]


def test_the_outputs_of_all_runs_are_listed_by_stage_in_the_order_of_the_study() -> None:
    graph = compiled(3, 2, shards=2)
    (report,) = [task for task in graph.tasks() if graph.kind(task) == "report"]
    for name, stage in (("trained", "train"), ("adversarial", "evaluate-adversarial"), ("ood", "evaluate-ood")):
        made_by = [instance(graph, source.task) for source in graph.value(report, name)]
        suite = () if stage == "train" else ("quick",)
        assert made_by == [(stage, run.recipe_id, run.seed, *suite) for run in plan_of(3, 2).runs]


@pytest.mark.parametrize("shards", [1, 2])
def test_the_gate_compares_on_its_suites_alone_and_the_report_shows_all(shards: int) -> None:
    graph = compiled(2, shards=shards, suites={"adversarial": ("a", "b"), "ood": ("c", "d", "e")})
    gate, report = only(graph, "gate"), only(graph, "report")
    for kind, suites in (("adversarial", "ab"), ("ood", "cde")):
        shown = [instance(graph, source.task)[1:] for source in graph.value(report, kind)]
        assert shown == [(recipe, "0", suite) for recipe in ("st", "sat") for suite in suites]
        compared = [instance(graph, source.task)[1:] for source in graph.value(gate, kind)]
        assert compared == [each for each in shown if each[2] == suites[-1]]
        assert graph.value(graph.value(gate, f"champion_{kind}").task, "suite_id") == suites[-1]
    sets = [graph.value(source.task, "spec") for source in graph.value(only(graph, "write-candidate"), "test_sets")]
    assert sets == [f"the test sets {suite}" for suite in "cde"]
    for task in graph.tasks():
        if graph.kind(task) == "evaluate" and graph.value(task, "suite_id") in "cde":
            assert graph.value(graph.value(task, "test_sets").task, "suite_id") == graph.value(task, "suite_id")


def test_a_study_without_an_ood_suite_has_no_task_about_one() -> None:
    graph = compiled(2, suites={"ood": ()})
    assert "prepare-test-sets" not in {graph.kind(task) for task in graph.tasks()}
    gate = only(graph, "gate")
    assert (graph.value(gate, "ood"), graph.value(gate, "champion_ood")) == ([], "")
    assert graph.value(only(graph, "report"), "ood") == []


def test_several_suites_of_a_kind_stand_in_the_names_of_tasks() -> None:
    graph = compiled(suites={"adversarial": ("a", "b"), "ood": ("c",)}, shards=2)
    tasks = graph.spec["components"]["comp-run"]["dag"]["tasks"].values()
    parts = ("0/2", "1/2", "merge")
    assert {task["taskInfo"]["name"] for task in tasks} == {
        "train",
        *(f"evaluate-adversarial {suite}, {part}" for suite in "ab" for part in parts),
        *(f"evaluate-ood, {part}" for part in parts),
    }


def test_there_is_no_loop_condition_or_collection() -> None:
    """Each of them goes wrong on some backend: a branch that comes from the cache, a loop that has a name, ..."""
    for graph in (compiled(3, 2, shards=2, gpus=1), compiled(**MANY), part_of_a_study(), report_of_parts()):
        text = str(graph.spec)
        for word in ("Iterator", "condition", "Selector", "valueFromOneof"):
            assert word not in text
        strategies = set(re.findall(r"'strategy': '(\w+)'", text))
        assert strategies == {"ALL_UPSTREAM_TASKS_COMPLETED"}, "that of finish"


def test_people_read_recipes_and_shards_in_the_names_of_tasks() -> None:
    graph = compiled(2, 2, shards=2)
    tasks = graph.spec["components"]["comp-exit-handler"]["dag"]["tasks"]
    assert {task["taskInfo"]["name"] for name, task in tasks.items() if name.startswith("run")} == {
        *("st, seed 0", "st, seed 1", "sat, seed 0", "sat, seed 1")
    }
    assert {task["taskInfo"]["name"] for task in graph.spec["components"]["comp-run"]["dag"]["tasks"].values()} == {
        "train",
        *(f"evaluate-{kind}, {part}" for kind in ("adversarial", "ood") for part in ("0/2", "1/2", "merge")),
    }
    unsharded = compiled().spec["components"]["comp-run"]["dag"]["tasks"].values()
    assert {task["taskInfo"]["name"] for task in unsharded} == {"train", "evaluate-adversarial", "evaluate-ood"}


# What tasks are given, and with it the key of Kubeflow's cache: beside these only the command and the image.


def test_a_run_resolves_what_is_newest_once_and_only_that_comes_from_no_cache() -> None:
    graph = compiled(2, shards=2)
    resolve = only(graph, "resolve")
    assert graph.values(resolve) == {
        "data_ref": Source((), "data_ref"),
        "study": "digits",
        "schedule": Source((), "schedule"),
        "run": "{{$.pipeline_job_uuid}}",
        "store": Source((), "store"),
    }
    readers = {graph.kind(task) for task in graph.tasks() if Source((), "data_ref") in graph.values(task).values()}
    assert readers == {"resolve"}
    for kind in ("prepare", "write-candidate"):
        assert graph.value(only(graph, kind), "source") == Source(resolve, "source")
    for kind in ("gate", "promote"):
        assert graph.value(only(graph, kind), "champion") == Source(resolve, "champion")


def test_the_champion_is_evaluated_on_the_dataset_and_with_the_suites_and_shards_of_the_run() -> None:
    graph = compiled(2, shards=2)
    checkpoint = Source(only(graph, "resolve"), "checkpoint")
    evaluations = [task for task in graph.tasks() if instance(graph, task) == ("champion",)]
    assert {graph.value(task, "checkpoint") for task in evaluations} == {checkpoint}
    assert {graph.value(task, "dataset") for task in evaluations} == {Source(only(graph, "prepare"), "Output")}
    assert [graph.value(task, "suite") for task in evaluations].count("the attacks quick") == 3
    assert [graph.value(task, "suite") for task in evaluations].count("the corruptions quick") == 3
    gate = only(graph, "gate")
    for kind, suite in (("adversarial", "the attacks quick"), ("ood", "the corruptions quick")):
        merged = graph.value(gate, f"champion_{kind}").task
        assert (graph.kind(merged), graph.value(merged, "suite")) == ("evaluate", suite)
        assert len(graph.value(gate, kind)) == 2
    names = [graph.task(task)["taskInfo"]["name"] for task in evaluations]
    assert sorted(names)[0] == "evaluate-adversarial, 0/2"
    assert {graph.kind(task[:-1]) for task in evaluations} == {"champion"}


def test_a_promotion_comes_after_report_and_candidate() -> None:
    graph = compiled(2)
    given = graph.values(only(graph, "promote"))
    decided = Source(only(graph, "gate"), "Output")
    assert (given["gate"], given["candidate"]) == (decided, Source(only(graph, "write-candidate"), "Output"))
    assert graph.value(only(graph, "report"), "gate") == decided
    assert graph.value(only(graph, "write-candidate"), "report").task == only(graph, "report")


def test_a_study_without_a_gate_has_nothing_about_a_champion() -> None:
    pipeline = make_pipeline(plan_of(2, champion=""), GraphSettings(Cluster()))
    graph = PackageGraph(*canonical(pipeline))
    kinds = {graph.kind(task) for task in graph.tasks()}
    assert kinds == {
        *("resolve", "prepare", "prepare-test-sets", "augment", "train", "evaluate", "report", "write-candidate"),
        "finish",
    }
    assert graph.value(only(graph, "resolve"), "study") == ""
    assert graph.value(only(graph, "report"), "gate") == ""
    assert {graph.kind(task[:-1]) for task in graph.tasks() if graph.kind(task) == "evaluate"} == {"run"}


def test_a_part_of_a_study_lists_its_outputs_and_leaves_no_candidate() -> None:
    graph = part_of_a_study()
    kinds = [graph.kind(task) for task in graph.tasks()]
    assert kinds.count("train") == 2
    assert not {"report", "write-candidate"} & set(kinds)
    (record,) = [task for task in graph.tasks() if graph.kind(task) == "record-outputs"]
    values = graph.values(record)
    assert values["run"] == "{{$.pipeline_job_uuid}}"
    assert [instance(graph, source.task)[0] for source in values["trained"]] == ["train"] * 2
    assert {"dataset", "test_sets", "augmentation", "adversarial", "ood", "store", "run", "trained"} == set(values)
    assert not graph.task(record)["cachingOptions"]
    assert set(graph.spec["root"]["inputDefinitions"]["parameters"]) == {
        *("store", "stage_image", "train_image", "data_ref")
    }


def test_the_report_of_parts_has_their_outputs_as_constants() -> None:
    graph = report_of_parts()
    kinds = {graph.kind(task) for task in graph.tasks()}
    assert kinds == {"resolve", "evaluate", "gate", "report", "write-candidate", "promote", "finish"}
    for kind in ("report", "write-candidate", "gate"):
        values = graph.values(only(graph, kind))
        if kind != "gate":
            assert (values["dataset"], values["augmentation"], values["trained"]) == ("d@1", "a@2", ["t@3"])
        assert (values["adversarial"], values["ood"]) == (["e@4"], ["e@5"])
    assert set(graph.spec["root"]["inputDefinitions"]["parameters"]) == {"store", "stage_image", "data_ref"}


def test_finish_follows_everything_however_it_ended() -> None:
    for graph in (compiled(2, shards=2), part_of_a_study(), report_of_parts()):
        assert set(graph.spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "finish"}
        finish = graph.task(("finish",))
        assert finish["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        assert finish["dependentTasks"] == ["exit-handler-1"]
