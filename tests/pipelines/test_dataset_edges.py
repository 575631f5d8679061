"""A study of several datasets: its graph is that of dvc.yaml, and a run has the inputs of its own dataset."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("kfp")

from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from pipelines.study_plan import PlannedDataset, RunPlan, StudyPlan
from tests.pipelines.package_graph import PackageGraph, Source, plan_of
from tests.pipelines.test_graph import between_stages, edges_of_dvc

RUNS = (
    RunPlan("st", "0", "recipe of st"),
    RunPlan("sat", "0", "recipe of sat", dataset="px-56"),
    RunPlan("later", "0", "recipe of later", "sat", "px-56"),
    RunPlan("nofrost", "0", "recipe of nofrost", dataset="svhn"),
)
FURTHER = (
    PlannedDataset("px-56", "larger images", "nothing"),
    PlannedDataset("svhn", "street numbers", "nothing", is_inside=False),
)


def plan(**suites: tuple[str, ...]) -> StudyPlan:
    return replace(plan_of(**suites), runs=RUNS, further=FURTHER)  # type: ignore[arg-type]


def graph_of(planned: StudyPlan, shards: int = 1) -> PackageGraph:
    settings = GraphSettings(Cluster(), shards=shards, augment_shards=shards)
    return PackageGraph(*canonical(make_pipeline(planned, settings)))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("suites", [{}, {"adversarial": ("a", "b"), "ood": ("c", "d")}, {"ood": ()}])
def test_the_graph_is_that_of_dvc_edge_by_edge(suites: dict[str, tuple[str, ...]], shards: int) -> None:
    planned = plan(**suites)
    # In dvc.yaml the report finds further datasets beside the dataset, and waits for their runs; and a training that
    # starts from another one needs that in the place of the dataset.
    more = {((stage, each.name), ("report",)) for each in FURTHER for stage in ("prepare", "augment")}
    more |= {(("prepare", run.dataset), ("train", run.recipe_id, run.seed)) for run in RUNS if run.start}
    assert between_stages(graph_of(planned, shards)) == edges_of_dvc(planned) | more


def test_a_run_reads_its_own_dataset_and_augmentation_and_no_test_sets_of_another() -> None:
    graph = graph_of(plan())
    read = {}
    for task in graph.tasks():
        if graph.kind(task) == "train":
            run = task[:-1]
            dataset, augmentation = (graph.value(run, name) for name in ("dataset", "augmentation"))
            assert graph.value(augmentation.task, "dataset") == dataset
            made = graph.kind(dataset.task)
            name = graph.value(dataset.task, "name") if made == "prepare-further" else ""
            read[graph.value(run, "recipe_id")] = name, graph.value(run, "test_sets") == ""
    assert read == {"st": ("", False), "sat": ("px-56", True), "later": ("px-56", True), "nofrost": ("svhn", True)}


def test_the_gate_compares_runs_on_the_dataset_of_the_study_alone() -> None:
    graph = graph_of(plan())
    (gate,) = [task for task in graph.tasks() if graph.kind(task) == "gate"]
    for kind in ("adversarial", "ood"):
        assert [graph.value(each.task[:-1], "recipe_id") for each in graph.value(gate, kind)] == ["st"]


def test_a_further_dataset_gets_the_source_only_where_it_lies_inside_of_it() -> None:
    graph = graph_of(plan())
    made = {graph.value(task, "name"): task for task in graph.tasks() if graph.kind(task) == "prepare-further"}
    assert isinstance(graph.value(made["px-56"], "source"), Source)
    assert graph.value(made["svhn"], "source") == ""


def test_a_part_of_a_study_records_its_further_datasets_for_the_report() -> None:
    part = PackageGraph(*canonical(make_part_pipeline(plan(), GraphSettings(Cluster()))))
    (record,) = [task for task in part.tasks() if part.kind(task) == "record-outputs"]
    assert len(part.value(record, "test_sets")) == 1 + 2 * len(FURTHER)
    outputs = {
        "dataset": "d@1",
        "test_sets": ["t@2", "px@3", "px-augmented@4", "svhn@5", "svhn-augmented@6"],
        "augmentation": "a@7",
        "trained": ["t@8"] * 4,
        "adversarial": ["e@9"] * 4,
        "ood": ["e@10"] * 4,
    }
    whole = PackageGraph(*canonical(make_report_pipeline(plan(), outputs, GraphSettings(Cluster()))))
    (report,) = [task for task in whole.tasks() if whole.kind(task) == "report-on-datasets"]
    assert whole.value(report, "further") == outputs["test_sets"][1:]
