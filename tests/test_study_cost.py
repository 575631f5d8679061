"""What a study costs: passes are those that are made, images those that are published."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import AdversarialSuite, DatasetSpec, Recipe, load_recipe, load_study, load_suite
from nofrost.errors import UserError
from nofrost.models import Classifier, Mixture
from nofrost.study_cost import (
    Images,
    Passes,
    Speed,
    Speeds,
    passes_of_image,
    passes_of_selection,
    passes_of_suite,
    published_images,
    study_cost,
)

IMAGES = Images(train=900, selection=100, test=200, size=(16, 16), channels=3, classes=10)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("st", Passes(1, 1)),  # the loss of the clean images
        ("pgdat", Passes(11, 11)),  # ten steps, and the loss of what they make
        ("sat", Passes(12, 12)),  # and that of the clean images
        ("trades", Passes(13, 12)),  # and the answer that the attack moves away from
        ("fast", Passes(2, 2)),
        ("free", Passes(4, 4)),  # four replays of a batch
        ("nofrost-star", Passes(13, 13)),  # clean, augmented, adversarial
    ],
)
def test_the_passes_of_a_step_are_those_of_its_objective_and_attack(name: str, passes: Passes) -> None:
    assert passes_of_image(load_recipe(name)) == passes


def test_centroids_that_are_set_cost_one_answer_and_no_gradient() -> None:
    values = {"model": {"arch": "nearest-centroid", "normaliser": "none"}, "objective": {"name": "nearest-centroid"}}
    assert passes_of_image(Recipe.model_validate({**load_recipe("st").as_json(), **values})) == Passes(1, 0)


def test_the_selection_attacks_where_the_objective_does() -> None:
    attacked = {"selection": {"attack": {"name": "pgd", "steps": 7}}}
    sat, st = (Recipe.model_validate({**load_recipe(name).as_json(), **attacked}) for name in ("sat", "st"))
    assert passes_of_selection(st) == Passes(1, 0)
    assert passes_of_selection(sat).backward == 7


def test_a_suite_attacks_every_image_to_the_end() -> None:
    values: dict[str, Any] = {"kind": "adversarial", "title": "x", "citation": "x", "protocol": "quick"}
    ten, twenty = (
        passes_of_suite(
            AdversarialSuite.model_validate({**values, "attacks": {"pgd": {"steps": steps, "step_size": "1/255"}}}),
            IMAGES,
        )
        for steps in (10, 20)
    )
    assert twenty.backward - ten.backward == 10 * IMAGES.test
    assert passes_of_suite(load_suite("adversarial-quick"), IMAGES).forward > 100 * IMAGES.test


def _suite(**values: Any) -> AdversarialSuite:
    words = {"kind": "adversarial", "title": "x", "citation": "x", "protocol": "quick"}
    return AdversarialSuite.model_validate({**words, **values})


@pytest.mark.parametrize(
    ("subset", "count"), [({"max_images": 50}, 50), ({"classes": 5}, 100), ({"classes": 1, "max_images": 50}, 20)]
)
def test_an_attack_of_fewer_images_is_counted_on_these_only(subset: dict[str, int], count: int) -> None:
    pgd = {"name": "pgd", "steps": 10}
    alone = passes_of_suite(_suite(attacks={"fgsm": {}}), IMAGES)
    whole = passes_of_suite(_suite(attacks={"fgsm": {}, "pgd": pgd}), IMAGES)
    some = passes_of_suite(_suite(attacks={"fgsm": {}, "pgd": {**pgd, **subset}}), IMAGES)
    assert some.backward - alone.backward == pytest.approx((whole.backward - alone.backward) * count / IMAGES.test)
    only = passes_of_suite(_suite(attacks={"pgd": {**pgd, **subset}}), IMAGES)
    assert only.backward == pytest.approx(some.backward)  # with a cheap attack of all in its place


def test_branches_and_mixtures_of_mixture_bn_are_counted() -> None:
    attacks = {"pgd": {"steps": 10, "step_size": "1/255"}}
    suite = _suite(attacks=attacks)
    plain, mixed = passes_of_suite(suite, IMAGES), passes_of_suite(suite, IMAGES, Mixture(0.5))
    # two passes of the mixture, one of each branch, and one of each that images are made through
    assert mixed.backward - 2 * plain.backward == pytest.approx(4 * 10 * IMAGES.test, rel=0.1)
    sweep = _suite(attacks=attacks, mixtures={"inference": ["logits"], "weights": [0.2, 0.7]})
    assert passes_of_suite(sweep, IMAGES, Mixture(0.5)).backward - mixed.backward == 2 * 2 * 10 * IMAGES.test


def test_an_ood_suite_answers_every_image_in_every_severity() -> None:
    suite = load_suite("ood-quick", ["corruptions=[contrast, fog]", "severities=[1, 2, 3]", "max_images=50"])
    assert passes_of_suite(suite, IMAGES) == Passes(50 * (1 + 2 * 3))


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        ({"source": "cifar10"}, (45_000, 5_000, 10_000)),
        ({"source": "cifar10", "selection_share": 0}, (50_000, 0, 10_000)),
        ({"source": "cifar10", "limit": 6_000}, (4_500, 500, 1_000)),
        ({"source": "mnist", "classes": [3, 7], "selection_share": 0}, (12_000, 0, 2_000)),
        ({"source": "mnist", "classes": [3, 7], "selection_share": 0, "limit": 1_000}, (857, 0, 143)),
        ({"source": "mnist", "classes": [3, 7], "selection_share": 0, "class_limit": 2_500}, (5_000, 0, 2_000)),
        ({"source": "digits", "class_limit": 100, "test_share": 0.2, "selection_share": 0}, (800, 0, 200)),
    ],
)
def test_the_images_are_the_published_ones(spec: dict[str, Any], counts: tuple[int, int, int]) -> None:
    images = published_images(DatasetSpec.model_validate(spec))
    assert (images.train, images.selection, images.test) == counts


def test_a_folder_has_to_be_prepared_first() -> None:
    with pytest.raises(UserError, match="how many images source folder has is not known before: prepare the dataset"):
        published_images(DatasetSpec(source="folder"))


def test_seconds_and_operations_are_those_of_both_kinds_of_passes() -> None:
    speed = Speed(forward_s=1.0, backward_s=3.0, forward_flop=5.0)
    assert speed.seconds(Passes(2, 4)) == 14.0
    assert speed.flop(Passes(2, 4)) == 50.0


def test_a_study_costs_its_runs_times_its_seeds() -> None:
    cost = study_cost(load_study("digits", ["runs.recipe=[st, sat]", "runs.seed=[0, 1, 2]"]))
    assert cost.trainings == 6
    assert cost.minutes == pytest.approx(3 * sum(run.minutes for run in cost.runs))
    st, sat = cost.runs
    assert (st.epochs, sat.epochs) == (8, 8)
    assert sat.training.backward > 4 * st.training.backward
    assert 0 < st.minutes < sat.minutes
    assert 0 < st.gpu_hours < sat.gpu_hours


def test_the_command_prints_a_table_or_json() -> None:
    options = ["study", "plan", "digits", "--set", "runs.recipe=[st]"]
    table = CliRunner().invoke(cli, options)
    assert "1 training with 1 seed" in table.stdout
    numbers = json.loads(CliRunner().invoke(cli, [*options, "--json"]).stdout)
    assert (numbers["trainings"], numbers["runs"][0]["recipe"]) == (1, "st")


def test_a_training_that_starts_from_another_does_not_pay_for_its_phases() -> None:
    both = [f"zeise2025-{name}" for name in ("all-n", "all-n-bn-a")]
    base = load_study("digits")
    recipes = {name: load_recipe(name, ["model.arch=resnet8"]) for name in both}
    study = base.model_copy(update={"recipes": recipes, "runs": base.runs.model_copy(update={"recipe": tuple(both)})})
    first, then = study_cost(study).runs
    assert (first.start, then.start) == ("", "zeise2025-all-n")
    assert first.epochs == then.epochs == recipes[both[0]].schedule.epochs


def test_networks_that_studies_have_in_common_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, int]] = []

    def speed(model: Classifier) -> Speed:
        measured.append((model.signature.channels, model.signature.image_size[0]))
        return Speed(1e-3, 2e-3, 1e6)

    monkeypatch.setattr("nofrost.study_cost.cost.measured_speed", speed)
    study = load_study("digits", ["runs.recipe=[st]"])
    speeds: Speeds = {}
    first = study_cost(study, speeds=speeds)
    count = len(measured)
    assert study_cost(study, speeds=speeds) == first
    assert len(measured) == count == len(speeds)
    # Of other images it is another network.
    study_cost(load_study("digits", ["runs.recipe=[st]", "dataset.source=cifar10"]), speeds=speeds)
    assert len(measured) > count
