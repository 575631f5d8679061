"""A study's sizes: what one changes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import load_study, parse_study, study_as_yaml
from nofrost.config.base import merge
from nofrost.errors import UserError

SIZES = {
    "tiny": {
        "dataset": {"limit": 60},
        "runs": {"seed": [5]},
        "scale": {"schedule": {"epochs": 1}},
        "recipes": {"sat": {"optimiser": {"lr": 0.5}}},
    },
    "small": {"scale": {"model": {"arch": "resnet14"}}},
}

CHANGED = {"small": {"recipes": {"st": {"title": "t"}}, "suites": {"ood": {"quick": {"max_images": 9}}}}}


def study(folder: Path, **changes: Any) -> Path:
    """Write a study like digits, with two recipes and these keys instead."""
    digits = load_study("digits")
    values = {
        "name": "mine",
        "title": "mine",
        "dataset": {"source": "digits", "image_size": 16},
        "scale": {"model": {"arch": "resnet8"}, "schedule": {"epochs": 4}},
        "recipes": ["st", "sat"],
        "runs": {"seed": [0, 1]},
        "suites": digits.as_json()["suites"],
        "sizes": SIZES,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")
    return path


def test_a_size_is_laid_over_the_study(tmp_path: Path) -> None:
    tiny = load_study(study(tmp_path), size="tiny")
    assert tiny.size == "tiny"
    assert tiny.dataset.limit == 60
    assert tiny.dataset.image_size == 16
    assert (tiny.runs.recipe, tiny.runs.seed) == (("st", "sat"), (5,))
    assert {recipe.schedule.epochs for recipe in tiny.recipes.values()} == {1}
    assert {recipe.model.arch for recipe in tiny.recipes.values()} == {"resnet8"}
    assert (tiny.recipes["st"].optimiser.lr, tiny.recipes["sat"].optimiser.lr) == (0.1, 0.5)
    assert load_study(study(tmp_path), size="small").recipes["st"].model.arch == "resnet14"


def test_without_one_a_study_that_has_sizes_is_the_paper_s(tmp_path: Path) -> None:
    found = load_study(study(tmp_path))
    assert found == load_study(study(tmp_path), size="paper")
    assert (found.size, found.dataset.limit, found.recipes["st"].schedule.epochs) == ("paper", None, 4)


def test_a_study_spelled_out_keeps_its_size_and_has_no_other(tmp_path: Path) -> None:
    found = load_study(study(tmp_path), size="tiny")
    assert parse_study(study_as_yaml(found)) == found
    spelled_out = tmp_path / "params.yaml"
    spelled_out.write_text(study_as_yaml(found), encoding="utf-8")
    with pytest.raises(UserError, match="has no sizes: leave out --size 'small'"):
        load_study(spelled_out, size="small")


def test_a_study_whose_base_is_spelled_out_has_not_the_size_of_that(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(study_as_yaml(load_study(study(tmp_path), size="tiny")), encoding="utf-8")
    further = tmp_path / "further.yaml"
    further.write_text("base: params.yaml\ndataset: {limit: 90}\n", encoding="utf-8")
    assert load_study(further).size is None
    further.write_text("base: params.yaml\nsize: tiny\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"further\.yaml: size: 'tiny' is for a study that is spelled out"):
        load_study(further)


def test_a_size_changes_a_recipe_that_is_listed_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("base: sat\ntitle: own\n", encoding="utf-8")
    sizes = {"small": {"recipes": {"own": {"optimiser": {"lr": 0.5}}}}}
    found = load_study(study(tmp_path, recipes=["st", "own.yaml"], sizes=sizes), size="small").recipes["own"]
    assert (found.title, found.optimiser.lr) == ("own", 0.5)


def test_null_takes_a_suite_away_at_a_size_and_none_that_is_away_comes_back(tmp_path: Path) -> None:
    path = study(tmp_path, sizes={"tiny": {"suites": {"ood": {"quick": None}}}})
    assert (load_study(path).suites.ood.keys(), load_study(path, size="tiny").suites.ood) == ({"quick"}, {})
    study(tmp_path, sizes={"tiny": {"suites": {"ood": {"quick": {"max_images": 9}}}}})
    further = tmp_path / "further.yaml"
    further.write_text("base: mine.yaml\nsuites: {ood: {quick: null}}\n", encoding="utf-8")
    assert load_study(further, size="tiny").suites.ood == {}


def test_what_a_base_changes_at_a_size_in_recipes_of_its_own_is_no_part_of_a_study_with_others(tmp_path: Path) -> None:
    study(tmp_path)
    further = tmp_path / "further.yaml"
    text = "base: mine.yaml\nrecipes: {sat-2: {base: sat}}\nruns: {recipe: [sat-2]}\n"
    further.write_text(text, encoding="utf-8")
    assert load_study(further, size="tiny").recipes["sat-2"].optimiser.lr == 0.1
    further.write_text(text + "sizes: {tiny: {recipes: {sat-3: {}}}}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown name in .*further.yaml: sizes.tiny.recipes: 'sat-3'"):
        load_study(further, size="tiny")


def test_an_override_stands_above_a_size(tmp_path: Path) -> None:
    assert load_study(study(tmp_path), ["dataset.limit=90"], "tiny").dataset.limit == 90


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "tiny"),
        ({"note": "Mine."}, "tiny"),
        ({"dataset": {"path": "elsewhere"}}, "tiny"),
        ({"dataset": {"limit": 100}}, None),
        ({"recipes": {"all-n": {"optimiser": {"lr": 0.2}}}}, None),
        ({"recipes": {"all-n": {"optimiser": {"lr": 0.2}}}, "name": "mine"}, "tiny"),
        ({"size": "small"}, None),
    ],
)
def test_a_spelled_out_study_that_was_changed_by_hand_is_of_no_size(
    change: dict[str, Any], expected: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    values = yaml.safe_load(study_as_yaml(load_study("zeise2025-table-1", size="tiny")))
    path.write_text(yaml.safe_dump(merge(values, change)), encoding="utf-8")
    assert load_study(path).size == expected


@pytest.mark.parametrize(
    ("overrides", "size", "expected"),
    [
        (["dataset.limit=90"], None, None),
        (["runs.seed=[0]"], "paper", None),
        (["recipes.sat.schedule.epochs=1"], None, None),
        (["suites.adversarial.quick.max_images=5"], None, None),
        (["augmentation.seed=1"], "tiny", None),
        (["dataset.path=elsewhere", "title=Other"], None, "paper"),
        (["dataset.limit=60", "runs.seed=[5]"], "tiny", "tiny"),
    ],
)
def test_a_study_whose_size_is_overridden_has_none(
    overrides: list[str], size: str | None, expected: str | None, tmp_path: Path
) -> None:
    assert load_study(study(tmp_path), overrides, size).size == expected


@pytest.mark.parametrize(
    ("changes", "size", "expected"),
    [
        ({}, "smal", r"unknown size of study .*mine.yaml: 'smal': did you mean 'small'\?"),
        ({}, "", "unknown size of study .*mine.yaml: '': known are paper, small, tiny"),
        ({"sizes": 3}, None, "sizes: 3 is not a mapping"),
        ({"sizes": {"small": 3}}, None, "sizes.small: 3 is not a mapping"),
        ({"sizes": {"large": {}}}, None, "unknown key in .*sizes"),
        ({"sizes": {"paper": {}}}, None, r"paper is the study as it stands"),
        ({"sizes": {"small": {"seed": [0]}}}, "small", "unknown key in .*sizes.small: 'seed'"),
        ({"sizes": {"small": {"recipes": {"sta": {}}}}}, "small", "unknown name in .*sizes.small.recipes: 'sta'"),
        ({"sizes": {"small": {"recipes": {"sat": None}}}}, "small", "sizes.small.recipes.sat is null, .*runs.recipe"),
        ({"suites": ["a"], "sizes": {"small": {"suites": {"ood": {}}}}}, "small", r"suites: \['a'\] is not a mapping"),
        ({"sizes": {"small": {"suites": {"ood": {"quik": None}}}}}, "small", "unknown name in .*suites.ood: 'quik'"),
        ({"recipes": {"st": 3, "sat": "sat"}, "sizes": CHANGED}, "small", "mine.yaml: recipes.st: 3 is not a name"),
        ({"recipes": {"st": [1], "sat": "sat"}, "sizes": CHANGED}, "small", r"mine.yaml: recipes.st: \[1\] is not a"),
        ({"recipes": ["st", 3], "sizes": CHANGED}, "small", "mine.yaml: key recipes must list names of recipes"),
        ({"sizes": {"small": {"recipes": {"st": 3}}}}, "small", "mine.yaml: sizes.small.recipes.st: 3 is not a name"),
        ({"suites": {"ood": {"quick": 3}}, "sizes": CHANGED}, "small", "mine.yaml: suites.ood.quick: 3 is not a name"),
        ({"suites": {"ood": "ood-quick"}, "sizes": CHANGED}, "small", "suites.ood maps names to suites"),
        ({"sizes": {"small": {"recipes": ["st"]}}}, "small", "is not a mapping from names of the study"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], size: str | None, expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        load_study(study(tmp_path, **changes), size=size)
    assert "\n" not in str(error.value)
