"""Each alarm says pass, warn or fail for the right numbers, and stays silent for the noise of a few images."""

from __future__ import annotations

import numpy as np
import pytest

from nofrost.attacks.base import ATTACKS, Access
from nofrost.attacks.noise_baseline import Awgn
from nofrost.evaluate import alarms
from nofrost.evaluate.alarms import AttackRun
from nofrost.registry import configurable
from nofrost.results import Alarm
from nofrost.statistics import Flags


def first(right: int, total: int = 1000) -> Flags:
    """Flags of `total` images of which the first `right` are right: nested, as attacks of growing strength are."""
    return np.arange(total) < right


def scattered(right: int, seed: int, total: int = 1000) -> Flags:
    """Flags with `right` of `total` right, at places that differ by seed."""
    flags = first(right, total)
    np.random.default_rng(seed).shuffle(flags)
    return flags


def run(attack: str, steps: int, right: int | Flags, start: int | None = None, crosses: bool = True) -> AttackRun:
    flags = first(right) if isinstance(right, int) else right
    begun = None if start is None else first(start)
    return AttackRun(f"{attack}-{steps}", attack, steps, flags, begun, crosses=crosses)


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([run("fgsm", 1, 400), run("pgd", 20, 300)], "pass"),
        ([run("fgsm", 1, 400), run("pgd", 20, 400)], "pass"),
        ([run("fgsm", 1, 400), run("pgd", 20, 404)], "pass"),  # a few images
        ([run("fgsm", 1, 300), run("pgd", 20, 400)], "fail"),
        ([run("fgsm", 1, scattered(400, 0)), run("pgd", 20, scattered(410, 1))], "pass"),  # more change sides than rise
        ([run("fgsm", 1, 300), run("pgd", 20, 400), run("apgd-ce", 20, 250)], "warn"),  # only PGD is weak
        ([run("pgd", 1, 300), run("mim", 20, 400)], "fail"),
        ([run("fgsm", 1, 300), run("pgd", 20, 400, crosses=False), run("apgd-ce", 20, 250)], "pass"),  # honestly weak
        ([run("fgsm", 1, 300), run("pgd", 20, 400, crosses=False)], "warn"),
    ],
)
def test_an_iterative_attack_weaker_than_a_single_step_is_reported(runs: list[AttackRun], status: str) -> None:
    alarm = alarms.iterative_beats_single_step(runs)
    assert alarm is not None
    assert alarm.status == status


def test_the_reason_for_a_weak_iterative_attack_holds_both_counts() -> None:
    alarm = alarms.iterative_beats_single_step([run("fgsm", 1, 300), run("pgd", 20, 400)])
    assert alarm is not None
    assert "pgd-20 leaves 400 of 1000 right" in alarm.reason
    assert "fgsm-1 leaves 300 of 1000 right" in alarm.reason


@pytest.mark.parametrize(
    "runs",
    [
        [run("pgd", 20, 300)],
        [run("fgsm", 1, 300)],
        [run("fgsm", 1, 300), run("pgd-targeted", 20, 900)],  # another loss may honestly do worse
        [run("fgsm", 1, 300), run("apgd-dlr", 20, 900)],
        [run("fgsm", 1, 300), run("pgd", 2, 900)],  # too few steps to be expected to win
        [run("apgd-ce", 20, 400), run("fgsm", 1, 300, start=400)],  # what FGSM found of what was left
    ],
)
def test_attacks_that_cannot_be_compared_raise_no_alarm(runs: list[AttackRun]) -> None:
    assert alarms.iterative_beats_single_step(runs) is None


@pytest.mark.parametrize(
    ("right", "total", "status"),
    [
        (0, 50, "pass"),
        (1, 50, "warn"),
        (10, 10_000, "warn"),
        (100, 10_000, "warn"),
        (150, 10_000, "fail"),
        (30, 50, "fail"),
    ],
)
def test_whatever_survives_the_whole_pixel_range_is_reported(right: int, total: int, status: str) -> None:
    alarm = alarms.unbounded_attack_reaches_zero(first(right, total))
    assert alarm.status == status
    assert f"{right} of {total}" in alarm.reason


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((900, 600, 300, 0), "pass"),
        ((900, 900, 900), "pass"),
        ((900, 600, 603, 0), "pass"),  # noise
        ((900, 600, 700, 0), "fail"),
        ((900, 600, 604, 608, 612, 616), "fail"),  # a creeping rise
        ((0, 0, 0), "pass"),
        ((500,), "pass"),
    ],
)
def test_accuracy_that_rises_with_the_budget_is_reported(counts: tuple[int, ...], status: str) -> None:
    points = [(f"{place}/255", first(count)) for place, count in enumerate(counts)]
    assert alarms.accuracy_falls_with_budget(points).status == status


