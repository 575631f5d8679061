"""Alarms that compare the attacks of a suite: a strong attack must not find less than a weak one.

Only attacks that were run on the same images are compared. In a cascade only the first attack was run on all of them,
so a cascade is judged by what a black-box attack still finds at its end, as AutoAttack does.
"""

from collections.abc import Callable, Sequence

from nofrost.attacks import attack_class, attack_settings
from nofrost.evaluate.alarms.alarm import (
    CLEAR,
    DOUBTFUL,
    NEGLIGIBLE,
    AttackRun,
    alarm,
    count,
    exceeds,
    outcome,
    strongest,
)
from nofrost.results import Alarm
from nofrost.statistics import Flags

PGD_GAP = 0.03  # accuracy by which PGD may lie above APGD at comparable steps: its fixed step costs a point or two
START_GAP = 0.03  # accuracy by which an attack without a random start may lie above PGD with as many steps
LOSS_GAP = 0.05  # accuracy by which the cross-entropy may lie above a margin loss; 1 to 3 points without masking
BLACK_BOX_FLAG = 0.002  # accuracy that Square may take at the end of a cascade (AutoAttack, checks.py)
BLACK_BOX_FAILURE = 0.05  # accuracy that a black-box attack cannot take after a converged gradient attack
MANY_STEPS = 5  # steps from which an iterative attack, with its random start, should beat one step of full length


def iterative_beats_single_step(runs: Sequence[AttackRun]) -> Alarm | None:
    """Many small steps must find at least what one large step finds; None when the suite has no such pair.

    If even the best iterative attack finds less, the gradient is misleading: the model masks it. If only some find
    less, those attacks are weak. Attacks whose steps are too short to cross the ball are weak on any model, and are
    considered only if there are no others.
    """
    name = "iterative-beats-single-step"
    comparable = [run for run in _independent(runs) if _climbs_cross_entropy(run)]
    single = strongest([run for run in comparable if run.steps == 1])
    iterative = [run for run in comparable if run.steps >= MANY_STEPS]
    many = sorted([run for run in iterative if run.crosses] or iterative, key=_remaining)
    if single is None or not many:
        return None
    best, worst = many[0], many[-1]
    if best.crosses and exceeds(best.right, single.right, NEGLIGIBLE, CLEAR):
        return alarm(name, "fail", f"{outcome(best)} but {outcome(single)}: following the gradient leads astray")
    if exceeds(worst.right, single.right, NEGLIGIBLE, CLEAR):
        return alarm(name, "warn", f"{outcome(worst)} but {outcome(single)}: do not rely on {worst.label}")
    return alarm(name, "pass", f"{outcome(worst)}, {outcome(single)}")


def pgd_agrees_with_apgd(runs: Sequence[AttackRun]) -> Alarm | None:
    """PGD far above APGD-CE at comparable steps has not converged; None without such a pair.

    Where its steps are too short to cross the ball, as those of wang2022 are, that is no sign of the model: its number
    has a badge (:func:`unconverged_pgd`), and the alarm passes.
    """
    name = "pgd-agrees-with-apgd"
    pairs = _pgd_beside_apgd(runs)
    if not pairs:
        return None
    # Prefer PGD with steps that are long enough: its gap to APGD says more about the model.
    pgd, apgd = max(pairs, key=lambda pair: (pair[0].crosses, _remaining(pair[0]) - _remaining(pair[1])))
    reason = f"{outcome(pgd)}, {outcome(apgd)}"
    if not exceeds(pgd.right, apgd.right, PGD_GAP, DOUBTFUL):
        return alarm(name, "pass", reason)
    if not pgd.crosses:
        return alarm(name, "pass", f"{reason}: PGD's steps are too short to cross the ball, do not rely on its number")
    return alarm(name, "warn", f"{reason}: PGD has not converged, do not rely on its number")


def unconverged_pgd(runs: Sequence[AttackRun]) -> list[AttackRun]:
    """Return the runs of PGD that APGD-CE, at comparable steps, shows to be too high."""
    return [pgd for pgd, apgd in _pgd_beside_apgd(runs) if exceeds(pgd.right, apgd.right, PGD_GAP, DOUBTFUL)]


def random_start_changes_little(runs: Sequence[AttackRun]) -> Alarm | None:
    """BIM or MIM far above PGD at equal steps: the gradient at the clean image itself is masked.

    Attacks without a random start set out along that gradient. wang2022 prints 36.1 % for MIM and 22.5 % for PGD of
    NoFrost. None without such a pair.
    """
    pairs = _pairs(runs, lambda other, pgd: _starts_clean(other) and pgd.attack == "pgd")
    advice = "the gradient at the clean images leads nowhere, do not rely on attacks without a random start"
    return _widest_gap("random-start-changes-little", pairs, START_GAP, advice)


def margin_agrees_with_cross_entropy(runs: Sequence[AttackRun]) -> Alarm | None:
    """The cross-entropy far above a margin loss at equal steps (PGD and CW-linf, APGD-CE and APGD-DLR).

    The gradient of the cross-entropy vanishes where a model is confident; that of a margin does not. None without such
    a pair.
    """
    pairs = _pairs(runs, lambda entropy, margin: attack_class(margin.attack).cross_entropy_twin == entropy.attack)
    advice = "the gradient of the cross-entropy is too small here, do not rely on attacks that follow it"
    return _widest_gap("margin-agrees-with-cross-entropy", pairs, LOSS_GAP, advice)


