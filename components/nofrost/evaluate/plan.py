"""What an adversarial suite asks to be measured: its attacks and the points of its two curves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nofrost import attacks
from nofrost.attacks import check_attacks
from nofrost.config import AdversarialSuite, AttackSpec, PixelFraction, Threat
from nofrost.errors import UserError

RESERVED = ("clean", "worst-case", "through-clean-branch", "through-adversarial-branch")
WHOLE_RANGE = Fraction(1)  # the linf budget that reaches every image


@dataclass(frozen=True)
class Condition:
    """One attack at one budget. Two that are equal in all but their key are one measurement, wherever they stand.

    Args:
        key: where the suite names it, for error messages.
        attack: name and settings.
        norm, eps: the threat, `eps` in pixels of [0, 1].
        seed: of the attack's random choices.
        after: the attack before it in a cascade: this one is let loose only on what that one left right. None: on
            every image that is right when clean.
    """

    key: str = field(compare=False)
    attack: AttackSpec
    norm: str
    eps: Fraction
    seed: int
    after: Condition | None = None

    def create(self) -> attacks.Attack:
        """Return the attack.

        Raises:
            UserError: no attack has this name or setting; the sentence names the key of the suite.
        """
        settings = self.attack.settings()
        try:
            return attacks.create_attack(self.attack.name, norm=self.norm, eps=self.eps, seed=self.seed, **settings)
        except UserError as error:
            raise UserError(f"suite: {self.key}: {error}") from None

    @property
    def name(self) -> str:
        """A file name that is the same for equal conditions."""
        settings = {name: str(value) for name, value in self.attack.settings().items()}
        before = self.after.name if self.after else None
        identity = json.dumps([self.attack.name, settings, self.norm, str(self.eps), self.seed, before], sort_keys=True)
        return f"{self.attack.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class BudgetPoint:
    """A point of the budget curve: `text` such as 8/255, `multiple` of the threat's budget.

    Where the whole pixel range is no multiple of the budget (an l2 one, or zero), `multiple` is ``unbounded``.
    """

    condition: Condition
    text: str
    multiple: str
    unbounded: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the form that metrics files hold; `value` is the budget in pixels of [0, 1]."""
        return {
            "eps": self.text,
            "multiple": self.multiple,
            "value": float(self.condition.eps),
            "norm": self.condition.norm,
            "unbounded": self.unbounded,
        }


@dataclass(frozen=True)
class Plan:
    """All conditions of a suite: attacks by name, points of the steps curve by steps, points of the budget curve.

    `branch_attacks` are those that a mixture-BN model is also measured with branch by branch; in a cascade they are
    one of their own.
    """

    attacks: dict[str, Condition]
    branch_attacks: dict[str, Condition]
    steps: dict[int, Condition]
    budgets: tuple[BudgetPoint, ...]

    def conditions(self) -> list[Condition]:
        """Return every measurement once."""
        budgets = (point.condition for point in self.budgets)
        return list(dict.fromkeys((*self.attacks.values(), *self.steps.values(), *budgets)))


def make_plan(suite: AdversarialSuite, origin: str = "suite", overrides: Sequence[str] = ()) -> Plan:
    """Return what the suite asks for, after checking that every attack of it can be created.

    Args:
        origin: the suite's file, for the error.
        overrides: texts `key=value` on top of the file.

    Raises:
        UserError: an attack is unknown, cannot take its settings or has a reserved name; the sentence names the key.
    """
    for name in suite.attacks:
        if name in RESERVED:
            raise UserError(f"{origin}: attacks.{name}: the name is that of a result: choose another")
    check_attacks(suite, origin, overrides)
    chosen = suite.attacks if suite.branch_attacks is None else suite.branch_attacks
    plan = Plan(
        attacks=_attacks(suite, suite.attacks),
        branch_attacks=_attacks(suite, [name for name in suite.attacks if name in chosen]),
        steps=_steps(suite),
        budgets=_budgets(suite),
    )
    for condition in (*plan.conditions(), *property_attacks(suite).values()):
        condition.create()
    return plan


def property_attacks(suite: AdversarialSuite) -> dict[str, Condition]:
    """Return the attacks that properties of the suite are measured with: by the property, at the suite's threat."""
    if suite.properties is None:
        return {}
    chosen = {"model_smoothness": suite.properties.model_smoothness, "batch_norm": suite.properties.batch_norm}
    threat = suite.threat
    return {
        name: Condition(f"properties.{name}.attack", spec.attack, threat.norm, threat.eps.value, suite.seed)
        for name, spec in chosen.items()
        if spec is not None and spec.attack is not None
    }


def _attacks(suite: AdversarialSuite, names: Iterable[str]) -> dict[str, Condition]:
    """Return the conditions of these attacks; in a cascade each comes after the one before."""
    threat = suite.threat
    conditions: dict[str, Condition] = {}
    before: Condition | None = None
    for name in names:
        spec = suite.attacks[name]
        conditions[name] = Condition(f"attacks.{name}", spec, threat.norm, threat.eps.value, suite.seed, before)
        before = conditions[name] if suite.cascade else None
    return conditions


def _steps(suite: AdversarialSuite) -> dict[int, Condition]:
    curve = suite.steps_curve
    if curve is None:
        return {}
    threat, key = suite.threat, "steps_curve"
    specs = {steps: curve.attack.with_settings(steps=steps) for steps in sorted(set(curve.steps))}
    return {steps: Condition(key, spec, threat.norm, threat.eps.value, suite.seed) for steps, spec in specs.items()}


def _budgets(suite: AdversarialSuite) -> tuple[BudgetPoint, ...]:
    """Return the points by growing budget; the last is the whole pixel range, in linf whatever the threat's norm."""
    curve = suite.budget_curve
    if curve is None:
        return ()
    threat, key = suite.threat, "budget_curve.attack"
    linf = threat.norm == "linf"
    points = []
    for multiple in _by_size(curve.multiples):
        eps = multiple.value * threat.eps.value
        if not (linf and eps >= WHOLE_RANGE):
            condition = Condition(key, curve.attack, threat.norm, eps, suite.seed)
            points.append(BudgetPoint(condition, budget_text(threat, multiple), str(multiple)))
    widest = Condition(key, curve.attack, "linf", WHOLE_RANGE, suite.seed)
    share = str(WHOLE_RANGE / threat.eps.value) if linf and threat.eps.value else "unbounded"
    return (*points, BudgetPoint(widest, "1", share, unbounded=True))


def _by_size(multiples: Iterable[PixelFraction]) -> list[PixelFraction]:
    return sorted({multiple.value: multiple for multiple in multiples}.values(), key=lambda multiple: multiple.value)


def budget_text(threat: Threat, multiple: PixelFraction) -> str:
    """Return the budget `multiple` x eps as people write it: 3/2 of 8/255 is 12/255, not 4/85; 2 of 0.25 is 0.5."""
    numerator, slash, denominator = threat.eps.text.partition("/")
    scaled = multiple.value * Fraction(numerator)
    if not slash:
        return f"{float(scaled):g}"
    return f"{scaled}/{denominator}" if scaled.denominator == 1 else str(scaled / Fraction(denominator))