def test_the_reason_for_a_rise_names_both_budgets() -> None:
    points = [("2/255", first(900)), ("4/255", first(600)), ("8/255", first(700))]
    reason = alarms.accuracy_falls_with_budget(points).reason
    assert reason == "600 of 1000 stay right at 4/255 but 700 of 1000 at the larger 8/255"


@pytest.mark.parametrize(
    ("curve", "status", "words"),
    [
        ({10: 400, 50: 300, 100: 300}, "pass", "300 of 1000 stay right after 50 steps and 300 of 1000 after 100"),
        ({10: 400, 50: 300, 100: 292}, "pass", "292"),  # under one point
        ({10: 400, 50: 300, 100: 250}, "warn", "not converged"),
        ({10: 400, 50: 300, 100: 350}, "warn", "not converged"),
        ({1: 300, 50: 400, 100: 300}, "warn", "not converged"),
        ({90: 300, 100: 250}, "warn", "no point at half"),
        ({100: 250}, "warn", "no point at half"),
        ({50: 0, 100: 0}, "pass", "0 of 1000"),
        ({20: 400, 40: 300, 50: 300, 100: 250}, "warn", "after 50 steps"),
    ],
)
def test_a_curve_that_still_falls_over_the_last_doubling_has_not_converged(
    curve: dict[int, int], status: str, words: str
) -> None:
    alarm = alarms.steps_converged([(steps, first(right)) for steps, right in curve.items()])
    assert alarm.status == status
    assert words in alarm.reason


def test_a_fall_of_two_images_among_fifty_is_no_sign_of_an_unconverged_attack() -> None:
    assert alarms.steps_converged([(50, first(20, 50)), (100, first(18, 50))]).status == "pass"


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([run("pgd", 20, 225), run("apgd-ce", 20, 120)], "warn"),  # 22.45 % and 11.96 % in wang2022
        ([run("pgd", 20, 225, crosses=False), run("apgd-ce", 20, 120)], "pass"),  # weak on any model
        ([run("pgd", 20, 225, crosses=False), run("pgd", 21, 200), run("apgd-ce", 20, 120)], "warn"),
        ([run("pgd", 20, 520), run("apgd-ce", 20, 500)], "pass"),
        ([run("pgd", 20, 500), run("apgd-ce", 20, 520)], "pass"),
        ([run("pgd", 20, 510), run("apgd-ce", 10, 450), run("apgd-ce", 20, 500)], "pass"),  # the closest is compared
        ([run("pgd", 20, 600), run("apgd-ce", 40, 500)], "warn"),
    ],
)
def test_pgd_far_above_apgd_is_reported(runs: list[AttackRun], status: str) -> None:
    alarm = alarms.pgd_agrees_with_apgd(runs)
    assert alarm is not None
    assert alarm.status == status


@pytest.mark.parametrize(
    "runs",
    [
        [run("pgd", 20, 500)],
        [run("pgd", 20, 500), run("apgd-ce", 100, 100)],
        [run("pgd", 20, 500), run("apgd-ce", 20, 100, start=500)],
    ],
)
def test_pgd_without_an_apgd_of_comparable_steps_raises_no_alarm(runs: list[AttackRun]) -> None:
    assert alarms.pgd_agrees_with_apgd(runs) is None
    assert alarms.unconverged_pgd(runs) == []


def test_pgd_above_apgd_is_not_converged_whatever_explains_it() -> None:
    short, good = run("pgd", 20, 560, crosses=False), run("pgd", 21, 510)
    assert alarms.unconverged_pgd([short, good, run("apgd-ce", 20, 500)]) == [short]


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([run("mim", 20, 361), run("pgd", 20, 225)], "warn"),  # 36.1 % and 22.5 % in wang2022
        ([run("bim", 20, 361), run("mim", 20, 230), run("pgd", 20, 225)], "warn"),
        ([run("mim", 20, 245), run("pgd", 20, 225)], "pass"),
        ([run("mim", 20, 200), run("pgd", 20, 225)], "pass"),
        ([run("mim", 10, 361), run("pgd", 20, 225)], None),  # not at equal steps
        ([run("mim", 20, 361), run("pgd", 20, 225, start=361)], None),
    ],
)
def test_an_attack_without_a_random_start_far_above_pgd_is_reported(runs: list[AttackRun], status: str | None) -> None:
    alarm = alarms.random_start_changes_little(runs)
    assert (alarm and alarm.status) == status


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([run("apgd-ce", 20, 400), run("apgd-dlr", 20, 300)], "warn"),
        ([run("pgd", 20, 400), run("cw-linf", 20, 300)], "warn"),
        ([run("apgd-ce", 20, 400), run("apgd-dlr", 20, 370)], "pass"),  # as on honest models
        ([run("apgd-ce", 20, 300), run("apgd-dlr", 20, 400)], "pass"),
        ([run("apgd-ce", 100, 400), run("apgd-dlr", 20, 300)], None),
        ([run("pgd", 20, 400), run("apgd-dlr", 20, 300)], None),  # another search
    ],
)
def test_a_cross_entropy_that_finds_far_less_than_a_margin_is_reported(
    runs: list[AttackRun], status: str | None
) -> None:
    alarm = alarms.margin_agrees_with_cross_entropy(runs)
    assert (alarm and alarm.status) == status


