"""The suites that come with the package, and own ones: what they ask to be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nofrost.attacks import attack_settings, create_attack, list_attacks
from nofrost.attacks.square import Square
from nofrost.config import AdversarialSuite, AttackSpec, load_suite, shipped_names
from nofrost.errors import UserError
from nofrost.evaluate.adversarial.plan import SuitePlan, make_plan

# By suite: its threat, its attacks, the points of its curves, and how many measurements that is, each counted once
SHIPPED: dict[str, tuple[str, list[str], list[int], list[str], int]] = {
    "adversarial-quick": (
        "linf 8/255",
        ["fgsm", "pgd-20", "apgd-ce-100", "square-200"],
        [1, 2, 5, 10, 20, 50, 100],
        ["2/255", "4/255", "8/255", "12/255", "16/255", "1"],
        4 + 6 + 5,
    ),
    "adversarial-standard": (
        "linf 8/255",
        ["apgd-ce", "apgd-t", "fab-t", "square"],
        [1, 10, 20, 50, 100],
        ["4/255", "8/255", "16/255", "1"],
        4 + 4 + 3,
    ),
    "adversarial-wang2022": (
        "linf 8/255",
        [
            *("pgd-20", "apgd-ce-20", "apgd-dlr-20", "mim-20", "cw-20", "pgd-targeted-20"),
            *("rays-400", "square-400", "autoattack-paper"),
        ],
        [1, 2, 5, 10, 20, 50, 100],
        ["8/255", "10/255", "12/255", "14/255", "16/255", "1"],
        9 + 6 + 5,
    ),
    "adversarial-zeise2025": ("linf 8/255", ["pgd-100"], [10, 20, 50, 100], [], 1 + 4),
    "adversarial-galloway2019": ("linf 0.0075", ["pgd-20"], [10, 20, 50, 100], [], 1 + 4),
    "adversarial-galloway2019-l2": ("l2 0.4157", ["pgd-20"], [10, 20, 50, 100], [], 1 + 4),
    "adversarial-galloway2019-mnist": ("linf 1/10", ["fgsm", "bim-100"], [10, 20, 50, 100], [], 2 + 4),
    "adversarial-galloway2019-linear": ("linf 1/10", ["fgsm", "bim-100"], [10, 20, 50, 100], [], 2 + 4),
    "adversarial-galloway2019-noise": ("linf 1", ["awgn-mnist", "awgn-cifar10"], [], [], 2),
    "adversarial-galloway2019-imagenet": ("linf 0.00678", ["pgd-20", "awgn"], [10, 20, 50], [], 2 + 3),
    "adversarial-galloway2019-quarter": ("linf 1/4", ["fgsm"], [], [], 1),
    **{
        f"adversarial-wang2022-eps-{eps}": (f"linf {eps}/255", ["pgd-10", "pgd-50"], [10, 20, 50, 100], [], 2 + 4)
        for eps in (2, 4)
    },
    "adversarial-xie2020": (
        "linf 16/255",
        [f"pgd-targeted-{steps}" for steps in (10, 20, 100, 500, 2000)],
        [10, 20, 100, 500, 2000],
        [],
        5,
    ),
}


def suite_of(name: str | Path, *overrides: str) -> AdversarialSuite:
    suite = load_suite(name, overrides)
    assert isinstance(suite, AdversarialSuite)
    return suite


def plan_of(name: str) -> SuitePlan:
    return make_plan(suite_of(name))


def test_the_table_names_every_shipped_suite_of_attacks() -> None:
    assert set(SHIPPED) == {name for name in shipped_names("suite") if name.startswith("adversarial")}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_plans_what_its_file_says(name: str) -> None:
    threat, attacks, steps, budgets, total = SHIPPED[name]
    suite, plan = suite_of(name), plan_of(name)
    assert f"{suite.threat.norm} {suite.threat.eps}" == threat
    assert list(plan.attacks) == attacks
    assert list(plan.steps) == steps
    assert [point.text for point in plan.budgets] == budgets
    assert len(plan.conditions()) == total


@pytest.mark.parametrize("name", list_attacks())
def test_every_attack_can_be_written_in_a_suite_with_its_own_defaults(name: str) -> None:
    own = {"norm", "eps", "seed"}
    given = {key: value for key, value in attack_settings(name).items() if key not in own and value is not None}
    spec = AttackSpec(name=name, **given)
    assert create_attack(name, eps=0.1, **spec.settings()) == create_attack(name, eps=0.1)


def test_the_standard_suite_is_autoattack_one_after_the_other() -> None:
    plan = plan_of("adversarial-standard")
    autoattack: Any = create_attack("autoattack", eps="8/255")
    members = [condition.create() for condition in plan.attacks.values()]
    assert members == list(autoattack.members(10))
    before = [condition.after.attack.name if condition.after else None for condition in plan.attacks.values()]
    assert before == [None, "apgd-ce", "apgd-t", "fab-t"]


def test_square_shrinks_its_windows_over_a_short_budget_unless_a_paper_prints_otherwise() -> None:
    rescaled = {}
    for name in SHIPPED:
        for attack in (condition.create() for condition in plan_of(name).conditions()):
            if isinstance(attack, Square):
                rescaled[name] = (attack.queries, attack.rescale_schedule)
    assert rescaled == {
        "adversarial-quick": (200, True),
        "adversarial-standard": (5000, False),
        "adversarial-wang2022": (400, False),
    }


def test_a_cascade_tells_attacks_apart_by_what_came_before(make_suite: Any) -> None:
    attacks = {name: {"name": "pgd", "steps": 5} for name in ("first", "second", "third")}
    plan = make_plan(make_suite(attacks=attacks, cascade=True))
    assert len({condition.name for condition in plan.attacks.values()}) == 3
    alone = make_plan(make_suite(attacks=attacks, cascade=False))
    assert len(alone.conditions()) == 1
    assert alone.attacks["first"] == plan.attacks["first"]


def test_branches_of_a_cascade_run_a_separate_cascade(make_suite: Any) -> None:
    attacks = {name: {"name": name} for name in ("fgsm", "pgd", "bim")}
    plan = make_plan(make_suite(attacks=attacks, cascade=True, branch_attacks=["bim", "fgsm"]))
    assert list(plan.branch_attacks) == ["fgsm", "bim"]
    assert plan.branch_attacks["bim"].after == plan.attacks["fgsm"]
    assert plan.attacks["bim"].after == plan.attacks["pgd"]


def test_the_attack_of_the_steps_curve_takes_settings(make_suite: Any) -> None:
    curve = {"attack": {"name": "pgd-targeted", "step_size": "1/255"}, "steps": [20, 10]}
    plan = make_plan(make_suite(steps_curve=curve))
    assert {steps: condition.attack.settings() for steps, condition in plan.steps.items()} == {
        10: {"steps": 10, "step_size": "1/255"},
        20: {"steps": 20, "step_size": "1/255"},
    }


OWN = """\
base: adversarial-quick
title: Mine
citation: own
protocol: quick
attacks: {mine: {name: pgd, steps: 200}}
"""


def test_a_user_suite_extends_a_shipped_one_and_round_trips_through_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN + "cascade: true\nbatch_size: 64\n", encoding="utf-8")
    suite = suite_of(path)
    assert list(suite.attacks) == ["fgsm", "pgd-20", "apgd-ce-100", "square-200", "mine"]
    assert suite.cascade
    assert AdversarialSuite.model_validate(suite.as_json()) == suite


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cascad: true", r"mine\.yaml: unknown key 'cascad': did you mean 'cascade'\?"),
        ("cascade: 3", r"mine\.yaml: cascade: "),
        ("batch_size: 0", r"mine\.yaml: batch_size: .*greater than or equal to 1"),
        ("properties: {margn: true}", r"mine\.yaml: unknown key 'properties\.margn'"),
        (
            "steps_curve: {attack: {name: pgd, step: 3}}",
            r"mine\.yaml: unknown key 'steps_curve\.attack\.step': did you",
        ),
        ("steps_curve: {attack: {name: pgd, steps: 3}}", r"steps_curve\.attack: steps 3 is a setting of the attack"),
        ("steps_curve: {attack: [pgd]}", r"steps_curve\.attack: \['pgd'\] is not a mapping"),
        ("branch_attacks: [nope]", r"unknown attack in branch_attacks 'nope'"),
        ("threat: {eps: -1}", r"threat\.eps: '-1' is negative"),
        ("threat: {eps: 300}", r"threat: eps 300 is larger than the whole pixel range"),
        (
            "attacks: {square: {query: 5}}",
            r"mine\.yaml: unknown key 'attacks\.square\.query': did you mean 'queries'\? "
            r"allowed here are initial_share, queries, rescale_schedule, restarts$",
        ),
        ("attacks: {square: {queries: true}}", r"attacks\.square\.queries: true is not a number"),
        ("attacks: {mim: {decay: .nan}}", r"attacks\.mim\.decay: input should be a finite number, got nan"),
        ("attacks: {pgd: {step_size: 1/0}}", r"attacks\.pgd\.step_size: '1/0' divides by zero"),
        ("attacks: {mine: {name: pdg}}", r"attacks\.mine\.name: unknown attack 'pdg': did you mean 'pgd'\?"),
        ("attacks: {pgd: {eps: 1/255}}", r"attacks\.pgd: eps is not set for one attack: set threat\.eps instead"),
        ("steps_curve: {attack: fgsm}", r"suite: steps_curve: attack 'fgsm': unknown setting 'steps'"),
        ("attacks: {autoattack: {version: fast}}", r"attacks\.autoattack\.version: .*'rand', got 'fast'"),
    ],
)
def test_an_error_in_a_user_suite_names_file_and_key(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "\n".join(each for each in OWN.splitlines() if each.split(":")[0] != line.split(":")[0])
    path.write_text(f"{text}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        make_plan(suite_of(path), str(path))
