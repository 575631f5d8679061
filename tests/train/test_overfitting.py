"""Catastrophic and robust overfitting are reported where they occur, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.results import CatastrophicOverfitting, Epoch, Overfitting
from nofrost.statistics import wilson_interval
from nofrost.train.overfitting import FALL, LOSS, NOISE, collapsed, diagnose, stopped_early

Share = float | None
shares = st.floats(0, 1)
measurements = st.lists(st.tuples(st.none() | shares, st.none() | shares), min_size=1, max_size=12)


def curve(attacked: Sequence[Share], trained: Sequence[Share], phases: Sequence[str] | None = None) -> list[Epoch]:
    """Return epochs with these accuracies on attacked selection images and on the training adversary."""
    others = {"loss": 1.0, "lr": 0.1, "eps": 0.1, "train_clean": None, "train_augmented": None, "selection_clean": None}
    return [
        Epoch(epoch=number, phase=phase, selection_attacked=held_out, train_adversarial=own, **others)
        for number, (held_out, own, phase) in enumerate(
            zip(attacked, trained, phases or ["train"] * len(attacked), strict=True), start=1
        )
    ]


FAST = curve([0.30, 0.40, 0.02, 0.01], [0.30, 0.41, 0.75, 0.9])  # the course of Wong et al. 2020 §5.4


def test_a_collapse_is_reported_with_its_epoch_and_accuracies() -> None:
    diagnosis = diagnose(FAST, 1000)
    assert diagnosis.catastrophic == CatastrophicOverfitting(
        epoch=3, before=0.40, after=0.02, train_before=0.41, train_after=0.75
    )
    assert diagnosis.robust is None  # it is reported once


def test_a_model_of_little_robustness_collapses_by_its_share() -> None:
    """Measured: `fast-cifar` with eps 16/255 on 9,000 images of CIFAR-10 (docs/training.md)."""
    attacked = [0.055, 0.119, 0.055, 0.087, 0.082, 0.021, 0, 0, 0, 0, 0.001, 0.002]
    trained = [0.094, 0.179, 0.204, 0.235, 0.292, 0.298, 0.465, 0.604, 0.624, 0.640, 0.566, 0.432]
    diagnosis = diagnose(curve(attacked, trained), 1000)
    assert diagnosis.robust is None
    assert (diagnosis.catastrophic.epoch, diagnosis.catastrophic.before, diagnosis.catastrophic.after) == (
        3,
        0.119,
        0.055,
    )


@pytest.mark.parametrize(
    "rows",
    [
        curve([0.30, 0.40, 0.21], [0.30, 0.41, 0.75]),
        curve([0.40, 0.10], [0.60, 0.20]),
        curve([0.40, 0.10], [None, None]),
        curve([0.40, None, None], [0.4, 0.5, 0.6]),
        curve([0.40, 0.10], [0.4, 0.5], ["natural", "adversarial"]),
    ],
    ids=["small fall", "training falls too", "no adversary", "measured once", "another phase"],
)
def test_other_falls_are_not_catastrophic_overfitting(rows: list[Epoch]) -> None:
    assert diagnose(rows, 1000).catastrophic is None


def test_a_fall_that_may_be_chance_on_few_images_is_no_finding() -> None:
    assert diagnose(curve([0.6, 0.3], [0.5, 0.6]), 20).catastrophic is None
    assert diagnose(curve([0.6, 0.3], [0.5, 0.6]), 200).catastrophic


def test_epochs_without_a_measurement_are_skipped() -> None:
    rows = curve([0.40, None, 0.02], [0.41, 0.60, 0.75])
    assert diagnose(rows, 1000).catastrophic.epoch == 3
    assert collapsed(rows, 0.2)


def test_a_slow_fall_is_robust_overfitting_with_the_intervals_of_both_ends() -> None:
    rows = curve([0.40, 0.52, 0.48, 0.45, 0.44], [0.45, 0.6, 0.75, 0.85, 0.9])  # of Rice et al. 2020
    diagnosis = diagnose(rows, 1000)
    robust = diagnosis.robust
    assert diagnosis.catastrophic is None
    assert (robust.epoch, robust.train_best, robust.train_last) == (2, 0.6, 0.9)
    assert (robust.best.low, robust.best.high) == wilson_interval(520, 1000)
    assert (robust.last.correct, robust.last.total) == (440, 1000)


@pytest.mark.parametrize(
    ("rows", "images"),
    [
        (curve([0.40, 0.52, 0.44], [0.45, 0.6, 0.9]), 100),
        (curve([0.40, 0.52, 0.44], [0.45, 0.6, 0.3]), 1000),
        (curve([0.40, 0.44, 0.52], [0.45, 0.6, 0.9]), 1000),
        (curve([0.52, 0.60, 0.40, 0.41], [0.6, 0.6, 0.4, 0.5], ["a", "a", "b", "b"]), 1000),
        (curve([None, None], [None, None]), 1000),
    ],
    ids=["too few images", "training falls as much", "best is last", "best of an earlier phase", "not attacked"],
)
def test_other_curves_are_not_robust_overfitting(rows: list[Epoch], images: int) -> None:
    assert diagnose(rows, images).robust is None


@given(measurements, st.integers(1, 10_000))
def test_what_is_reported_agrees_with_the_curves(measured: list[tuple[Share, Share]], images: int) -> None:
    rows = curve([attacked for attacked, _ in measured], [trained for _, trained in measured])
    diagnosis = diagnose(rows, images)
    if catastrophic := diagnosis.catastrophic:
        assert catastrophic.before - catastrophic.after > min(FALL, LOSS * catastrophic.before)
        assert catastrophic.train_before - catastrophic.train_after <= NOISE
        assert rows[catastrophic.epoch - 1].selection_attacked == catastrophic.after
    if robust := diagnosis.robust:
        assert catastrophic is None
        assert robust.best.low > robust.last.high
        assert robust.best.accuracy == pytest.approx(max(a for a, _ in measured if a is not None), abs=1 / images)


@given(st.lists(shares, min_size=1, max_size=12), st.integers(1, 10_000))
def test_rising_robustness_is_never_overfitting(attacked: list[float], images: int) -> None:
    rows = curve(sorted(attacked), [0.5] * len(attacked))
    assert diagnose(rows, images) == Overfitting(catastrophic=None, robust=None)
    assert not collapsed(rows, 0.01)


@given(measurements, st.floats(0.01, 1))
def test_a_guard_ends_the_training_at_the_first_fall_beyond_it_and_none_never(
    measured: list[tuple[Share, Share]], guard: float
) -> None:
    rows = curve([attacked for attacked, _ in measured], [trained for _, trained in measured])
    known = [attacked for attacked, _ in measured if attacked is not None]
    assert collapsed(rows, guard) == (len(known) > 1 and known[-2] - known[-1] > guard)
    assert not collapsed(rows, None)
    assert not collapsed([], guard)


def test_the_guard_compares_measurements_of_one_phase() -> None:
    rows = curve([0.5, 0.1], [0.5, 0.6], ["natural", "adversarial"])
    assert not collapsed(rows, 0.2)


def test_metrics_say_why_a_training_ended_early() -> None:
    ended = stopped_early(FAST[:3], 0.2, 15)
    assert ended is not None
    assert (ended.epoch, ended.epochs) == (3, 15)
    assert ended.reason == (
        "attacked accuracy on the selection split fell from 40.0% after epoch 2 to 2.0% after epoch 3, "
        "by more than selection.guard 0.2"
    )
    assert stopped_early(FAST[:3], 0.2, 3) is None
    assert stopped_early(FAST[:3], None, 15) is None
    assert stopped_early(FAST[:3], 0.5, 15) is None


@pytest.mark.slow
def test_a_real_model_that_defeats_a_weak_adversary_is_stopped(tmp_path: Path) -> None:
    """Four epochs against two steps make it robust. Then the adversary takes a hundredth of a step; the first epoch of
    that measures the model as it is, as the learning rate is still zero."""
    from nofrost import prepare, train
    from nofrost.config import DatasetSpec, Recipe

    prepare.run(DatasetSpec(source="digits", image_size=8), tmp_path / "digits")
    weak = {
        "attack": {"name": "pgd", "steps": 1, "step_size": "1/255"},
        "optimiser": {"lr": 0.2},
        "schedule": {"epochs": 6, "shape": "piecewise-linear", "points": [[0, 0], [1, 0], [1.01, 1]]},
    }
    recipe = Recipe.model_validate(
        {
            "title": "From a strong adversary to a weak one",
            "citation": "own",
            "model": {"arch": "resnet8"},
            "objective": {"name": "pgdat"},
            "threat": {"eps": "48/255"},
            "attack": {"name": "pgd", "steps": 2, "keep": "last"},
            "schedule": {"epochs": 4, "batch_size": 64},
            "selection": {"attack": {"name": "pgd", "steps": 10}, "guard": 0.2},
            "phases": {"strong": {}, "weak": weak},
        }
    )
    metrics = train.run(tmp_path / "digits", None, recipe, "weak", 0, tmp_path / "out")
    fall, ended = metrics.overfitting.catastrophic, metrics.stopped_early
    assert fall is not None
    assert ended is not None
    assert fall.before > 0.4 > 0.3 > fall.after
    assert metrics.best_epoch < fall.epoch == ended.epoch == metrics.epochs < ended.epochs