@pytest.mark.parametrize(
    ("square", "white", "status"),
    [
        (500, run("pgd", 20, 300), "pass"),
        (300, run("pgd", 20, 304), "pass"),
        (300, run("pgd", 20, 300), "pass"),
        (300, run("pgd", 20, 320), "warn"),
        (300, run("pgd", 20, 400), "fail"),
        (300, run("fgsm", 1, 400), "warn"),  # a single step is weak on any model
        (300, run("pgd", 20, 400, crosses=False), "warn"),  # and so are short ones
    ],
)
def test_a_black_box_attack_that_finds_more_than_white_box_ones_is_reported(
    square: int, white: AttackRun, status: str
) -> None:
    alarm = alarms.white_box_beats_black_box([run("square", 1, square), run("fgsm", 1, 900), white])
    assert alarm is not None
    assert alarm.status == status


@pytest.mark.parametrize(
    ("before", "square", "total", "status"),
    [
        (400, 400, 1000, "pass"),
        (400, 397, 1000, "pass"),  # chance
        (400, 398, 10_000, "pass"),
        (400, 392, 1000, "warn"),  # AutoAttack's own flag: more than 0.2 %
        (4000, 3985, 10_000, "pass"),
        (4000, 3970, 10_000, "warn"),
        (400, 300, 1000, "fail"),
    ],
)
def test_what_square_takes_at_the_end_of_a_cascade_is_reported(
    before: int, square: int, total: int, status: str
) -> None:
    left = first(before, total)
    runs = [
        AttackRun("apgd-ce", "apgd-ce", 100, left),
        AttackRun("fab-t", "fab-t", 100, left, left),
        AttackRun("square", "square", 1, first(square, total), left),
    ]
    alarm = alarms.white_box_beats_black_box(runs)
    assert alarm is not None
    assert alarm.status == status
    assert f"{before} of {total}" in alarm.reason


def test_a_cascade_that_begins_with_the_black_box_attack_compares_nothing() -> None:
    assert alarms.white_box_beats_black_box([run("square", 1, 300), run("pgd", 20, 200, start=300)]) is None


