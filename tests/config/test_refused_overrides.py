"""Every mistake in an override ends as one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import load_recipe, load_study
from tests.config.complaints import complaint, file

RECIPE_OVERRIDES = [
    ("objektive=sat", "unknown key 'objektive'", "did you mean 'objective'?", "allowed here are", "schedule", "threat"),
    ("schedule.epoch=3", "'schedule.epoch'", "did you mean 'epochs'?", "batch_size", "lr_warmup_epochs"),
    ("attack=3", "attack: 3 is not a mapping", "its keys are name, and the settings of what is named"),
    ("attack.eps=4/255", "attack: eps is not set for one attack: set threat.eps instead"),
    ("optimiser.adaptive_clipping.faktor=1", "'optimiser.adaptive_clipping.faktor'", "did you mean 'factor'?"),
    ("model.normaliser=bnn", "model.normaliser", "'bn'", "'mbn'", "'gn'", "'in'", "'nf'", "'none'", "got 'bnn'"),
    ("threat.norm=l1", "threat.norm", "'linf'", "'l2'", "got 'l1'"),
    ("threat.eps=8/0", "threat.eps", "divides by zero", "8/255"),
    ("threat.eps=-1", "threat.eps", "negative"),
    ("threat.eps=on", "threat.eps", "'on' is not a fraction"),
    ("threat.eps=2", "threat", "larger than the whole pixel range", "at most 1"),
    ("threat.eps=", "threat.eps", "None is not a fraction"),
    ("threat=3", "threat: 3 is not a mapping", "its keys are eps, norm"),
    ("schedule=[1, 2]", "schedule: [1, 2] is not a mapping", "batch_size"),
    ("schedule.epochs=0", "schedule.epochs", "greater than or equal to 1", "got 0"),
    ("schedule.epochs=1.5", "schedule.epochs", "integer", "got 1.5"),
    ("schedule.epochs=many", "schedule.epochs", "integer", "got 'many'"),
    ("schedule.epochs=true", "schedule.epochs", "true is not a number"),
    ("schedule.epochs=on", "schedule.epochs", "integer", "got 'on'"),
    ("optimiser.lr=False", "optimiser.lr", "false is not a number"),
    ("schedule.milestones=[3, true]", "schedule.milestones", "true is not a number"),
    ("schedule.points=[[0, true]]", "schedule.points", "true is not a number"),
    ("optimiser.lr=1e26", "optimiser.lr", "1e+26 is too large", "at most 10,000,000"),
    ("schedule.epochs=10000001", "schedule.epochs", "10000001 is too large"),
    ("optimiser.momentum=-20000000", "optimiser.momentum", "-20000000 is too large"),
    ("threat={norm: l2, eps: 1e7}", "threat.eps", "more than any distance of images"),
    ("optimiser.lr=.inf", "optimiser.lr", "finite", "got inf"),
    ("optimiser.weight_decay=.nan", "optimiser.weight_decay", "finite", "got nan"),
    ("title.x=3", "title", "string", "got {'x': 3}"),
    ("title=2024", "title", "string", "got 2024: write it in quotes"),
    ("views.augmentation_sets=tda", "views.augmentation_sets", "a valid list", "got 'tda'"),
    ("optimiser={nesterov: true, momentum: 0}", "optimiser", "nesterov needs a momentum above 0"),
    ("trainable=bnn", "trainable: 'bnn' is none of", "two-per-channel", "layer:conv1"),
    ("phases={two: {optimiser: {lr: -1}}}", "phases.two.optimiser.lr: input should be greater than 0", "got -1"),
    ("phases={two: {optimiser: {rate: 1}}}", "'phases.two.optimiser.rate'", "allowed here are", "scalar_lr"),
    ("phases={two: {schedule: 3}}", "phases.two.schedule: 3 is not a mapping", "its keys are accumulation"),
    ("phases={two: {trainable: bnn}}", "phases.two.trainable: 'bnn' is none of", "bn-not-first"),
    (
        "phases={two: {model: {arch: x}}}",
        "unknown key 'phases.two.model'",
        "allowed here are attack, objective",
        "reset",
    ),
    ("phases={two: {optimiser: {nesterov: true, momentum: 0}}}", "phases.two.optimiser: nesterov needs a momentum"),
    ("phases={two: 3}", "phases.two: 3 is not a mapping", "its keys are attack, objective"),
    ("phases={a b: {}}", "phases.a b: 'a b' cannot be a name"),
    ("a..b=1", "unknown key 'a'", "allowed here are"),
    ("threat.=1", "unknown key 'threat.'", "allowed here are eps, norm"),
]


@pytest.mark.parametrize(("override", "words"), [(row[0], row[1:]) for row in RECIPE_OVERRIDES])
def test_a_wrong_override_of_a_recipe_names_recipe_override_key_and_what_is_allowed(
    override: str, words: tuple[str, ...]
) -> None:
    message = complaint(lambda: load_recipe("sat", [override]))
    for word in ("sat with --set", override.split("=")[0].strip("."), *words):
        assert word in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["schedule.running_statistics_epochs=2", "model.normaliser=gn"],
            ("running_statistics_epochs is for batch norm", "'gn'", "set it to 0"),
        ),
        (
            ["model.batch_statistics=32", "model.normaliser=gn"],
            ("statistics is for batch norm", "'gn'", "leave it at process"),
        ),
        (
            ["model.batch_statistics=1"],
            ("model.batch_statistics", "1 is none of process, all and a number of images from 2 on"),
        ),
        (["model.batch_statistics=some"], ("model.batch_statistics", "'some' is none of process, all")),
        (
            ["schedule.accumulation=0"],
            ("schedule.accumulation", "greater than or equal to 1"),
        ),
        (
            ["optimiser.averaging.start_epoch=90"],
            ("averaging.start_epoch 90 is not before the end of the 90 epochs", "lower it, or set averaging: null"),
        ),
        (
            ["optimiser.averaging.start_epoch=5", "phases={one: {}, two: {schedule: {epochs: 3}}}"],
            ("phases.two: ", "averaging.start_epoch 5 is not before the end of the 3 epochs"),
        ),
    ],
)
def test_settings_that_would_do_nothing_together_are_refused(overrides: list[str], words: tuple[str, ...]) -> None:
    message = complaint(lambda: load_recipe("sat", overrides))
    assert message.startswith("sat")
    assert all(word in message for word in words)


STUDY_OVERRIDES = [
    ("recipes.sat.threat=3", "recipes.sat.threat: 3 is not a mapping", "its keys are eps, norm"),
    ("recipes.sat.threat.epsilon=3", "'recipes.sat.threat.epsilon'", "did you mean 'eps'?", "are eps, norm"),
    ("recipes.satt.threat.eps=3", "unknown recipe", "'satt'", "did you mean 'sat'?", "mbnat, nofrost, sat, st"),
    ("recipes.my.recipe.threat.eps=1", "unknown recipe", "'my'", "known are"),
    ("recipes={a.b: {}}", "recipes.a.b: 'a.b' cannot be a name", "letters, digits"),
    ("recipes={../up: {}}", "'../up' cannot be a name"),
    ("recipes=3", "recipes", "dictionary", "got 3"),
    ("name=a/b", "name: 'a/b' cannot be a name"),
    ("runs.recipe=[sat, sat]", "runs", "'sat' twice"),
    ("runs.seed=[1, 1]", "runs", "names 1 twice"),
    ("runs.seed=[-1]", "runs.seed.0", "greater than or equal to 0"),
    ("runs.seed=[]", "runs.seed", "at least 1"),
    ("runs.seed.0=3", "runs.seed", "a valid list", "got {'0': 3}"),
    ("suites.ood.quick.severities=[1, 9]", "suites.ood.quick.severities.1", "less than or equal to 5", "got 9"),
    ("suites.adversarial.quick.attacks.pgd-20.norm=l2", "quick.attacks.pgd-20", "set threat.norm instead"),
    ("suites.adversarial.quick.budget_curve.multiples=[1/0]", "budget_curve.multiples.0", "divides by zero"),
    ("suites.adversarial.quick.kind=ood", "suites.adversarial.quick.kind", "'adversarial'", "got 'ood'"),
    ("size=paper", "a size is not a setting", "choose one of those that the study has with --size"),
    ("scale.schedule.epochs=1", "unknown key 'scale'", "allowed here are"),
    ("recipes.st.phases={two: {schedule: {epoch: 1}}}", "'recipes.st.phases.two.schedule.epoch'", "mean 'epochs'?"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "words"), [(row[0], row[1:]) for row in STUDY_OVERRIDES])
def test_a_wrong_override_of_a_study_names_the_override_the_key_and_what_is_allowed(
    override: str, words: tuple[str, ...]
) -> None:
    message = complaint(lambda: load_study("digits", [override]))
    for word in ("--set", override.split("=")[0], *words):
        assert word in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("runs.recipe=[stt]", ("runs.recipe", "'stt'", "did you mean 'st'?", "mbnat, nofrost, sat, st")),
        (
            "recipes.sat.views.augmentation_sets=[augmix]",
            ("recipes.sat.views.augmentation_sets", "'augmix'", "known are deepaugment, tda", "augmentation.methods"),
        ),
        ("recipes.sat.views={augmentation_sets: [tda]}", None),
    ],
)
def test_parts_of_a_study_that_do_not_fit_each_other_are_named(override: str, words: tuple[str, ...] | None) -> None:
    if words is None:
        assert load_study("digits", [override]).recipes["sat"].views.augmentation_sets == ("tda",)
        return
    message = complaint(lambda: load_study("digits", [override]))
    assert all(word in message for word in ("digits", *words))


def test_an_augmentation_set_that_no_run_uses_need_not_be_made() -> None:
    overrides = ["augmentation.methods=[]", "recipes.sat.views.augmentation_sets=[tda]", "runs.recipe=[st]"]
    assert load_study("digits", overrides).augmentation.methods == ()


@pytest.mark.parametrize("override", ["epochs", "", "=", "=3", "  = 3"])
def test_an_override_that_is_no_assignment_shows_the_form(override: str) -> None:
    message = complaint(lambda: load_recipe("sat", [override]))
    assert repr(override) in message
    assert "key=value" in message


@pytest.mark.parametrize("value", ["[1", "{a: ", "'", "*nothing", "\x07"])
def test_an_override_whose_value_is_no_yaml_says_so(value: str) -> None:
    message = complaint(lambda: load_recipe("sat", [f"title={value}"]))
    assert f"--set {f'title={value}'!r}" in message
    assert "not valid YAML" in message


def test_the_override_that_is_wrong_is_named_among_many_and_a_fault_of_the_file_is_not_blamed_on_it(
    tmp_path: Path,
) -> None:
    message = complaint(lambda: load_recipe("sat", ["schedule.epochs=0", "title=fine"]))
    assert "schedule.epochs=0" in message
    assert "title=fine" not in message
    path = file(tmp_path, "base: sat\nschedule: {epochs: -1}\n")
    assert "--set" not in complaint(lambda: load_recipe(path, ["title=fine"]))
