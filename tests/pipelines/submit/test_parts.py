"""A large study in several runs, one after the other, and a last one that reports on all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp")

from nofrost.errors import RunFailedError, UserError
from nofrost.store import Store, open_store
from pipelines.package import canonical
from pipelines.study_plan import PlannedSuite, RunPlan, StudyPlan
from pipelines.submit import StartedRun
from pipelines.submit.parts import parts_of, run_parts
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow

FIVE = ('runs.recipe=["st"]', "runs.seed=[0,1,2,3,4]")
MANY = ('runs.recipe=["st"]', f"runs.seed={list(range(300))}")


def plan_of(count: int) -> StudyPlan:
    runs = tuple(RunPlan("st", str(seed), "{}") for seed in range(count))
    return StudyPlan(
        "study", "dataset", "augmentation", (PlannedSuite("quick", "a"),), (PlannedSuite("quick", "o"),), runs
    )


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(5, 2, [1, 2, 2]), (4, 2, [2, 2]), (5, 5, [5]), (5, 100, [5]), (3, 1, [1, 1, 1]), (13, 12, [6, 7])],
)
def test_the_parts_are_of_about_one_size_and_in_order(count: int, most: int, sizes: list[int]) -> None:
    plan = plan_of(count)
    parts = parts_of(plan, most)
    assert sorted(len(part.runs) for part in parts) == sizes
    assert tuple(run for part in parts for run in part.runs) == plan.runs
    assert {part.study for part in parts} == {plan.study}


def recorded(store: Store, run: str, seeds: Sequence[int], **changes: Any) -> None:
    """Record the outputs of a part as its last task does."""
    outputs: dict[str, Any] = {
        "dataset": "data/dataset@d",
        "test_sets": ["data/test-sets/quick@s"],
        "augmentation": "data/augmentation@a",
    }
    outputs |= {key: [f"runs/st/seed-{seed}/{key}@x" for seed in seeds] for key in ("trained", "adversarial", "ood")}
    store.put(f"nofrost/runs/{run}/outputs.json", json.dumps({**outputs, **changes}).encode())


@pytest.fixture
def store(moto: str) -> Store:  # noqa: F811
    return open_store(moto)


def test_every_part_is_a_run_and_the_last_run_reports_on_all(
    kfp: Any, submit: Any, store: Store, tmp_path: Path
) -> None:
    for number, seeds in enumerate(([0], [1, 2], [3, 4]), 1):
        recorded(store, f"run-{number}", seeds)
    run = submit(*FIVE, store=store.url, wait_for=True, split=2)
    assert run.run_id == "run-4"
    names = [started["display_name"] for started in kfp.runs]
    assert names == ["digits, part 1 of 3", "digits, part 2 of 3", "digits, part 3 of 3", "digits"]
    packages = [yaml.safe_load_all(content) for content in kfp.uploads]
    specs = [next(package) for package in packages]
    seeds = [[run["seed"] for run in runs_in(spec)] for spec in specs]
    assert seeds == [["0"], ["1", "2"], ["3", "4"], []]
    (report,) = [task for task in tasks_in(specs[3]) if task["taskInfo"]["name"] == "report"]
    given = {
        key: value.get("runtimeValue", {}).get("constant") for key, value in report["inputs"]["parameters"].items()
    }
    assert given["dataset"] == "data/dataset@d"
    assert given["trained"] == [f"runs/st/seed-{seed}/trained@x" for seed in range(5)]
    assert given["ood"] == [f"runs/st/seed-{seed}/ood@x" for seed in range(5)]
    parameters = [set(started["runtime_config"]["parameters"]) for started in kfp.runs]
    assert parameters[:3] == [{"store", "stage_image", "train_image", "data_ref"}] * 3
    assert parameters[3] == {"store", "stage_image", "data_ref"}


def tasks_in(spec: dict[str, Any]) -> list[dict[str, Any]]:
    components = [spec["root"], *spec["components"].values()]
    return [task for component in components for task in component.get("dag", {}).get("tasks", {}).values()]


def runs_in(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the constant inputs of the nested pipelines that train one recipe and seed."""
    inputs = [task.get("inputs", {}).get("parameters", {}) for task in tasks_in(spec)]
    constants = [
        {key: value["runtimeValue"]["constant"] for key, value in each.items() if "runtimeValue" in value}
        for each in inputs
    ]
    return sorted((each for each in constants if "seed" in each), key=lambda each: str(each["seed"]))


def test_a_study_that_fits_into_one_run_is_one(kfp: Any, submit: Any) -> None:
    for split in (0, 5):
        submit(*FIVE, wait_for=True, split=split)
    assert [started["display_name"] for started in kfp.runs] == ["digits", "digits"]
    assert len(kfp.uploads) == 1


def test_a_part_that_failed_is_started_again_and_only_it(kfp: Any, submit: Any, store: Store) -> None:
    kfp.story = [{"state": "SUCCEEDED"}, {"state": "FAILED"}, {"state": "SUCCEEDED"}]
    recorded(store, "run-1", [0, 1])
    recorded(store, "run-3", [2, 3, 4])
    submit(*FIVE, store=store.url, wait_for=True, split=3, resubmit=1)
    names = [started["display_name"] for started in kfp.runs]
    assert names == ["digits, part 1 of 2", "digits, part 2 of 2", "digits, part 2 of 2", "digits"]