@pytest.mark.parametrize(("access", "status"), [("outputs", "fail"), ("gradient", None), (None, None)])
def test_an_attack_of_a_user_is_white_box_only_where_it_says_so(
    access: Access | None, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds far more than PGD: an alarm if it needs no gradient. One that says nothing is compared with none."""
    monkeypatch.setattr(ATTACKS, "classes", dict(ATTACKS.classes))

    class Mine(Awgn):
        pass

    Mine.access = access
    ATTACKS.register("mine")(configurable(Mine))
    alarm = alarms.white_box_beats_black_box([run("mine", 1, 100), run("pgd", 20, 300)])
    assert (alarm and alarm.status) == status
    if access is None:
        assert alarms.white_box_beats_black_box([run("mine", 1, 300), run("square", 1, 100)]) is None


def test_white_box_attacks_alone_raise_no_black_box_alarm() -> None:
    assert alarms.white_box_beats_black_box([run("pgd", 20, 300)]) is None


@pytest.mark.parametrize(
    ("zero", "status"), [(0, "pass"), (2, "pass"), (3, "warn"), (25, "warn"), (26, "fail"), (256, "fail")]
)
def test_missing_gradients_are_reported_by_their_share(zero: int, status: str) -> None:
    alarm = alarms.gradients_not_zero(zero, 256)
    assert alarm is not None
    assert alarm.status == status


def test_gradients_that_were_not_probed_raise_no_alarm() -> None:
    assert alarms.gradients_not_zero(0, 0) is None


def test_outputs_without_any_gradient_are_a_failure_of_the_same_name() -> None:
    alarm = alarms.gradients_exist()
    assert (alarm.name, alarm.status) == ("gradients-not-zero", "fail")


@pytest.mark.parametrize(
    ("disagree", "astray", "status"),
    [(0, 0, "pass"), (30, 5, "pass"), (40, 5, "warn"), (256, 60, "warn"), (256, 128, "fail"), (0, 100, "fail")],
)
def test_a_gradient_that_differences_belie_is_reported(disagree: int, astray: int, status: str) -> None:
    alarm = alarms.gradients_match_differences(disagree, astray, 256)
    assert alarm is not None
    assert alarm.status == status


@pytest.mark.parametrize(("saturated", "status"), [(0, "pass"), (100, "pass"), (140, "pass"), (150, "warn")])
def test_a_saturated_cross_entropy_is_reported(saturated: int, status: str) -> None:
    alarm = alarms.cross_entropy_not_saturated(saturated, 256)
    assert alarm is not None
    assert alarm.status == status


def test_a_few_images_that_disagree_raise_nothing() -> None:
    assert all(
        alarm is not None and alarm.status == "pass"
        for alarm in (alarms.gradients_match_differences(2, 2, 8), alarms.cross_entropy_not_saturated(5, 8))
    )


def test_what_was_not_probed_has_no_alarm() -> None:
    assert alarms.gradients_match_differences(0, 0, 0) is None
    assert alarms.cross_entropy_not_saturated(0, 0) is None


@pytest.mark.parametrize(
    ("classes", "attacks", "status"),
    [(3, ["autoattack"], "warn"), (4, ["autoattack"], "pass"), (2, ["apgd-dlr"], "warn"), (2, ["apgd-ce"], None)],
)
def test_too_few_classes_for_dlr_are_reported(classes: int, attacks: list[str], status: str | None) -> None:
    alarm = alarms.classes_suffice(classes, attacks)
    assert (alarm and alarm.status) == status


def test_randomness_is_no_warning_where_an_attack_averages_over_it() -> None:
    averaging = AttackRun("rand", "autoattack", 100, first(300), passes=20)
    assert alarms.answers_are_repeatable(True, [averaging]).status == "pass"
    assert alarms.answers_are_repeatable(True, [run("pgd", 20, 300)]).status == "warn"


CURVE = [(steps, first(right)) for steps, right in ((10, 400), (50, 300), (100, 300))]
FALLING = [*CURVE, (200, first(250))]


@pytest.mark.parametrize(
    ("point", "curve", "converged"),
    [
        ((100, 300), CURVE, True),
        ((20, 330), CURVE, False),
        ((20, 305), CURVE, True),
        ((200, 300), FALLING, False),
        ((200, 300), CURVE, True),  # beyond the curve's end
        ((200, 250), CURVE, False),
    ],
)
def test_a_number_that_a_longer_attack_undercuts_is_not_converged(
    point: tuple[int, int], curve: list[tuple[int, Flags]], converged: bool
) -> None:
    assert alarms.is_converged((point[0], first(point[1])), curve) is converged


@pytest.mark.parametrize(
    ("worst", "curve", "converged"),
    [
        (300, CURVE, True),
        (200, FALLING, True),  # other attacks are stronger than the curve's
        (250, FALLING, False),
        (330, CURVE, False),  # the curve found more than the suite
    ],
)
def test_a_worst_case_is_not_converged_where_the_curve_decides_it(
    worst: int, curve: list[tuple[int, Flags]], converged: bool
) -> None:
    assert alarms.worst_case_is_converged(first(worst), curve) is converged


@pytest.mark.parametrize(
    ("alarm", "status"),
    [
        (alarms.outputs_are_logits(True), "warn"),
        (alarms.outputs_are_logits(False), "pass"),
        (alarms.answers_are_repeatable(True), "warn"),
        (alarms.answers_are_repeatable(False), "pass"),
        (alarms.forward_is_static(True), "warn"),
        (alarms.forward_is_static(False), "pass"),
    ],
)
def test_softmax_and_randomness_are_warnings(alarm: Alarm, status: str) -> None:
    assert alarm.status == status
    assert alarm.as_json() == {"name": alarm.name, "status": status, "reason": alarm.reason}


@pytest.mark.parametrize(
    ("clean", "worst", "status", "words"),
    [
        (900, 400, "pass", "400 of 1000 withstand"),
        (900, 0, "pass", "no image withstands"),
        (900, 900, "warn", "is the budget too small"),
        (0, 0, "warn", "nothing to measure"),
    ],
)
def test_robust_accuracy_at_either_end_is_noted(clean: int, worst: int, status: str, words: str) -> None:
    alarm = alarms.robust_accuracy_is_plausible(first(clean), first(worst))
    assert alarm.status == status
    assert words in alarm.reason
