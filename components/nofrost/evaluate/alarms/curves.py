"""Alarms about the two curves: accuracy against attack steps, and accuracy against the size of the ball."""

from collections.abc import Sequence

from nofrost.evaluate.alarms.alarm import CLEAR, DOUBTFUL, NEGLIGIBLE, alarm, count, exceeds, share
from nofrost.results import Alarm, Proportion
from nofrost.statistics import Flags

CONVERGED_WITHIN = 0.01  # accuracy that the last doubling of steps may still take (one point)
UNBOUNDED_LEFT = 0.01  # accuracy that a gradient attack's coarse steps may leave in the whole pixel range

StepsFlags = tuple[int, Flags]


def unbounded_attack_reaches_zero(right: Flags) -> Alarm:
    """With the whole pixel range as budget every image can become any other, so accuracy must fall to 0 %."""
    name = "unbounded-attack-reaches-zero"
    remaining = Proportion.of_flags(right)
    reason = f"with the whole pixel range as budget {share(right)} stay right"
    if remaining.correct == 0:
        return alarm(name, "pass", reason)
    if remaining.interval[0] > UNBOUNDED_LEFT:
        return alarm(name, "fail", f"{reason}, which must be none: the attack is misled")
    return alarm(name, "warn", f"{reason}, which should be none: the attack is weak on a few images")


def accuracy_falls_with_budget(points: Sequence[tuple[str, Flags]]) -> Alarm:
    """A larger ball holds the smaller one, so accuracy may not rise.

    Args:
        points: budget in words and [N] whether still right, by growing budget; at least one.
    """
    name = "accuracy-falls-with-budget"
    rise = _first_rise(points, CLEAR)
    if rise is None:
        return alarm(name, "pass", "accuracy does not rise as the budget grows")
    (small, few), (large, many) = rise
    return alarm(name, "fail", f"{count(few)} stay right at {small} but {count(many)} at the larger {large}")


def steps_converged(points: Sequence[StepsFlags]) -> Alarm:
    """Doubling the steps once more must change little; otherwise accuracy would fall further with a stronger attack.

    Args:
        points: steps and [N] whether still right, by growing steps; at least one. The runs are independent.
    """
    name = "steps-converged"
    last, right = points[-1]
    halves = [point for point in points if point[0] <= last / 2]
    if not halves:
        return alarm(name, "warn", f"the curve has no point at half of its last {last} steps: convergence is unknown")
    rise = _first_rise([(f"{steps} steps", flags) for steps, flags in points], CLEAR)
    if rise is not None:
        (small, few), (large, many) = rise
        return alarm(
            name, "warn", f"not converged: {count(few)} stay right after {small} but {count(many)} after {large}"
        )
    half, before = halves[-1]
    change = f"{count(before)} stay right after {half} steps and {count(right)} after {last}"
    if _still_falls(before, right):
        return alarm(name, "warn", f"not converged: {change}, so a longer attack would find more")
    return alarm(name, "pass", change)


def is_converged(point: StepsFlags, curve: Sequence[StepsFlags]) -> bool:
    """Return whether more steps would hardly change the accuracy under an attack.

    Args:
        point: the attack's steps and flags.
        curve: the steps curve of the same attack, by growing steps; at least one point.
    """
    steps, right = point
    if steps > curve[-1][0]:
        return steps_converged([*curve, point]).status == "pass"
    return steps_converged(curve).status == "pass" and not _still_falls(right, curve[-1][1])


def worst_case_is_converged(worst: Flags, curve: Sequence[StepsFlags]) -> bool:
    """Return whether the worst case of a suite is converged: the curve does not come below it, and has either converged
    or is still significantly above it.

    Args:
        worst: [N] whether right under every attack of the suite.
        curve: the steps curve, by growing steps; at least one point.
    """
    right = curve[-1][1]
    if _still_falls(worst, worst & right):
        return False
    return steps_converged(curve).status == "pass" or exceeds(right, worst, CONVERGED_WITHIN, DOUBTFUL)


def _still_falls(before: Flags, after: Flags) -> bool:
    return exceeds(before, after, CONVERGED_WITHIN, DOUBTFUL)


def _first_rise(
    points: Sequence[tuple[str, Flags]], p_value: float
) -> tuple[tuple[str, Flags], tuple[str, Flags]] | None:
    """Return the first point that lies clearly above the lowest one before it, after that lowest one."""
    lowest = points[0]
    for point in points[1:]:
        if exceeds(point[1], lowest[1], NEGLIGIBLE, p_value):
            return lowest, point
        if point[1].sum() < lowest[1].sum():
            lowest = point
    return None
