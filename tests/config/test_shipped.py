"""The recipes, suites and studies that come with the package."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nofrost.config import (
    AdversarialSuite,
    OodSuite,
    Recipe,
    load_papers,
    load_recipe,
    load_study,
    load_suite,
    paper_of,
    parse_study,
    shipped_names,
    study_as_yaml,
)
from nofrost.config.base import dotted
from nofrost.models import create_model, summarise
from nofrost.study_cost import passes_of_image

# With the training of wang2022's `st`, as what others do for robustness.
FOR_COMPARISON = {"augmix", "corruptions", "randaugment", "random-erasing"}
# Of our own question, which no paper asks (docs/normaliser-free-next.md).
NEXT = ("next-bn", "next-gn", "next-nf")


@pytest.mark.parametrize("name", shipped_names("recipe"))
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title
    if name in FOR_COMPARISON:
        kept = ("model", "optimiser", "schedule", "threat", "trainable", "precision")
        assert all(getattr(recipe, key) == getattr(load_recipe("st"), key) for key in kept)
        assert recipe.citation.endswith("on the training of wang2022 §4.1 (ST)")
    elif name in NEXT:
        assert recipe.citation.startswith("own: ")
    else:
        assert paper_of(recipe.citation), "a recipe names the paper it comes from"


@pytest.mark.parametrize("name", shipped_names("recipe"))
def test_a_recipe_comes_back_from_its_json_form_as_it_was(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.model_validate(json.loads(json.dumps(recipe.as_json()))) == recipe
    again = Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.spelled_out(), sort_keys=False)))
    assert again.in_phases().keys() == recipe.in_phases().keys()
    for ours, theirs in zip(again.in_phases().values(), recipe.in_phases().values(), strict=True):
        assert ours.model_copy(update={"phases": {}}) == theirs.model_copy(update={"phases": {}})


def test_the_json_form_of_a_recipe_leaves_out_what_is_null_or_empty_unless_that_is_its_value() -> None:
    values = load_recipe("st").as_json()
    assert "phases" not in values
    assert {"weights", "normaliser_eps"}.isdisjoint(values["model"])
    assert {"milestones", "points"}.isdisjoint(values["schedule"])
    clipped = load_recipe("st", ["optimiser.adaptive_clipping.exclude=[]"]).as_json()["optimiser"]
    assert clipped["adaptive_clipping"]["exclude"] == []


@pytest.mark.parametrize("name", shipped_names("suite"))
def test_every_shipped_suite_loads_as_what_its_name_says(name: str) -> None:
    suite = load_suite(name)
    assert isinstance(suite, OodSuite if name.startswith("ood") else AdversarialSuite)
    assert suite.citation
    if isinstance(suite, AdversarialSuite):
        key = name.split("-")[1]
        assert suite.protocol == ("paper" if key in load_papers() else key)


@pytest.mark.parametrize("name", shipped_names("study"))
def test_every_shipped_study_loads_under_its_own_name(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert set(study.runs.recipe) <= set(study.recipes)


@pytest.mark.parametrize("name", shipped_names("study"))
def test_a_study_spelled_out_is_the_same_study(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    spelled_out = tmp_path / "params.yaml"
    spelled_out.write_text(study_as_yaml(study), encoding="utf-8")
    again = load_study(spelled_out)
    assert again == study
    assert study_as_yaml(again) == study_as_yaml(study)


def test_the_active_study_is_spelled_out_with_the_keys_of_this_version() -> None:
    """A run of the pipeline has all of them, and is promoted only where params.yaml says the same."""
    text = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    spelled_out = study_as_yaml(parse_study(text))
    assert yaml.safe_load(spelled_out) == yaml.safe_load(text), "write it again: nofrost study select NAME"


@pytest.mark.parametrize("name", shipped_names("study"))
def test_a_study_spelled_out_hides_nothing(name: str) -> None:
    values = yaml.safe_load(study_as_yaml(load_study(name)))
    assert not {"base", "scale"} & set(_keys(values)), "DVC must see every value itself"
    for recipe in values["recipes"].values():
        assert "steps" in recipe["attack"]


def _keys(values: Any) -> list[str]:
    if isinstance(values, dict):
        return [*values, *(key for value in values.values() for key in _keys(value))]
    return [key for value in values for key in _keys(value)] if isinstance(values, list) else []


@pytest.mark.parametrize("kind", ["recipe", "suite", "study"])
def test_something_is_shipped_of_each_kind_and_names_are_sorted(kind: str) -> None:
    names = shipped_names(kind)
    assert names == sorted(names)
    assert names


def test_no_shipped_file_is_another_kind_of_yaml_ending() -> None:
    folder = Path(load_recipe.__code__.co_filename).parents[1]
    files = [path for part in ("recipes", "suites", "studies", "printed") for path in (folder / part).rglob("*")]
    assert {path.suffix for path in files if path.is_file()} == {".yaml"}


@pytest.mark.parametrize("name", ["sat", "mbnat", "nofrost"])
def test_the_adversarial_recipes_train_as_wang2022_says(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.threat.norm, recipe.threat.eps.value) == ("linf", Fraction(8, 255))  # §2.1
    assert (recipe.attack.name, recipe.attack.steps) == ("pgd", 10)
    assert recipe.objective.adversarial_weight == 0.5  # λ of Eq. 1
    assert (recipe.optimiser.lr, recipe.optimiser.momentum, recipe.optimiser.weight_decay) == (0.1, 0.9, 5e-5)  # §4.1
    assert (recipe.schedule.epochs, recipe.schedule.batch_size) == (90, 256)


def test_the_recipes_differ_in_what_their_method_is_about() -> None:
    normalisers = {name: load_recipe(name).model.normaliser for name in ("st", "sat", "mbnat", "nofrost")}
    assert normalisers == {"st": "bn", "sat": "bn", "mbnat": "mbn", "nofrost": "nf"}
    assert load_recipe("st").objective.name == "st"
    assert load_recipe("nofrost").objective.name == load_recipe("sat").objective.name == "sat"
    assert load_recipe("nofrost-star").views.augmentation_sets == ("deepaugment",)


def test_the_recipes_of_the_next_step_differ_in_the_normaliser_and_what_a_network_without_one_needs() -> None:
    base, *others = (dict(dotted(load_recipe(name).as_json())) for name in NEXT)
    differing = [
        {key for key in base.keys() | other.keys() if base.get(key) != other.get(key)} - {"title", "citation"}
        for other in others
    ]
    clipping = {f"optimiser.adaptive_clipping.{key}" for key in ("factor", "eps", "exclude")}
    assert differing == [{"model.normaliser"}, {"model.normaliser"} | clipping]


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_the_networks_of_the_next_step_have_as_many_parameters_and_passes(size: str) -> None:
    study = load_study("normaliser-free-next", size=size)
    recipes = [study.recipes[name] for name in NEXT]
    with torch.device("meta"):
        counts = {
            summarise(
                create_model(
                    recipe.model.arch, normaliser=recipe.model.normaliser, num_classes=10, image_size=32
                ).network
            ).parameters
            for recipe in recipes
        }
    assert len(counts) == 1
    assert len({passes_of_image(recipe) for recipe in recipes}) == 1
    assert len({(recipe.schedule, recipe.attack, recipe.views) for recipe in recipes}) == 1


def test_the_quick_adversarial_suite_shows_whether_its_attack_has_converged() -> None:
    suite = load_suite("adversarial-quick")
    assert isinstance(suite, AdversarialSuite)
    assert suite.steps_curve is not None
    assert {20, 100} <= set(suite.steps_curve.steps)
    assert suite.budget_curve is not None
    assert sorted(suite.budget_curve.multiples, key=float) == list(suite.budget_curve.multiples)