def white_box_beats_black_box(runs: Sequence[AttackRun]) -> Alarm | None:
    """An attack without gradients must not find clearly more than the best with them; None without both kinds.

    At the end of a cascade it is AutoAttack's own flag: Square broke more than 0.2 % of all images after the attacks
    with gradients.

    Args:
        runs: in the order of the suite.
    """
    name = "white-box-beats-black-box"
    if any(run.start is not None for run in runs):
        return _black_box_in_a_cascade(name, runs)
    black = strongest([run for run in runs if _is_black_box(run)])
    white = strongest([run for run in runs if _is_white_box(run)])
    if black is None or white is None:
        return None
    reason = f"{outcome(white)}, {outcome(black)}"
    strong = white.steps >= MANY_STEPS and white.crosses
    if strong and exceeds(white.right, black.right, BLACK_BOX_FAILURE, CLEAR):
        return alarm(name, "fail", f"{reason}: the gradient leads astray, the model masks it")
    if exceeds(white.right, black.right, NEGLIGIBLE, DOUBTFUL):
        return alarm(name, "warn", f"{reason}: attacks with gradients find less than one without")
    return alarm(name, "pass", reason)


def _black_box_in_a_cascade(name: str, runs: Sequence[AttackRun]) -> Alarm | None:
    black_box: list[tuple[AttackRun, Flags]] = []
    for position, run in enumerate(runs):
        if _is_black_box(run) and run.start is not None and any(map(_is_white_box, runs[:position])):
            black_box.append((run, run.start))
    if not black_box:
        return None
    run, start = max(black_box, key=lambda each: int(each[1].sum()) - _remaining(each[0]))
    reason = f"after the attacks before it left {count(start)} right, {outcome(run)}"
    if exceeds(start, run.right, BLACK_BOX_FAILURE, CLEAR):
        return alarm(name, "fail", f"{reason}: attacks with gradients missed what one without found")
    if exceeds(start, run.right, BLACK_BOX_FLAG, DOUBTFUL):
        return alarm(name, "warn", f"{reason}: let it run longer, or use an attack made for this model")
    return alarm(name, "pass", reason)


def robust_accuracy_is_plausible(clean: Flags, worst: Flags) -> Alarm:
    """Report the cases in which comparing attacks says nothing: no image is right, or no attack changed one."""
    name = "robust-accuracy-is-plausible"
    if not clean.any():
        return alarm(name, "warn", "no image is right even before an attack: there is nothing to measure")
    if int(worst.sum()) == int(clean.sum()):
        return alarm(
            name, "warn", f"no attack changed one of the {count(clean)} right images: is the budget too small?"
        )
    if not worst.any():
        return alarm(name, "pass", "no image withstands all attacks: the model has no robustness at this budget")
    return alarm(name, "pass", f"{count(worst)} withstand all attacks, of {int(clean.sum())} right when clean")


def _independent(runs: Sequence[AttackRun]) -> list[AttackRun]:
    """Return the runs whose flags do not depend on other attacks of a cascade."""
    return [run for run in runs if run.start is None]


def _is_white_box(run: AttackRun) -> bool:
    return attack_class(run.attack).access == "gradient"


def _is_black_box(run: AttackRun) -> bool:
    return attack_class(run.attack).access == "outputs"


def _climbs_cross_entropy(run: AttackRun) -> bool:
    """Return whether the attack climbs the cross-entropy of the label, so that more steps cannot honestly do worse."""
    attack = attack_class(run.attack)
    return attack.follows == "cross-entropy" and not attack.targeted


def _starts_clean(run: AttackRun) -> bool:
    """Return whether the attack takes steps on the cross-entropy from the clean image, like BIM and MIM."""
    return (
        _climbs_cross_entropy(run)
        and not attack_class(run.attack).random_start
        and "steps" in attack_settings(run.attack)
    )


def _remaining(run: AttackRun) -> int:
    return int(run.right.sum())


def _pairs(
    runs: Sequence[AttackRun], related: Callable[[AttackRun, AttackRun], bool]
) -> list[tuple[AttackRun, AttackRun]]:
    """Return all pairs of runs with equal steps for which ``related(first, second)`` is true."""
    independent = _independent(runs)
    return [
        (first, second)
        for first in independent
        for second in independent
        if first.steps == second.steps and related(first, second)
    ]


def _pgd_beside_apgd(runs: Sequence[AttackRun]) -> list[tuple[AttackRun, AttackRun]]:
    """Return each run of PGD with the APGD-CE of the nearest number of steps, at most a factor of two apart."""
    independent = _independent(runs)
    pairs = []
    for pgd in (run for run in independent if run.attack == "pgd"):
        comparable = [
            run
            for run in independent
            if run.attack == "apgd-ce" and run.steps <= 2 * pgd.steps and pgd.steps <= 2 * run.steps
        ]
        if comparable:
            pairs.append((pgd, min(comparable, key=lambda run: abs(run.steps - pgd.steps))))
    return pairs


def _widest_gap(name: str, pairs: Sequence[tuple[AttackRun, AttackRun]], gap: float, advice: str) -> Alarm | None:
    """Warn if, in the pair furthest apart, the first attack leaves significantly more right, by over `gap`."""
    if not pairs:
        return None
    weak, strong = max(pairs, key=lambda pair: _remaining(pair[0]) - _remaining(pair[1]))
    reason = f"{outcome(weak)}, {outcome(strong)}"
    if exceeds(weak.right, strong.right, gap, DOUBTFUL):
        return alarm(name, "warn", f"{reason}: {advice}")
    return alarm(name, "pass", reason)
