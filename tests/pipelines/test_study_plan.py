"""The plan of a study: what each stage depends on, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.config import DatasetSpec, Recipe, Study, load_study, parse_part, parse_study
from nofrost.errors import UserError
from nofrost.tasks import check_study
from nofrost.tasks.ascii_text import from_ascii
from pipelines.study_plan import StudyPlan, plan_study


def planned(*overrides: str, gpus: int = 0, nodes: int = 1) -> StudyPlan:
    return plan_study(load_study("digits", overrides), gpus, nodes)


def test_each_stage_gets_only_its_section_of_the_study() -> None:
    study, plan = load_study("digits"), planned()
    assert json.loads(plan.dataset) == study.dataset.as_json()
    assert json.loads(plan.augmentation) == check_study(study).augmentation.as_json()
    assert json.loads(plan.augmentation)["deepaugment"]["epochs"] == 4
    assert {each.suite_id: json.loads(each.suite) for each in plan.adversarial} == study.suites.as_json()["adversarial"]
    assert {each.suite_id: json.loads(each.suite) for each in plan.ood} == study.suites.as_json()["ood"]
    assert plan.gate_suites == (plan.adversarial[0], plan.ood[0])
    assert parse_study(from_ascii(plan.study)) == check_study(study), "what `nofrost promote` writes to params.yaml"


def test_a_run_is_planned_for_every_recipe_and_seed() -> None:
    plan = planned("runs.recipe=[sat, st]", "runs.seed=[0, 7]")
    assert [(run.recipe_id, run.seed) for run in plan.runs] == [("sat", "0"), ("sat", "7"), ("st", "0"), ("st", "7")]
    assert json.loads(from_ascii(plan.runs[0].recipe)) == load_study("digits").recipes["sat"].as_json()


def test_changing_one_recipe_changes_its_runs_only() -> None:
    before, after = planned(), planned("recipes.sat.optimiser.lr=0.3")
    assert {one.recipe_id for one, other in zip(before.runs, after.runs, strict=True) if one != other} == {"sat"}
    for part in ("dataset", "augmentation", "adversarial", "ood"):
        assert getattr(before, part) == getattr(after, part)


@pytest.mark.parametrize(
    ("overrides", "devices", "message"),
    [
        (
            [],
            {"gpus": 7},
            "recipes.st with --gpus 7 --nodes 1: schedule.batch_size 64 cannot be shared",
        ),
        ([], {"nodes": 3}, "by 3 processes: set it to a multiple, such as 63"),
        ([], {"gpus": 12, "nodes": 2}, "by 24 processes: set it to a multiple, such as 48"),
        (
            ["recipes.sat.schedule.batch_size=36"],
            {"gpus": 8},
            "recipes.sat with --gpus 8 --nodes 1: ",
        ),
        (["recipes.st.schedule.accumulation=5"], {"gpus": 4}, "does not divide the 16 images that each of 4 processes"),
        (
            ["recipes.st.model.batch_statistics=32"],
            {"gpus": 3, "nodes": 2},
            "batch_size 64 cannot be shared equally by 6",
        ),
        (["recipes.st.model.batch_statistics=24"], {"gpus": 8}, "model.batch_statistics 24 makes no whole groups"),
        (["augmentation.deepaugment.weights=a.safetensors"], {}, "augmentation.deepaugment.weights is a file of one"),
        (["recipes.sat.model.weights=runs/mine"], {}, "recipes.sat.model.weights is a file of one machine"),
        (["recipes.sat.objective.name=no-such"], {}, "unknown objective 'no-such'"),
    ],
)
def test_a_study_that_cannot_be_run_is_one_sentence(
    overrides: list[str], devices: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        planned(*overrides, **devices)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_does_not_depend_on_the_processes_that_train_it() -> None:
    assert planned() == planned(gpus=8, nodes=2)


def test_weights_by_ref_can_be_planned() -> None:
    ref = "0123456789abcdef" * 2 + ".dir:10:2"
    plan = planned(f"recipes.sat.model.weights={ref}")
    assert ref in next(run.recipe for run in plan.runs if run.recipe_id == "sat")


SMALL = load_study("digits", ["runs.recipe=[st]"])


def with_texts(study: Study, text: str) -> Study:
    recipe = study.recipes["st"].model_copy(update={"title": text, "citation": text})
    dataset = DatasetSpec.model_validate({**study.dataset.as_json(), "source": "folder", "path": text or "x"})
    texts = {"title": text, "note": text, "dataset": dataset}
    return study.model_copy(update={**texts, "recipes": {"st": recipe}})


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=30))
def test_a_study_in_any_script_is_ascii_and_comes_out_equal(text: str) -> None:
    study = with_texts(SMALL, text)
    plan = plan_study(study, 0, 1)
    (run,) = plan.runs
    sent = (plan.study, plan.dataset, plan.augmentation, plan.adversarial[0].suite, plan.ood[0].suite, run.recipe)
    assert all(each.isascii() and "\\" not in each for each in sent)
    assert parse_study(from_ascii(plan.study)) == check_study(study)
    assert parse_part(DatasetSpec, from_ascii(plan.dataset), "dataset") == study.dataset
    assert parse_part(Recipe, from_ascii(run.recipe), "recipe") == study.recipes["st"]


REF = f"{'0' * 32}.dir:100:3"


@pytest.mark.parametrize(
    ("path", "planned_path"),
    [
        ("data/source/new", "source/new"),
        ("./data/source", "source"),
        (REF, REF),
        ("s3://bucket/new", "s3://bucket/new"),
    ],
)
def test_test_sets_are_found_inside_the_source_or_by_ref(path: str, planned_path: str) -> None:
    test_sets = f"suites.ood.quick.test_sets={{new: {{source: npz, path: '{path}'}}}}"
    plan = planned("dataset.source=npz", test_sets)
    assert json.loads(plan.ood[0].test_sets) == {
        "test_sets": {"new": {"source": "npz", "path": planned_path, "limit": None}},
    }
    assert json.loads(plan.ood[0].suite)["test_sets"]["new"]["path"] == path, "as dvc repro has it"


@pytest.mark.parametrize(
    "overrides",
    [
        ("dataset.source=npz", "suites.ood.quick.test_sets={new: {source: npz, path: data/other}}"),
        ("suites.ood.quick.test_sets={new: {source: npz, path: data/source/new}}",),
    ],
)
def test_a_test_set_elsewhere_on_this_machine_is_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(
        UserError, match=r"suites\.ood\.quick\.test_sets\.new\.path is not inside dataset\.path, .* the ref"
    ):
        planned(*overrides)
