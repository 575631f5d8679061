"""Where a training starts from another one, the graph has an edge between them, as dvc.yaml has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp")

from nofrost.config import load_study, study_as_yaml
from nofrost.tasks import check_study
from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from pipelines.study_plan import RunPlan, StudyPlan, plan_study
from tests.pipelines.package_graph import PackageGraph, Source, plan_of

FIRST, NEXT, LAST = (
    RunPlan("all-n", "0", "natural"),
    RunPlan("bn-a", "0", "natural, then robust", "all-n"),
    RunPlan("again", "0", "natural, robust, natural", "bn-a"),
)
SETTINGS = GraphSettings(Cluster())


def with_runs(*runs: RunPlan) -> StudyPlan:
    return replace(plan_of(), runs=runs)


def starts_of(graph: PackageGraph) -> dict[str, str | Source]:
    """What each training starts from, by its recipe: a constant, or where an output comes from."""
    trainings = [task for task in graph.tasks() if graph.kind(task) == "train"]
    return {graph.value(task[:-1], "recipe_id"): graph.value(task, "start") for task in trainings}


def test_a_training_waits_for_the_one_that_it_starts_from() -> None:
    graph = PackageGraph(*canonical(make_pipeline(with_runs(FIRST, NEXT, LAST), SETTINGS)))
    starts = starts_of(graph)
    assert starts.pop("all-n") == ""
    recipes = {name: graph.value(source.task[:-1], "recipe_id") for name, source in starts.items()}  # type: ignore[union-attr]
    assert recipes == {"bn-a": "all-n", "again": "bn-a"}


def test_a_part_of_a_study_without_the_start_trains_all_phases() -> None:
    graph = PackageGraph(*canonical(make_part_pipeline(with_runs(NEXT), SETTINGS)))
    assert starts_of(graph) == {"bn-a": ""}


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose first row starts from its last one."""
    values = {
        "name": "mine",
        "title": "mine",
        "dataset": {"source": "digits", "image_size": 16},
        "augmentation": {"methods": []},
        "recipes": ["zeise2025-all-n-bn-a", "zeise2025-all-a", "zeise2025-all-n"],
        "runs": {"seed": [0, 1]},
        "suites": {"adversarial": {"quick": "adversarial-quick"}},
        "gate": None,
    }
    path = tmp_path_factory.mktemp("study") / "mine.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_runs_are_planned_after_those_that_they_start_from(study_file: Path) -> None:
    plan = plan_study(load_study(study_file), gpus=0, nodes=1)
    assert [(run.recipe_id.removeprefix("zeise2025-"), run.seed, run.start) for run in plan.runs] == [
        ("all-a", "0", ""),
        ("all-a", "1", ""),
        ("all-n", "0", ""),
        ("all-n", "1", ""),
        ("all-n-bn-a", "0", "zeise2025-all-n"),
        ("all-n-bn-a", "1", "zeise2025-all-n"),
    ]


def test_dvc_has_the_same_edges(study_file: Path) -> None:
    trainings = yaml.safe_load(study_as_yaml(check_study(load_study(study_file))))["trainings"]
    first = "runs/zeise2025-all-n/seed-1/train"
    assert trainings["zeise2025-all-n-bn-a-1"] == {
        "options": {"recipe": "zeise2025-all-n-bn-a", "seed": 1, "start": first},
        "needs": first,
    }
    assert trainings["zeise2025-all-n-1"] == {
        "options": {"recipe": "zeise2025-all-n", "seed": 1},
        "needs": "data/dataset",
    }


def test_runs_that_were_changed_by_hand_have_their_trainings(study_file: Path) -> None:
    text = study_as_yaml(check_study(load_study(study_file)))
    study_file.with_name("params.yaml").write_text(text, encoding="utf-8")
    changed = load_study(study_file.with_name("params.yaml"), ["runs.seed=[0, 7]"])
    assert list(changed.trainings) == [f"{name}-{seed}" for name in changed.runs.recipe for seed in (0, 7)]
    assert check_study(changed).trainings["zeise2025-all-n-bn-a-7"].needs == "runs/zeise2025-all-n/seed-7/train"


def test_what_a_file_says_of_its_trainings_is_only_where_they_start(study_file: Path) -> None:
    values = yaml.safe_load(study_as_yaml(check_study(load_study(study_file))))
    started = "zeise2025-all-n-bn-a-1"
    values["trainings"]["zeise2025-all-n-1"]["options"] = {"recipe": "zeise2025-all-a", "seed": 7}
    path = study_file.with_name("changed.yaml")
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    changed = load_study(path)
    assert changed.trainings == check_study(load_study(study_file)).trainings
    assert changed.trainings[started].needs == "runs/zeise2025-all-n/seed-1/train"
