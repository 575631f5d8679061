"""Alarms of an evaluation: run each check of :mod:`nofrost.evaluate.alarms` on the measurements that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nofrost.attacks import attack_class
from nofrost.errors import UserError
from nofrost.evaluate import alarms
from nofrost.evaluate.adversarial import probes
from nofrost.evaluate.adversarial.plan import Budget, SuitePlan
from nofrost.evaluate.alarms import AttackRun
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.batch_effects import batch_effects
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Engine
from nofrost.results import Alarm
from nofrost.statistics import Flags

BUDGET_SHARE = 1 / 4  # of the threat's budget: the step over which a gradient must lead uphill
LONGEST_STEP = 1 / 32  # of the pixel range; an l2 budget can be larger than any sensible step in every pixel


def check_gradients(engine: Engine, model: EvaluatedModel, plan: SuitePlan) -> None:
    """Check that the suite has an attack for this model: one without gradients, if the model has none.

    Raises:
        UserError: every attack of the suite needs a gradient, and the model has none.
    """
    gradient_attacks = [condition for condition in plan.attacks.values() if _needs_gradient(condition)]
    if len(gradient_attacks) == len(plan.attacks) and not probes.has_gradient(engine, model):
        raise UserError(
            f"suite: {gradient_attacks[0].key}: the model's outputs have no gradient with respect to the images: "
            "remove detach, no_grad or rounding from its forward, or add an attack without gradients, such as square"
        )


def judge(
    engine: Engine,
    model: EvaluatedModel,
    plan: SuitePlan,
    flags: Mapping[str, Flags],
    steps: Mapping[int, Flags],
    budgets: Sequence[tuple[Budget, Flags]],
) -> tuple[Alarm, ...]:
    """Return the alarms of an evaluation; call inside ``engine.ready``.

    Args:
        flags: by condition, [N] whether still right.
        steps: the steps curve, by growing steps.
        budgets: the budget curve, by growing budget, the unbounded point last.
    """
    suite_runs, curve_runs = _suite_runs(plan, flags), _curve_runs(plan, steps)
    every = [*suite_runs, *curve_runs]
    judged: list[Alarm | None] = [
        alarms.iterative_beats_single_step(suite_runs),
        alarms.pgd_agrees_with_apgd(every),
        alarms.random_start_changes_little(every),
        alarms.margin_agrees_with_cross_entropy(every),
        alarms.white_box_beats_black_box(suite_runs),
    ]
    if steps:
        judged.append(alarms.steps_converged(list(steps.items())))
    if budgets:
        judged += _budget_alarms(budgets)
    judged += _probe_alarms(engine, model, plan, flags["clean"], suite_runs)
    judged.append(alarms.robust_accuracy_is_plausible(flags["clean"], flags["worst-case"]))
    return tuple(alarm for alarm in judged if alarm is not None)


def not_converged(plan: SuitePlan, flags: Mapping[str, Flags], steps: Mapping[int, Flags]) -> tuple[str, ...]:
    """Return the conditions (attacks of the suite, ``worst-case``) whose accuracy more attack steps would lower.

    This can be decided for the attack of the steps curve (equal in all settings but the steps), for PGD by comparison
    with APGD-CE, and for the worst case if the curve comes as low. Cumulative accuracies are not judged.
    """
    suite_runs = _suite_runs(plan, flags)
    labels = {run.label for run in alarms.unconverged_pgd([*suite_runs, *_curve_runs(plan, steps)])}
    curve = list(steps.items())
    for run, condition in zip(suite_runs, _compared(plan).values(), strict=True):
        of_curve = any(_but_for_steps(condition) == _but_for_steps(other) for other in plan.steps.values())
        if of_curve and run.start is None and not alarms.is_converged((run.steps, run.right), curve):
            labels.add(run.label)
    if curve and not alarms.worst_case_is_converged(flags["worst-case"], curve):
        labels.add("worst-case")
    return tuple(name for name in flags if name in labels)


def _suite_runs(plan: SuitePlan, flags: Mapping[str, Flags]) -> list[AttackRun]:
    """Return the flags of each attack that others are compared with, and its traits, in the suite's order."""
    of_condition = {condition: flags[name] for name, condition in plan.attacks.items()}
    return [
        _run(name, condition, flags[name], None if condition.after is None else of_condition[condition.after])
        for name, condition in _compared(plan).items()
    ]


