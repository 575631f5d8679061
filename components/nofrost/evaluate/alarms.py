"""Signs that an attack was too weak to mean anything, told from the measured numbers alone.

A low number of successful attacks has two explanations: a robust model, or an attack that could not see its way
(gradient masking: Athalye et al. 2018; Carlini et al. 2019, "On evaluating adversarial robustness"). Each function
looks for one sign of the second, and gives its reason in words and numbers. All comparisons are paired, on the same
images, by the exact McNemar test, so that a few images changing sides raise nothing. What was not measured has no
alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from nofrost.evaluate.sample import Flags
from nofrost.statistics import Proportion, paired_comparison

Status = Literal["pass", "warn", "fail"]

DOUBTFUL = 0.05  # p-value below which a difference is worth a warning
CLEAR = 0.01  # p-value below which a difference that should not exist is a failure
NEGLIGIBLE = 0.005  # accuracy difference (half a point) that raises nothing, however many images confirm it
CONVERGED_WITHIN = 0.01  # accuracy that the last doubling of steps may still take (one point)
PGD_GAP = 0.03  # accuracy by which PGD may lie above APGD at comparable steps: its fixed step costs a point or two
UNBOUNDED_LEFT = 0.01  # accuracy that a gradient attack's coarse steps may leave in the whole pixel range
ZERO_GRADIENTS_WARN, ZERO_GRADIENTS_FAIL = 0.01, 0.10  # share of images without a gradient

MANY_STEPS = 5  # steps from which an iterative attack, with its random start, should beat one step of full length

# Attacks that climb the same loss, the cross-entropy, so that more steps cannot honestly do worse.
CROSS_ENTROPY_ATTACKS = frozenset({"fgsm", "bim", "pgd", "mim", "apgd-ce"})
BLACK_BOX_ATTACKS = frozenset({"square", "rays"})


@dataclass(frozen=True)
class Alarm:
    """One check: ``pass``, ``warn`` (the numbers need a second look) or ``fail`` (do not trust them), and why."""

    name: str
    status: Status
    reason: str

    def as_json(self) -> dict[str, str]:
        """Return the form that metrics files hold."""
        return asdict(self)


@dataclass(frozen=True)
class AttackRun:
    """What one attack left: `label` for the reader, the attack's name and steps, and [N] whether still right."""

    label: str
    attack: str
    steps: int
    right: Flags


def iterative_beats_single_step(runs: Sequence[AttackRun]) -> Alarm | None:
    """Many small steps must find at least what one large step finds; None when the suite has no such pair.

    When even the best iterative attack finds less, the gradient misleads whoever follows it: the model masks it. When
    only some do, those attacks are weak (their steps too short to reach the corners of the ball, say).
    """
    name = "iterative-beats-single-step"
    comparable = [run for run in runs if run.attack in CROSS_ENTROPY_ATTACKS]
    single = _strongest([run for run in comparable if run.steps == 1])
    many = sorted((run for run in comparable if run.steps >= MANY_STEPS), key=lambda run: int(run.right.sum()))
    if single is None or not many:
        return None
    best, worst = many[0], many[-1]
    if _rises(single.right, best.right, CLEAR):
        return Alarm(name, "fail", f"{_left(best)} but {_left(single)}: following the gradient leads astray")
    if _rises(single.right, worst.right, CLEAR):
        return Alarm(name, "warn", f"{_left(worst)} but {_left(single)}: do not rely on {worst.label}")
    return Alarm(name, "pass", f"{_left(worst)}, {_left(single)}")


def unbounded_attack_reaches_zero(right: Flags) -> Alarm:
    """With the whole pixel range as budget every image can become any other, so accuracy must fall to 0 %."""
    name = "unbounded-attack-reaches-zero"
    left = Proportion(int(right.sum()), len(right))
    reason = f"with the whole pixel range as budget {_share(left)} stay right"
    if left.correct == 0:
        return Alarm(name, "pass", reason)
    if left.interval[0] > UNBOUNDED_LEFT:
        return Alarm(name, "fail", f"{reason}, which must be none: the attack cannot see its way")
    return Alarm(name, "warn", f"{reason}, which should be none: the attack is weak on a few images")


def accuracy_falls_with_budget(points: Sequence[tuple[str, Flags]]) -> Alarm:
    """A larger ball holds the smaller one, so accuracy may not rise.

    Args:
        points: budget in words and [N] whether still right, by growing budget; at least one.
    """
    name = "accuracy-falls-with-budget"
    rise = _first_rise(points, CLEAR)
    if rise is None:
        return Alarm(name, "pass", "accuracy does not rise as the budget grows")
    (small, few), (large, many) = rise
    return Alarm(name, "fail", f"{_count(few)} stay right at {small} but {_count(many)} at the larger {large}")


def steps_converged(points: Sequence[tuple[int, Flags]]) -> Alarm:
    """Doubling the steps once more must change little; otherwise accuracy would fall further with a stronger attack.

    Args:
        points: steps and [N] whether still right, by growing steps; at least one. The runs are independent.
    """
    name = "steps-converged"
    last, right = points[-1]
    halves = [point for point in points if point[0] <= last / 2]
    if not halves:
        return Alarm(name, "warn", f"the curve has no point at half of its last {last} steps: convergence is unknown")
    rise = _first_rise([(f"{steps} steps", flags) for steps, flags in points], CLEAR)
    if rise is not None:
        (small, few), (large, many) = rise
        return Alarm(
            name, "warn", f"not converged: {_count(few)} stay right after {small} but {_count(many)} after {large}"
        )
    half, before = halves[-1]
    test = paired_comparison(before, right)
    change = f"{_count(before)} stay right after {half} steps and {_count(right)} after {last}"
    if test["difference"] > CONVERGED_WITHIN and test["p_value"] < DOUBTFUL:
        return Alarm(name, "warn", f"not converged: {change}, so a longer attack would find more")
    return Alarm(name, "pass", change)


