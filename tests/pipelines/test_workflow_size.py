"""The estimated size of a workflow: what it counts, how it grows, and which studies it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from nofrost.config import load_study
from nofrost.errors import UserError
from pipelines.cluster_settings import Cluster, Retries
from pipelines.graph import make_part_pipeline, make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import Documents, canonical, write_package
from pipelines.study_plan import StudyPlan, plan_study
from pipelines.workflow import Workflow
from pipelines.workflow_size import (
    ARGUMENT_LIMIT,
    RESERVE,
    WORKFLOW_LIMIT,
    WorkflowSize,
    check_size,
    estimate_size,
    runs_that_fit,
)

ARGUMENTS = {
    "store": "s3://bucket/nofrost",
    "stage_image": f"registry.example.com/nofrost-stage@sha256:{'1' * 64}",
    "train_image": f"registry.example.com/nofrost-train@sha256:{'2' * 64}",
    "data_ref": "",
}


@cache
def digits() -> StudyPlan:
    return plan_study(load_study("digits"), 0, 1)


def plan_of(runs: int) -> StudyPlan:
    """The plan of a study with so many runs, up to four recipes with as many seeds as it takes."""
    plan = digits()
    recipes = len(plan.runs)
    return replace(
        plan,
        runs=tuple(replace(plan.runs[index % recipes], seed=str(index // recipes)) for index in range(runs)),
    )


@cache
def package(runs: int, shards: int, retries: bool = True) -> tuple[Any, Any]:
    cluster = Cluster(retries=Retries(count=2 if retries else 0))
    return canonical(make_pipeline(plan_of(runs), GraphSettings(cluster, shards=shards)))


def size(runs: int, shards: int, version: str = "2.17") -> WorkflowSize:
    return estimate_size(*package(runs, shards), ARGUMENTS, version)


@pytest.mark.parametrize(("runs", "shards"), [(1, 1), (4, 1), (3, 2)])
def test_pods_are_one_for_each_task_and_a_driver_for_each_task_and_nested_pipeline(runs: int, shards: int) -> None:
    evaluations = 2 * (1 if shards == 1 else shards + 1)
    others = ("resolve", "prepare", "test sets", "augment", "gate", "report", "write-candidate", "promote", "finish")
    tasks = runs * (1 + evaluations) + evaluations + len(others)
    drivers = tasks + runs + len(("root", "exit handler", "champion"))
    estimated = size(runs, shards)
    assert (estimated.tasks, estimated.pods) == (tasks, tasks + drivers)


def test_the_estimate_is_near_an_independent_one() -> None:
    """12 runs in 4 shards: 549 kB up to KFP 2.16 and 895 kB from 2.17 on, 30 % more or less, without a gate."""
    plan = replace(plan_of(12), champion="")
    documents = canonical(make_pipeline(plan, GraphSettings(Cluster(retries=Retries(count=2)), shards=4)))
    assert estimate_size(*documents, ARGUMENTS, "2.15.2").workflow_bytes == pytest.approx(549_000, rel=0.3)
    assert estimate_size(*documents, ARGUMENTS, "2.17.1").workflow_bytes == pytest.approx(895_000, rel=0.3)


def test_a_task_takes_as_much_in_the_status_as_was_seen_of_a_real_one() -> None:
    """kubeflow/pipelines#13738: 56 tasks in 1.95 MiB before compression, without wrapped nodes."""
    workflow = Workflow(*package(4, 2), ARGUMENTS, retried=False)
    assert len(workflow.status_text()) / workflow.tasks == pytest.approx(1.95 * 1024 * 1024 / 56, rel=0.3)


def test_wrapped_nodes_make_the_workflow_larger_and_nothing_else() -> None:
    old, new = size(2, 2, "2.16"), size(2, 2, "2.17")
    assert old.workflow_bytes < new.workflow_bytes
    assert replace(old, workflow_bytes=0) == replace(new, workflow_bytes=0)


def test_retries_are_nodes_of_their_own() -> None:
    with_retries, without = (Workflow(*package(1, 1, retries), ARGUMENTS, retried=False) for retries in (True, False))
    assert len(with_retries.nodes) - len(without.nodes) == with_retries.tasks
    assert with_retries.pods == without.pods


def test_long_arguments_count_up_to_2_16_only() -> None:
    estimated = WorkflowSize(1, 2, 1, workflow_bytes=WORKFLOW_LIMIT, argument_bytes=2 * ARGUMENT_LIMIT)
    assert estimated.shares("2.16.1") == {"workflow": 1 + RESERVE, "argument": 2}
    assert estimated.shares("2.17.0") == {"workflow": 1 + RESERVE}


def test_27_runs_fit_into_an_argument() -> None:
    assert 0.9 < size(27, 1, "2.16").shares("2.16")["argument"] <= 1


class Compiler:
    """Compiles pipelines, and remembers of how many runs."""

    def __init__(self, make: Callable[..., Any] = make_pipeline, shards: int = 1) -> None:
        self._make, self._shards = make, shards
        self.counts: list[int] = []

    def __call__(self, plan: StudyPlan) -> Documents:
        self.counts.append(len(plan.runs))
        return canonical(self._make(plan, GraphSettings(Cluster(), shards=self._shards)))