def _compared(plan: SuitePlan) -> dict[str, Condition]:
    """Return the attacks of the suite that say something of each other: those of all images, and not noise that is not
    cut to the threat."""
    return {name: condition for name, condition in plan.inside.items() if plan.suite.attacks[name].is_whole}


def _curve_runs(plan: SuitePlan, steps: Mapping[int, Flags]) -> list[AttackRun]:
    return [
        _run(f"{condition.attack.name} with {count} steps", condition, steps[count])
        for count, condition in plan.steps.items()
    ]


def _budget_alarms(budgets: Sequence[tuple[Budget, Flags]]) -> list[Alarm]:
    widest, right = budgets[-1]
    judged = [
        alarms.accuracy_falls_with_budget([(point.text, flags) for point, flags in budgets]),
        alarms.unbounded_attack_reaches_zero(right),
    ]
    if _steps(widest.condition) > 1:
        return judged
    why = "a single step overshoots large budgets: give the budget curve an iterative attack"
    return [
        each.model_copy(update={"status": "warn", "reason": f"{each.reason}; {why}"}) if each.status == "fail" else each
        for each in judged
    ]


def _run(label: str, condition: Condition, right: Flags, start: Flags | None = None) -> AttackRun:
    attack = condition.create()
    passes, crosses = attack.averaged_passes(), attack.crosses_the_ball()
    return AttackRun(label, attack.name, _steps(condition), right, start, passes, crosses)


def _needs_gradient(condition: Condition) -> bool:
    return attack_class(condition.attack.name).access in ("gradient", "both")


def _steps(condition: Condition) -> int:
    # An attack without the setting takes a single step.
    return int(getattr(condition.create(), "steps", 1))


def _but_for_steps(condition: Condition) -> Condition:
    return replace(condition, attack=condition.attack.with_settings(steps=None))


def _probe_alarms(
    engine: Engine, model: EvaluatedModel, plan: SuitePlan, clean: Flags, runs: Sequence[AttackRun]
) -> list[Alarm | None]:
    rows = probes.probed(np.arange(len(engine.sample)))
    random = probes.answers_at_random(engine, model, rows)
    attacks = [condition.attack.name for condition in plan.attacks.values()]
    return [
        *_gradient_alarms(engine, model, plan, clean, random),
        alarms.outputs_are_logits(probes.looks_like_probabilities(engine, model, rows)),
        alarms.answers_are_repeatable(random, runs),
        alarms.answers_ignore_the_batch(batch_effects(engine, model, engine.values(model.clean()))),
        alarms.forward_is_static(*probes.effects_of_forward(engine, model)),
        alarms.classes_suffice(probes.classes(engine, model), attacks),
    ]


def _gradient_alarms(
    engine: Engine, model: EvaluatedModel, plan: SuitePlan, clean: Flags, random: bool
) -> list[Alarm | None]:
    if not probes.has_gradient(engine, model):
        return [alarms.gradients_exist()]
    budget = next(iter(plan.attacks.values())).eps
    step = min(LONGEST_STEP, BUDGET_SHARE * float(budget))
    counts = probes.gradients(engine, model, probes.probed(np.flatnonzero(clean)), step)
    return [
        alarms.gradients_not_zero(counts.zero, counts.probed),
        alarms.cross_entropy_not_saturated(counts.saturated, counts.probed),
        # Differences of a model that draws random numbers are noise.
        None if random else alarms.gradients_match_differences(counts.disagree, counts.astray, counts.probed),
    ]
