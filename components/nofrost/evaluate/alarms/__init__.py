"""Signs that an attack was too weak to mean anything, from the measured numbers alone.

If few attacks succeed, either the model is robust or the attacks were misled (gradient masking: Athalye et al. 2018;
Carlini et al. 2019, "On evaluating adversarial robustness"). Each function looks for one sign of the latter, and states
its reason with numbers. All comparisons are paired, on the same images, by the exact McNemar test, so that a few images
that change sides raise no alarm. There is no alarm for what was not measured.
"""

from nofrost.evaluate.alarms.alarm import AttackRun
from nofrost.evaluate.alarms.attacks import (
    iterative_beats_single_step,
    margin_agrees_with_cross_entropy,
    pgd_agrees_with_apgd,
    random_start_changes_little,
    robust_accuracy_is_plausible,
    unconverged_pgd,
    white_box_beats_black_box,
)
from nofrost.evaluate.alarms.curves import (
    accuracy_falls_with_budget,
    is_converged,
    steps_converged,
    unbounded_attack_reaches_zero,
    worst_case_is_converged,
)
from nofrost.evaluate.alarms.model import (
    answers_are_repeatable,
    answers_ignore_the_batch,
    classes_suffice,
    cross_entropy_not_saturated,
    forward_is_static,
    gradients_exist,
    gradients_match_differences,
    gradients_not_zero,
    outputs_are_logits,
)

__all__ = [
    "AttackRun",
    "accuracy_falls_with_budget",
    "answers_are_repeatable",
    "answers_ignore_the_batch",
    "classes_suffice",
    "cross_entropy_not_saturated",
    "forward_is_static",
    "gradients_exist",
    "gradients_match_differences",
    "gradients_not_zero",
    "is_converged",
    "iterative_beats_single_step",
    "margin_agrees_with_cross_entropy",
    "outputs_are_logits",
    "pgd_agrees_with_apgd",
    "random_start_changes_little",
    "robust_accuracy_is_plausible",
    "steps_converged",
    "unbounded_attack_reaches_zero",
    "unconverged_pgd",
    "white_box_beats_black_box",
    "worst_case_is_converged",
]
