"""Several datasets in a study: each is laid over the first, and each recipe is trained on one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import load_study, parse_study, study_as_yaml
from nofrost.errors import UserError
from nofrost.tasks import check_study

DIGITS = load_study("digits").as_json()
TEST_SETS = {"far": {"source": "digits"}}


def study(folder: Path, **changes: Any) -> Path:
    """Write a study of three recipes, two of them on further datasets, with these keys instead."""
    values = {
        "name": "mine",
        "title": "mine",
        "dataset": {"source": "digits", "image_size": 16, "limit": 300},
        "datasets": {"px-24": {"image_size": 24}, "other": {"source": "folder", "path": "photos"}},
        "augmentation": {"methods": ["tda", "deepaugment"]},
        "scale": {"model": {"arch": "resnet8"}, "schedule": {"epochs": 4}},
        "recipes": {"st": "st", "sat": "sat", "own": "deepaugment"},
        "runs": {"seed": [0, 1], "dataset": {"px-24": ["sat"], "other": "own"}},
        "suites": DIGITS["suites"],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values | changes, sort_keys=False), encoding="utf-8")
    return path


def test_a_dataset_is_laid_over_that_of_the_study_and_recipes_without_one_are_on_that(tmp_path: Path) -> None:
    found = load_study(study(tmp_path))
    assert found.runs.by_dataset == {"": ("st",), "px-24": ("sat",), "other": ("own",)}
    larger, other = found.datasets["px-24"], found.datasets["other"]
    assert (larger.source, larger.image_size, larger.limit) == ("digits", 24, 300)
    assert (other.source, other.path, other.image_size) == ("folder", "photos", 16)


def test_options_of_a_source_are_not_those_of_another_one(tmp_path: Path) -> None:
    found = load_study(study(tmp_path, dataset={"source": "digits", "classes": ["3", "7"], "limit": 30}))
    assert found.datasets["px-24"].model_extra == {"classes": ["3", "7"]}
    assert found.datasets["other"].model_extra == {}


def test_a_study_spelled_out_is_the_same_again(tmp_path: Path) -> None:
    found = check_study(load_study(study(tmp_path)))
    assert parse_study(study_as_yaml(found)) == found


def test_an_override_and_a_size_of_the_dataset_reach_the_others(tmp_path: Path) -> None:
    sizes = {"tiny": {"dataset": {"limit": 60}, "datasets": {"px-24": {"image_size": 8}, "other": None}}}
    path = study(tmp_path, sizes=sizes | {"small": {"dataset": {"limit": 90}}})
    small = load_study(path, ["dataset.path=elsewhere", "datasets.px-24.limit=80"], "small")
    assert (small.datasets["px-24"].path, small.datasets["px-24"].limit, small.datasets["other"].limit) == (
        "elsewhere",
        80,
        90,
    )
    sizes["tiny"]["runs"] = {"dataset": {"other": None}}
    study(tmp_path, sizes=sizes)
    tiny = load_study(path, size="tiny")
    assert {name: (spec.image_size, spec.limit) for name, spec in tiny.datasets.items()} == {"px-24": (8, 60)}


def test_a_dataset_has_the_augmentation_sets_that_its_recipes_train_on(tmp_path: Path) -> None:
    found = check_study(load_study(study(tmp_path)))
    assert {name: each.methods for name, each in found.augmentations.items()} == {
        "px-24": (),
        "other": ("deepaugment",),
    }
    assert "tda" not in (found.augmentations["other"].model_extra or {})


def test_dvc_gets_the_runs_of_each_dataset_apart(tmp_path: Path) -> None:
    further = check_study(load_study(study(tmp_path))).as_json()
    assert list(further["trainings"]) == ["st-0", "st-1"]
    assert list(further["further"]["trainings"]) == ["sat-0", "sat-1", "own-0", "own-1"]
    assert further["further"]["trainings"]["sat-1"] == {
        "options": {"recipe": "sat", "seed": 1},
        "needs": "data/datasets/px-24",
        "dataset": "px-24",
    }
    assert further["further"]["ood"]["own-0-quick"] == {
        "recipe": "own",
        "seed": 0,
        "suite": "quick",
        "dataset": "other",
    }


def test_a_training_starts_only_from_one_on_its_own_dataset(tmp_path: Path) -> None:
    recipes = {"natural": "zeise2025-all-n", "there": "zeise2025-all-n", "later": "zeise2025-all-n-bn-a"}
    runs = {"dataset": {"px-24": ["there", "later"]}}
    found = check_study(load_study(study(tmp_path, recipes=recipes, runs=runs, datasets={"px-24": {"image_size": 24}})))
    assert found.further.trainings["later-0"].needs == "runs/there/seed-0/train"
    alone = {"dataset": {"px-24": ["later"]}}
    found = check_study(
        load_study(study(tmp_path, recipes=recipes, runs=alone, datasets={"px-24": {"image_size": 24}}))
    )
    assert found.further.trainings["later-0"].needs == "data/datasets/px-24"


def test_runs_changed_by_hand_have_their_stages(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(study_as_yaml(check_study(load_study(study(tmp_path)))), encoding="utf-8")
    changed = load_study(path, ["runs.seed=[7]"])
    assert list(changed.further.trainings) == ["sat-7", "own-7"]


def test_a_study_of_one_dataset_has_no_key_more() -> None:
    assert not {"datasets", "augmentations", "further"} & DIGITS.keys()
    assert "dataset" not in DIGITS["runs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": {"dataset": {"px-42": ["sat"]}}}, "dataset in runs.dataset 'px-42': did you mean 'px-24'"),
        ({"runs": {"dataset": {"px-24": ["stt"], "other": ["own"]}}}, "recipe in runs.dataset.px-24 'stt'"),
        ({"runs": {"dataset": {"px-24": ["sat"]}}}, "datasets.other has no recipe: name some under runs.dataset.other"),
        (
            {"runs": {"dataset": {"px-24": ["sat"], "other": ["sat"]}}},
            "'sat' stands in dataset.px-24 and dataset.other: a recipe is trained on one dataset",
        ),
        (
            {"runs": {"recipe": ["st", "own"], "dataset": {"px-24": ["sat"], "other": ["own"]}}},
            "'own' stands in recipe and dataset.other",
        ),
        (
            {"suites": {"ood": {"far": {"base": "ood-quick", "test_sets": TEST_SETS}}}, "gate": None},
            "suites.ood.far has test sets, which are made for one dataset, and recipes are trained on datasets.px-24",
        ),
        (
            {"suites": {"adversarial": {"quick": {"base": "adversarial-quick", "view": {"resize": 64, "crop": 56}}}}},
            "suites.adversarial.quick.view is for photographs in shards, and datasets.px-24 makes an array",
        ),
        ({"datasets": {"px-24": "digits", "other": {}}}, "datasets.px-24"),
        ({"sizes": {"tiny": {"datasets": {"px-42": None}}}}, "null leaves out a dataset that the base has"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        load_study(study(tmp_path, **changes), size="tiny" if "sizes" in changes else None)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_override_of_a_dataset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset in --set .*px-42"):
        load_study(study(tmp_path), ["datasets.px-42.limit=9"])
    with pytest.raises(UserError, match=r"datasets\.px-24"):
        check_study(load_study(study(tmp_path), ["datasets.px-24.no_option=1"]))