def test_a_part_that_fails_ends_the_submission(kfp: Any, submit: Any, store: Store) -> None:
    kfp.story = [{"state": "FAILED"}]
    with pytest.raises(RunFailedError, match="run run-1 failed"):
        submit(*FIVE, store=store.url, wait_for=True, split=3)
    assert len(kfp.runs) == 1


def test_no_further_part_is_started_when_the_time_is_over(kfp: Any, submit: Any, store: Store) -> None:
    kfp.story = [{"state": "SUCCEEDED"}]
    recorded(store, "run-1", [0, 1])
    with pytest.raises(RunFailedError, match="digits, part 2 of 2 is not started, as the time of --timeout is over"):
        submit(*FIVE, store=store.url, wait_for=True, split=3, timeout=0.0)
    assert len(kfp.runs) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "data/dataset@other"}, "part 2 of the study has the dataset data/dataset@other"),
        ({"trained": []}, r"run-2/outputs\.json in .* does not hold the outputs of 3 runs"),
        ({"trained": None}, "does not hold the outputs"),
        ({"ood": [1, 2, 3]}, "does not hold the outputs"),
        ({"augmentation": None}, "does not hold the outputs"),
        (None, "does not hold the outputs"),
    ],
)
def test_outputs_that_do_not_fit_are_an_error(tmp_path: Path, changes: dict[str, Any] | None, message: str) -> None:
    store = open_store(str(tmp_path / "store"))
    recorded(store, "run-1", [0, 1])
    if changes is not None:
        recorded(store, "run-2", [2, 3, 4], **changes)
    ended: list[str] = []

    def complete_part(part: StudyPlan, suffix: str) -> StartedRun:
        ended.append(suffix)
        return StartedRun(f"run-{len(ended)}", "url", "version", True)

    with pytest.raises(RunFailedError, match=message):
        run_parts(parts_of(plan_of(5), 3), complete_part, store)
    assert ended == [", part 1 of 2", ", part 2 of 2"]


def test_a_study_that_is_too_large_is_refused_before_anything_is_sent(kfp: Any, submit: Any) -> None:
    with pytest.raises(UserError, match=r"300 runs of the study .*--split"):
        submit(*MANY, wait_for=True)
    assert {(method, path) for method, path, _ in kfp.requests} == {("GET", "/apis/v2beta1/healthz")}


def test_a_part_that_is_too_large_is_refused_before_anything_is_sent(kfp: Any, submit: Any) -> None:
    with pytest.raises(
        UserError, match=r"150 runs of the study at --shards 1 would outgrow .*: give --split \d+ or less, or no number"
    ):
        submit(*MANY, wait_for=True, split=250)
    assert {(method, path) for method, path, _ in kfp.requests} == {("GET", "/apis/v2beta1/healthz")}


def test_without_a_number_as_many_runs_as_fit_are_a_part(kfp: Any, submit: Any) -> None:
    kfp.story = [{"state": "FAILED"}]
    with pytest.raises(RunFailedError):
        submit('runs.recipe=["st"]', f"runs.seed={list(range(60))}", wait_for=True, split=0)
    (started,) = kfp.runs
    assert started["display_name"] in ("digits, part 1 of 2", "digits, part 1 of 3")


def test_a_report_that_is_too_large_is_refused_before_anything_is_sent(
    kfp: Any, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to KFP 2.16 its constants, all outputs of the study, are one argument."""
    monkeypatch.setattr("pipelines.workflow_size.ARGUMENT_LIMIT", 45_000)
    many = ('runs.recipe=["st"]', f"runs.seed={list(range(60))}")
    kfp.version = "2.16.0"
    with pytest.raises(UserError, match="the report on 60 runs of the study"):
        submit(*many, wait_for=True, split=15)
    assert {(method, path) for method, path, _ in kfp.requests} == {("GET", "/apis/v2beta1/healthz")}
    kfp.version = "2.17.0"
    kfp.story = [{"state": "FAILED"}]
    with pytest.raises(RunFailedError):
        submit(*many, wait_for=True, split=15)


@pytest.mark.parametrize(("split", "pipelines"), [(None, 1), (5, 1), (0, 2)])
def test_a_study_that_fits_is_compiled_at_most_twice(
    kfp: Any, submit: Any, monkeypatch: pytest.MonkeyPatch, split: int | None, pipelines: int
) -> None:
    compiled: list[Any] = []

    def counted(pipeline: Any) -> Any:
        compiled.append(pipeline)
        return canonical(pipeline)

    monkeypatch.setattr("pipelines.submit.packages.canonical", counted)
    submit(*FIVE, wait_for=True, split=split)
    assert len(compiled) == pipelines


def test_split_needs_wait(kfp: Any, submit: Any) -> None:
    with pytest.raises(UserError, match=r"--split .* add --wait"):
        submit(split=2)
    assert not kfp.requests
