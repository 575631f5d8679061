"""The plan of an adversarial suite: its attacks, the points of its two curves, and its measurements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial

from torch import Tensor

from nofrost.attacks import check_attacks
from nofrost.config import AdversarialSuite, PixelFraction, Threat
from nofrost.config.image_subset import ImageSubset
from nofrost.errors import UserError
from nofrost.evaluate.adversarial.measured_losses import answers, training_answers
from nofrost.evaluate.adversarial.mixtures import CLEAN, WORST_CASE, mixtures_of
from nofrost.evaluate.measuring.attacking import BRANCHES, Branch, EvaluatedModel, through
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.properties.suite import property_attacks, property_measurements
from nofrost.models import Mixture
from nofrost.results import BudgetPoint
from nofrost.statistics import Flags

RESERVED = (CLEAN, WORST_CASE, *map(through, BRANCHES))
WHOLE_RANGE = Fraction(1)  # the linf budget that reaches every image


@dataclass(frozen=True)
class Budget:
    """The budget of a point of the budget curve: `text` such as 8/255, `multiple` of the threat's budget.

    Where the whole pixel range is no multiple of the budget (an l2 one, or zero), `multiple` is ``unbounded``.
    """

    condition: Condition
    text: str
    multiple: str
    unbounded: bool = False

    def accuracy(self, flags: Flags) -> BudgetPoint:
        """Return the point of the budget curve that the flags [N] give; `value` is the budget in pixels of [0, 1]."""
        return BudgetPoint.of_flags(
            flags,
            eps=self.text,
            multiple=self.multiple,
            value=float(self.condition.eps),
            norm=self.condition.norm,
            unbounded=self.unbounded,
        )


@dataclass(frozen=True)
class SuiteMeasurements:
    """The measurements of a suite by their role in the result; one measurement may have several roles.

    Args:
        clean: the predictions on clean images.
        attacks: by the name of the attack.
        through: by branch of a mixture-BN model and attack: the deployed mixture on images made against that branch.
        steps: the steps curve, by growing steps.
        budgets: the budget curve, by growing budget.
        branches: by the branch of a mixture-BN model and the condition, ``clean`` among them.
        properties: by name.
        losses: by condition, of what every image is answered with; those of attacks are the measurements of `attacks`.
        training: of images of the training split; None where the suite asks for none.
        mixtures: by mixture of a mixture-BN model and the condition, ``clean`` among them.
    """

    clean: Measurement
    attacks: dict[str, Measurement]
    through: dict[Branch, dict[str, Measurement]]
    steps: dict[int, Measurement]
    budgets: tuple[tuple[Budget, Measurement], ...]
    branches: dict[Branch, dict[str, Measurement]]
    properties: dict[str, Measurement]
    losses: dict[str, Measurement]
    training: Measurement | None
    mixtures: dict[Mixture, dict[str, Measurement]]

    @property
    def unique(self) -> list[Measurement]:
        """Every measurement once, each after those that it depends on."""
        ordered = (
            self.clean,
            *self.attacks.values(),
            *_of_branches(self.through),
            *self.steps.values(),
            *(measurement for _, measurement in self.budgets),
            *_of_branches(self.branches),
            *self.properties.values(),
            *self.losses.values(),
            *([self.training] if self.training else []),
            *(measurement for each in self.mixtures.values() for measurement in each.values()),
        )
        return list({each.name: each for measurement in ordered for each in measurement.in_order()}.values())


@dataclass(frozen=True)
class SuitePlan:
    """All conditions of a suite: attacks by name, points of the steps curve by steps, points of the budget curve.

    `branch_attacks` are the attacks that are also run on each branch of a mixture-BN model; in a suite with a cascade
    they form a cascade of their own.
    """

    suite: AdversarialSuite
    attacks: dict[str, Condition]
    branch_attacks: dict[str, Condition]
    steps: dict[int, Condition]
    budgets: tuple[Budget, ...]

    def conditions(self) -> list[Condition]:
        """Return every condition once."""
        budgets = (point.condition for point in self.budgets)
        return list(dict.fromkeys((*self.attacks.values(), *self.steps.values(), *budgets)))

    @cached_property
    def inside(self) -> dict[str, Condition]:
        """The attacks within the threat: not noise that is not cut to it."""
        return {name: condition for name, condition in self.attacks.items() if condition.create().stays_inside()}

    def counted(self, names: Iterable[str]) -> list[str]:
        """Return those of these attacks that count in a worst case: the ones inside the threat; all of them where the
        suite has nothing else."""
        return [name for name in names if name in self.inside or not self.inside]

    def check(self, classes: int, images: Tensor) -> None:
        """Check that every attack is defined for a model of `classes` classes and for such images, [n, C, H, W].

        Raises:
            UserError: one is not; the message names its key.
        """
        for condition in (*self.conditions(), *self.branch_attacks.values(), *property_attacks(self.suite).values()):
            condition.check(classes, images)
        if self.suite.properties and self.suite.properties.tilting_angle and classes != 2:
            raise UserError(
                f"suite: properties.tilting_angle: it is for linear classifiers of two classes, and the model has "
                f"{classes}: leave it out"
            )

    def measurements(self, model: EvaluatedModel, sample: Sample, training: Sample | None = None) -> SuiteMeasurements:
        """Return everything that the suite measures of each image.

        Args:
            sample: all images of the evaluation.
            training: images of the training split, where the suite asks for them.

        Raises:
            UserError: the model does not fit a property, or no image is in a subset; the message names the key.
        """
        with_losses = self.suite.losses
        attack = partial(answers, model) if self.suite.attacks_all_images else model.attacked
        attacks = {
            name: _on_subset(attack(condition), self.suite.attacks[name], sample, f"attacks.{name}")
            for name, condition in self.attacks.items()
        }
        properties = self.suite.properties or ImageSubset()
        losses = {CLEAN: answers(model)} if with_losses or training is not None else {}
        return SuiteMeasurements(
            clean=model.clean(),
            attacks=attacks,
            through={
                branch: {name: model.attacked_through(each, branch) for name, each in self.branch_attacks.items()}
                for branch in model.branches
            },
            steps={steps: attack(condition) for steps, condition in self.steps.items()},
            budgets=tuple((point, attack(point.condition)) for point in self.budgets),
            branches={
                branch: {
                    "clean": model.clean(branch),
                    **{name: model.attacked(each, branch) for name, each in self.branch_attacks.items()},
                }
                for branch in model.branches
            },
            properties={
                name: _on_subset(measurement, properties, sample, "properties")
                for name, measurement in property_measurements(model.network, self.suite).items()
            },
            losses=losses | (attacks if with_losses else {}),
            training=None if training is None else training_answers(model, training),
            mixtures={each: self._of_mixture(model, each.simplest()) for each in mixtures_of(self.suite.mixtures)}
            if model.branches
            else {},
        )

    def _of_mixture(self, model: EvaluatedModel, mixture: Mixture) -> dict[str, Measurement]:
        attacked = {name: model.attacked(each, mixture) for name, each in self.branch_attacks.items()}
        return {CLEAN: model.clean(mixture), **attacked}


def make_plan(suite: AdversarialSuite, origin: str = "suite", overrides: Sequence[str] = ()) -> SuitePlan:
    """Return the plan of a suite, after checking that every attack of it can be created.

    Args:
        origin: the suite's file, for the error.
        overrides: texts `key=value` on top of the file.

    Raises:
        UserError: an attack is unknown, cannot take its settings or has a reserved name; the message names the key.
    """
    for name in suite.attacks:
        if name in RESERVED:
            raise UserError(f"{origin}: attacks.{name}: the name is that of a result: choose another")
    check_attacks(suite, origin, overrides)
    whole = [name for name, attack in suite.attacks.items() if attack.is_whole]
    branch_attacks = whole if suite.branch_attacks is None else suite.branch_attacks
    plan = SuitePlan(
        suite=suite,
        attacks=_attacks(suite, suite.attacks),
        branch_attacks=_attacks(suite, [name for name in suite.attacks if name in branch_attacks]),
        steps=_steps(suite),
        budgets=_budgets(suite),
    )
    for condition in (*plan.conditions(), *property_attacks(suite).values()):
        condition.create()
    # Attacks after it would be of the images that it leaves, and so would the worst case, in which it does not count.
    if suite.cascade and plan.inside and (outside := set(plan.attacks) - set(plan.inside)):
        raise UserError(
            f"{origin}: attacks.{min(outside)}: noise that is not cut to the threat (clip: false) counts in no worst "
            "case, and in a cascade later attacks get the images that it leaves: drop cascade, or cut it"
        )
    return plan


def _on_subset(measurement: Measurement, subset: ImageSubset, sample: Sample, key: str) -> Measurement:
    try:
        return measurement.on(subset, sample)
    except UserError as error:
        raise UserError(f"suite: {key}.classes: {error}") from None


def _of_branches(by_branch: Mapping[Branch, Mapping[str, Measurement]]) -> Iterable[Measurement]:
    return (measurement for by_condition in by_branch.values() for measurement in by_condition.values())


def _attacks(suite: AdversarialSuite, names: Iterable[str]) -> dict[str, Condition]:
    """Return the conditions of these attacks; in a cascade each comes after the one before."""
    threat = suite.threat
    conditions: dict[str, Condition] = {}
    before: Condition | None = None
    for name in names:
        spec = suite.attacks[name].spec()
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


def _budgets(suite: AdversarialSuite) -> tuple[Budget, ...]:
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
            points.append(Budget(condition, budget_text(threat, multiple), str(multiple)))
    widest = Condition(key, curve.attack, "linf", WHOLE_RANGE, suite.seed)
    share = str(WHOLE_RANGE / threat.eps.value) if linf and threat.eps.value else "unbounded"
    return (*points, Budget(widest, "1", share, unbounded=True))


def _by_size(multiples: Iterable[PixelFraction]) -> list[PixelFraction]:
    return sorted({multiple.value: multiple for multiple in multiples}.values(), key=lambda multiple: multiple.value)


def budget_text(threat: Threat, multiple: PixelFraction) -> str:
    """Return `multiple` times eps in the usual notation: 3/2 of 8/255 is 12/255, not 4/85; 2 of 0.25 is 0.5."""
    numerator, slash, denominator = threat.eps.text.partition("/")
    scaled = multiple.value * Fraction(numerator)
    if not slash:
        return f"{float(scaled):g}"
    return f"{scaled}/{denominator}" if scaled.denominator == 1 else str(scaled / Fraction(denominator))
