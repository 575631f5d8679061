"""The scale-down rule: one mapping makes every recipe small and leaves what it is about."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.config import Recipe, load_recipe, shipped_names
from nofrost.config.reading import read
from nofrost.config.scaling import scaled
from nofrost.errors import UserError
from nofrost.train.schedule import lr_share

SMALL = {
    "model": {"arch": "resnet8"},
    "threat": {"eps": "32/255"},
    "attack": {"steps": 3},
    "views": {"image_size": 16, "random_resized_crop": None},
    "schedule": {"epochs": 8, "batch_size": 64},
}


def small(name: str, scale: dict[str, Any] = SMALL) -> Recipe:
    return Recipe.model_validate(scaled(read("recipe", name), scale))


@pytest.mark.parametrize("epochs", [1, 8])
@pytest.mark.parametrize("name", shipped_names("recipe"))
def test_every_shipped_recipe_can_be_scaled_in_all_of_its_phases(name: str, epochs: int) -> None:
    recipe = small(name, SMALL | {"schedule": {"epochs": epochs, "batch_size": 64}})
    full = load_recipe(name)
    assert recipe.model.arch == "resnet8"
    assert recipe.model.normaliser == full.model.normaliser
    phases = recipe.in_phases()
    assert max(phase.schedule.epochs for phase in phases.values()) == epochs
    batch_sizes = [phase.schedule.batch_size for phase in phases.values()]
    assert batch_sizes == ["all"] if full.schedule.batch_size == "all" else max(batch_sizes) == 64
    for phase, before in zip(phases.values(), full.in_phases().values(), strict=True):
        assert phase.threat.eps.text == "32/255"
        assert phase.views.image_size is not None
        assert phase.views.image_size <= 16
        assert (phase.attack.setting("steps") or 3) <= min(3, before.attack.setting("steps") or 3)
        assert phase.objective.name == before.objective.name
        assert (phase.trainable, phase.reset) == (before.trainable, before.reset)


def test_a_mapping_has_a_smaller_value_for_that_of_each_recipe() -> None:
    scale = {"attack": {"steps": {"30": 4, "10": 2}}, "schedule": {"batch_size": {"4096": 64, "1536": 24}, "epochs": 5}}
    found = {name: small(name, scale) for name in ("xie2020-adv", "xie2020-alp-rmsprop")}
    assert [recipe.attack.setting("steps") for recipe in found.values()] == [4, 2]
    assert [recipe.schedule.batch_size for recipe in found.values()] == [64, 24]
    with pytest.raises(UserError, match=r"scale\.attack\.steps has no value for '10', .* only for 30: add"):
        small("xie2020-alp-rmsprop", {"attack": {"steps": {"30": 4}}})


def test_phases_keep_their_proportion_to_the_largest() -> None:
    phases = small("fast").in_phases().values()
    assert [phase.schedule.epochs for phase in phases] == [8, 8, 4]
    assert [phase.schedule.batch_size for phase in phases] == [64, 28, 16]
    assert [phase.views.image_size for phase in phases] == [7, 12, 16]
    assert [phase.schedule.epochs for phase in small("xie2020-bn-clean").in_phases().values()] == [8, 1]
    assert [phase.schedule.epochs for phase in small("zeise2025-all-n-bn-a").in_phases().values()] == [8, 8]


def test_lengths_in_epochs_shrink_with_the_epochs_unless_the_scale_sets_them() -> None:
    schedule = small("xie2020-adv-running").schedule
    assert schedule.milestones == pytest.approx([mark * 8 / 110 for mark in (35, 70, 95)], abs=1e-3)
    assert schedule.running_statistics_epochs == 1
    assert small("xie2020-adv-code").schedule.lr_warmup_epochs == pytest.approx(5 * 8 / 110, abs=1e-3)
    assert small("fast-cifar").schedule.points == ((0, 0), (4, 1), (8, 0))
    assert small("fat-cifar").objective.tau_milestones == pytest.approx((50 * 8 / 120, 90 * 8 / 120), abs=1e-3)
    named = SMALL | {"schedule": {"epochs": 8, "milestones": [2]}}
    assert small("xie2020-adv", named).schedule.milestones == (2,)


@pytest.mark.parametrize(
    ("name", "epochs", "milestones", "shares"),
    [
        ("zeise2025-all-n", 8, [7], [1] * 7 + [0.1]),  # 7.5 would never be reached
        ("zeise2025-all-n", 2, [1], [1, 0.1]),
        ("zeise2025-all-n", 1, [0.938], [1]),
        ("xie2020-adv", 2, [1], [1, 0.1]),  # 0.6, 1.3 and 1.7
        ("galloway2019-vgg-large-lr", 5, [2.143, 3.571], [1, 1, 1, 0.1, 0.01]),
    ],
)
def test_a_rate_that_falls_by_the_epoch_falls_before_the_end_when_scaled(
    name: str, epochs: int, milestones: list[float], shares: list[float]
) -> None:
    schedule = small(name, {"schedule": {"epochs": epochs}}).schedule
    assert schedule.milestones == pytest.approx(milestones, abs=1e-3)
    assert [lr_share(schedule, epoch) for epoch in range(epochs)] == pytest.approx(shares)


@pytest.mark.parametrize("name", shipped_names("recipe"))
def test_no_scaled_recipe_keeps_its_first_rate_to_the_end(name: str) -> None:
    for epochs in (2, 3, 8, 30):
        for phase in small(name, {"schedule": {"epochs": epochs}}).in_phases().values():
            if phase.schedule.shape == "step" and phase.schedule.epochs > 1:
                assert lr_share(phase.schedule, phase.schedule.epochs - 1) < 1


def test_an_average_begins_at_the_same_share_of_the_training() -> None:
    averaged = read("recipe", "sat") | {"optimiser": {"averaging": {"start_epoch": 45}}}
    recipe = Recipe.model_validate(scaled(averaged, SMALL))
    assert recipe.optimiser.averaging is not None
    assert recipe.optimiser.averaging.start_epoch == 4


def test_an_attack_is_never_made_longer() -> None:
    assert small("fast").attack.steps == 1
    assert small("sat").attack.steps == 3
    assert small("st").attack.steps == 3  # no number of its own


def test_a_phase_states_only_its_changes_to_the_recipe() -> None:
    phases = small("zeise2025-all-n-bn-a").as_json()["phases"]
    assert phases == {"all-n": {"objective": {"name": "st"}}, "bn-a": {"trainable": "bn", "reset": "all"}}


def test_a_scale_without_epochs_keeps_those_of_the_recipe() -> None:
    recipe = small("xie2020-adv-running", {"model": {"arch": "resnet8"}})
    assert recipe.schedule == load_recipe("xie2020-adv-running").schedule


@pytest.mark.parametrize("wrong", [{"schedule": {"epochs": "many"}}, {"schedule": 3}, {"attack": ["steps"]}])
def test_a_scale_that_is_not_a_number_is_refused_by_the_schema(wrong: dict[str, Any]) -> None:
    values = scaled(read("recipe", "fast"), wrong)
    with pytest.raises(ValueError, match="validation error"):
        Recipe.model_validate(values)