def pgd_agrees_with_apgd(runs: Sequence[AttackRun]) -> Alarm | None:
    """PGD far above APGD-CE at comparable steps (up to a factor of two) has not converged; None without such a pair."""
    name = "pgd-agrees-with-apgd"
    apgd = [run for run in runs if run.attack == "apgd-ce"]
    pairs = []
    for run in (run for run in runs if run.attack == "pgd"):
        comparable = [other for other in apgd if run.steps <= 2 * other.steps and other.steps <= 2 * run.steps]
        if comparable:
            pairs.append((run, min(comparable, key=lambda other: abs(other.steps - run.steps))))
    if not pairs:
        return None
    pgd, closest = max(pairs, key=lambda pair: int(pair[0].right.sum()) - int(pair[1].right.sum()))
    test = paired_comparison(pgd.right, closest.right)
    reason = f"{_left(pgd)}, {_left(closest)}"
    if test["difference"] > PGD_GAP and test["p_value"] < DOUBTFUL:
        return Alarm(name, "warn", f"{reason}: PGD has not converged, do not rely on its number")
    return Alarm(name, "pass", reason)


def white_box_beats_black_box(runs: Sequence[AttackRun]) -> Alarm | None:
    """An attack without gradients must not find clearly more than the best with them; None without both kinds."""
    name = "white-box-beats-black-box"
    black = _strongest([run for run in runs if run.attack in BLACK_BOX_ATTACKS])
    white = _strongest([run for run in runs if run.attack not in BLACK_BOX_ATTACKS])
    if black is None or white is None:
        return None
    reason = f"{_left(white)}, {_left(black)}"
    if _rises(black.right, white.right, DOUBTFUL):
        return Alarm(name, "warn", f"{reason}: attacks with gradients find less than one without")
    return Alarm(name, "pass", reason)


def gradients_not_zero(zero: int, probed: int) -> Alarm | None:
    """Images without a gradient cannot be attacked by one; None when no image was right, so none was probed."""
    if probed == 0:
        return None
    name, share = "gradients-not-zero", zero / probed
    reason = f"the gradient of the cross-entropy is zero on {zero} of {probed} images"
    if share > ZERO_GRADIENTS_FAIL:
        return Alarm(name, "fail", f"{reason}: gradient attacks are blind there")
    return Alarm(name, "warn" if share > ZERO_GRADIENTS_WARN else "pass", reason)


def outputs_are_logits(probabilities: bool) -> Alarm:
    """A softmax inside the model flattens the gradient of every loss on top of it."""
    name = "outputs-are-logits"
    if probabilities:
        return Alarm(
            name, "warn", "outputs are non-negative and sum to 1: let the model return logits, without softmax"
        )
    return Alarm(name, "pass", "outputs are not probabilities")


def answers_are_repeatable(random: bool) -> Alarm:
    """A model that draws random numbers must be attacked in expectation, which no attack of a plain suite does."""
    name = "answers-are-repeatable"
    if random:
        return Alarm(name, "warn", "two passes over the same images differ: attacks must average over the randomness")
    return Alarm(name, "pass", "two passes over the same images agree")


def robust_accuracy_is_plausible(clean: Flags, worst: Flags) -> Alarm:
    """Note the two ends at which the comparison of attacks says nothing."""
    name = "robust-accuracy-is-plausible"
    if not clean.any():
        return Alarm(name, "warn", "no image is right even before an attack: there is nothing to measure")
    if int(worst.sum()) == int(clean.sum()):
        return Alarm(
            name, "warn", f"no attack changed one of the {_count(clean)} right images: is the budget too small?"
        )
    if not worst.any():
        return Alarm(name, "pass", "no image withstands all attacks: the model has no robustness at this budget")
    return Alarm(name, "pass", f"{_count(worst)} withstand all attacks, of {int(clean.sum())} right when clean")


def _first_rise(
    points: Sequence[tuple[str, Flags]], p_value: float
) -> tuple[tuple[str, Flags], tuple[str, Flags]] | None:
    """Return the first point that lies clearly above the lowest one before it, after that lowest one."""
    lowest = points[0]
    for point in points[1:]:
        if _rises(lowest[1], point[1], p_value):
            return lowest, point
        if point[1].sum() < lowest[1].sum():
            lowest = point
    return None


def _strongest(runs: Sequence[AttackRun]) -> AttackRun | None:
    return min(runs, key=lambda run: int(run.right.sum()), default=None)


def _rises(before: Flags, after: Flags, p_value: float) -> bool:
    test = paired_comparison(after, before)
    return bool(test["difference"] > NEGLIGIBLE and test["p_value"] < p_value)


def _left(run: AttackRun) -> str:
    return f"{run.label} leaves {_count(run.right)} right"


def _count(right: Flags) -> str:
    return f"{int(right.sum())} of {len(right)}"


def _share(left: Proportion) -> str:
    low, high = left.interval
    return f"{left.correct} of {left.total} images ({left.accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%})"
