"""Settings of attacks and objectives in a file: a mistake is one sentence, before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.errors import UserError

# What is set, and what the sentence names: the place, what is wrong there, what is allowed
RECIPE = [
    ("attack.stepz=3", "unknown key 'attack.stepz': did you mean 'steps'? allowed here are early_stop, eot, keep"),
    ("attack.deep.key=1", "unknown key 'attack.deep'"),
    ("attack.name=pdg", "attack.name: unknown attack 'pdg': did you mean 'pgd'?"),
    ("attack.steps=0", "attack.steps: input should be greater than 0, got 0"),
    ("attack.steps=true", "attack.steps: true is not a number"),
    ("attack.step_size=1/0", "attack.step_size: '1/0' divides by zero"),
    ("selection.attack.stepsize=1/255", "unknown key 'selection.attack.stepsize': did you mean 'step_size'?"),
    ("objective.beta=1", "unknown key 'objective.beta'"),
    ("objective.adversarial_weight=1.5", "objective.adversarial_weight: "),
    ("objective.name=satt", "objective.name: unknown objective 'satt': did you mean 'sat'?"),
    ("phases={two: {attack: {keep: first}}}", "phases.two.attack.keep: input should be 'best' or 'last'"),
]
STUDY = [
    ("recipes.sat.attack.stepz=3", "unknown key 'recipes.sat.attack.stepz': did you mean 'steps'?"),
    ("suites.adversarial.quick.attacks.pgd-20.step=3", "unknown key 'suites.adversarial.quick.attacks.pgd-20.step'"),
    (
        "suites.adversarial.quick.budget_curve.attack.rho=2",
        "suites.adversarial.quick.budget_curve.attack.rho: input should be",
    ),
]


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return str(caught.value)


def test_a_number_with_an_exponent_and_no_dot_is_a_number() -> None:
    """YAML 1.1 reads 1e-1 as text."""
    numbers = ["--set", "objective.beta=1e-1", "--set", "attack.step_size=1e-3"]
    shown = CliRunner().invoke(cli, ["recipes", "show", "trades", *numbers, "--json"], catch_exceptions=False)
    values = json.loads(shown.stdout)
    assert (values["objective"]["beta"], float(values["attack"]["step_size"])) == (0.1, 0.001)


@pytest.mark.parametrize(("override", "words"), RECIPE)
def test_a_recipe_with_a_wrong_setting_is_not_shown(override: str, words: str) -> None:
    message = refusal("recipes", "show", "sat", "--set", override)
    assert message.startswith(f"sat with --set {override!r}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(("override", "words"), STUDY)
@pytest.mark.parametrize("command", ["show", "select"])
def test_a_study_with_a_wrong_setting_is_neither_shown_nor_selected(
    command: str, override: str, words: str, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "params.yaml")) if command == "select" else ()
    message = refusal("study", command, "digits", "--set", override, *out)
    assert message.startswith(f"digits with --set {override!r}: ")
    assert words in message
    assert not list(tmp_path.iterdir())


def test_a_file_with_a_wrong_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: sat\nattack: {name: square, query: 10}\n")
    message = refusal("recipes", "show", str(path))
    assert message == (
        f"{path}: unknown key 'attack.query': did you mean 'queries'? "
        "allowed here are initial_share, queries, rescale_schedule, restarts"
    )


def test_a_wrong_setting_stops_a_training_and_an_evaluation_before_they_read_data(tmp_path: Path) -> None:
    folders = ("--dataset", str(tmp_path / "dataset"), "--out", str(tmp_path / "out"))
    message = refusal("train", "--recipe", "sat", "--set", "attack.stepz=3", *folders)
    assert message.startswith("sat with --set 'attack.stepz=3': unknown key 'attack.stepz': did you mean 'steps'?")
    arguments = ("evaluate", "--suite", "adversarial-quick", "--checkpoint", "none")
    message = refusal(*arguments, "--set", "attacks.pgd-20.stepz=3", *folders)
    assert message.startswith(
        "adversarial-quick with --set 'attacks.pgd-20.stepz=3': unknown key 'attacks.pgd-20.stepz'"
    )
