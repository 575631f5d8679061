"""From measurements to alarms: which numbers each check of :mod:`nofrost.evaluate.alarms` is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nofrost.evaluate import alarms, probes
from nofrost.evaluate.alarms import Alarm, AttackRun
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.plan import BudgetPoint, Condition, Plan
from nofrost.evaluate.sample import Flags


def judge(
    measurement: Measurement,
    plan: Plan,
    flags: Mapping[str, Flags],
    steps: Mapping[int, Flags],
    budgets: Sequence[tuple[BudgetPoint, Flags]],
) -> tuple[Alarm, ...]:
    """Return the alarms of an evaluation; call inside ``measurement.ready()``.

    Args:
        flags: by condition, [N] whether still right.
        steps: the steps curve, by growing steps.
        budgets: the budget curve, by growing budget, the unbounded point last.
    """
    suite_runs = [_run(name, condition, flags[name]) for name, condition in plan.attacks.items()]
    curve_runs = [
        _run(f"{condition.attack.name} with {count} steps", condition, steps[count])
        for count, condition in plan.steps.items()
    ]
    found: list[Alarm | None] = [
        alarms.iterative_beats_single_step(suite_runs),
        alarms.pgd_agrees_with_apgd([*suite_runs, *curve_runs]),
        alarms.white_box_beats_black_box(suite_runs),
    ]
    if steps:
        found.append(alarms.steps_converged(list(steps.items())))
    if budgets:
        found += _budget_alarms(budgets)
    found += _probes(measurement)
    found.append(alarms.robust_accuracy_is_plausible(flags["clean"], flags["worst-case"]))
    return tuple(alarm for alarm in found if alarm is not None)


def _budget_alarms(budgets: Sequence[tuple[BudgetPoint, Flags]]) -> list[Alarm]:
    widest, right = budgets[-1]
    found = [
        alarms.accuracy_falls_with_budget([(point.text, flags) for point, flags in budgets]),
        alarms.unbounded_attack_reaches_zero(right),
    ]
    if _steps(widest.condition) > 1:
        return found
    why = "a single step overshoots large budgets: give the budget curve an iterative attack"
    return [
        replace(each, status="warn", reason=f"{each.reason}; {why}") if each.status == "fail" else each
        for each in found
    ]


def _run(label: str, condition: Condition, right: Flags) -> AttackRun:
    return AttackRun(label, condition.attack.name, _steps(condition), right)


def _steps(condition: Condition) -> int:
    return int(getattr(condition.create(), "steps", 1))  # an attack without the setting takes a single step


def _probes(measurement: Measurement) -> list[Alarm | None]:
    right = probes.probed(np.flatnonzero(measurement.correct()))
    rows = probes.probed(np.arange(len(measurement.sample)))
    return [
        alarms.gradients_not_zero(probes.zero_gradients(measurement, right), len(right)),
        alarms.outputs_are_logits(probes.looks_like_probabilities(measurement, rows)),
        alarms.answers_are_repeatable(probes.answers_at_random(measurement, rows)),
    ]