def test_the_argument_of_a_driver_limits_a_study_of_old_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workflow_size.ARGUMENT_LIMIT", 40_000)
    old, new = (runs_that_fit(plan_of(12), Compiler(), ARGUMENTS, version) for version in ("2.16", "2.17"))
    assert old < new
    arguments = [size(runs, 1, "2.16").argument_bytes for runs in (old, old + 2)]
    assert arguments[0] <= 40_000 < arguments[1]


def test_as_many_runs_as_are_said_to_fit_do_and_one_more_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workflow_size.WORKFLOW_LIMIT", 400_000)
    plan = replace(plan_of(1), runs=plan_of(1).runs * 24)
    fitting = runs_that_fit(plan, Compiler(make_part_pipeline), ARGUMENTS)
    shares = []
    for count in (fitting, fitting + 1):
        documents = canonical(make_part_pipeline(replace(plan, runs=plan.runs[:count]), GraphSettings(Cluster())))
        shares.append(estimate_size(*documents, ARGUMENTS).shares()["workflow"])
    assert shares[0] <= 1 < shares[1]


@pytest.mark.parametrize("runs", [1, 4])
def test_a_study_that_fits_is_compiled_once(runs: int) -> None:
    compiler = Compiler()
    check_size(plan_of(runs), compiler, ARGUMENTS, shards=1)
    assert compiler.counts == [runs]


def test_many_runs_are_compiled_only_where_few_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workflow_size.WORKFLOW_LIMIT", 400_000)
    monkeypatch.setattr("pipelines.workflow_size.FIRST", 8)
    compiler = Compiler()
    assert 1 <= runs_that_fit(plan_of(400), compiler, ARGUMENTS) < 8
    assert max(compiler.counts) == 8
    assert len(compiler.counts) <= 5


def test_a_study_with_one_long_recipe_is_measured_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of the longest recipe would not fit."""
    plan = plan_of(6)
    longest = max(plan.runs, key=lambda run: len(run.recipe))
    long = replace(plan.runs[0], recipe=json.dumps({"description": "".join(map(str, range(6000)))}))
    unequal = replace(plan, runs=(*plan.runs[1:], long))
    monkeypatch.setattr("pipelines.workflow_size.WORKFLOW_LIMIT", 850_000)
    assert len(long.recipe) > 4 * len(longest.recipe)
    check_size(unequal, Compiler(), ARGUMENTS, shards=1)
    with pytest.raises(UserError):
        check_size(replace(plan, runs=(long,) * 6), Compiler(), ARGUMENTS, shards=1)


def test_a_study_that_is_too_large_is_refused_with_the_number_of_runs_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workflow_size.WORKFLOW_LIMIT", 450_000)
    with pytest.raises(UserError) as error:
        check_size(plan_of(40), Compiler(), ARGUMENTS, shards=1)
    fitting = re.search(r"any (\d+) of them fit", str(error.value))
    assert fitting is not None
    assert "--split" in str(error.value)
    check_size(plan_of(int(fitting[1])), Compiler(), ARGUMENTS, shards=1)


def test_shards_that_are_too_many_for_one_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workflow_size.WORKFLOW_LIMIT", 200_000)
    with pytest.raises(UserError, match="fewer shards") as error:
        check_size(plan_of(1), Compiler(shards=8), ARGUMENTS, shards=8)
    assert "--split" not in str(error.value)


def test_the_size_of_the_package_is_that_of_its_file(tmp_path: Path) -> None:
    write_package(tmp_path / "nofrost.yaml", canonical(make_pipeline(plan_of(2), GraphSettings(Cluster()))))
    assert (tmp_path / "nofrost.yaml").stat().st_size == estimate_size(*package(2, 1), {}).package_bytes


def test_the_table_of_the_documentation_is_current() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) runs, (\d+) shards? \|(.+)\|$", page, flags=re.MULTILINE)
    assert [(int(runs), int(shards)) for runs, shards, _ in rows] == [(4, 1), (12, 4), (24, 4), (36, 1)]
    for runs, shards, cells in rows:
        tasks, pods, *kilobytes = (int(re.sub(r"\D", "", cell)) for cell in cells.split("|"))
        old, new = (size(int(runs), int(shards), version) for version in ("2.16", "2.17"))
        assert (new.tasks, new.pods) == (tasks, pods)
        sizes = [each / 1000 for each in (new.package_bytes, old.workflow_bytes, new.workflow_bytes)]
        assert sizes == pytest.approx(kilobytes, rel=0.05)


@pytest.mark.slow
def test_as_many_runs_fit_as_the_documentation_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")
    found = re.search(
        r"(\d+) runs in one\s+shard, (\d+) in two, (\d+) in four\s+and (\d+) in eight with KFP 2\.17, "
        r"and (\d+), (\d+), (\d+)\s+and (\d+) before",
        page,
    )
    assert found
    plan = plan_of(60)
    for number, said in enumerate(map(int, found.groups())):
        shards, version = 2 ** (number % 4), ("2.17", "2.16")[number // 4]
        part = replace(plan, runs=tuple(sorted(plan.runs, key=lambda run: len(run.recipe), reverse=True)[: said + 1]))
        assert runs_that_fit(part, Compiler(shards=shards), ARGUMENTS, version) == said, f"{shards} shards, {version}"
