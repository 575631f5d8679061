"""The schedule of learning rate, budget and batch statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from nofrost.config import OptimiserSpec, ScheduleSpec
from nofrost.train.schedule import lr_share, peak_lr, running_statistics, threat_share

XIE = {"epochs": 110, "shape": "step", "milestones": (35, 70, 95), "decay": 0.1}
CYCLIC = {"epochs": 15, "shape": "piecewise-linear", "points": ((0, 0), (7.5, 1), (15, 0))}
FAST_1 = {"epochs": 6, "shape": "piecewise-linear", "points": ((0, 0), (1, 1), (6, 0.1))}


def of_torch(scheduler: LRScheduler, count: int) -> list[float]:
    """The first rates that one of torch's schedulers gives."""
    rates = []
    for _ in range(count):
        rates += scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize(
    ("keys", "batch_size", "lr"),
    [
        ({}, 64, 0.1),
        ({"lr_per": 256}, 4096, 1.6),
        ({"lr_per": 256}, 64, 0.025),
        ({"lr": 1e-5, "lr_per": 1}, 128, 1.28e-3),
    ],
)
def test_a_rate_for_so_many_images_grows_with_the_batch(keys: dict[str, Any], batch_size: int, lr: float) -> None:
    assert peak_lr(OptimiserSpec(**keys), batch_size) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_the_cosine_is_that_of_torch(per: str) -> None:
    ours = [lr_share(ScheduleSpec(epochs=90, per=per), epoch) for epoch in range(90)]
    assert ours == pytest.approx(of_torch(CosineAnnealingLR(sgd(), T_max=90), 90))


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_milestones_are_those_of_torch(per: str) -> None:
    ours = [lr_share(ScheduleSpec(per=per, **XIE), epoch) for epoch in range(110)]
    assert ours == pytest.approx(of_torch(MultiStepLR(sgd(), [35, 70, 95]), 110))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_milestones_are_passed_at_the_first_step_of_their_epoch(steps: int) -> None:
    spec = ScheduleSpec(**XIE)
    rates = [lr_share(spec, epoch + step / steps, 1 / steps) for epoch in range(110) for step in range(steps)]
    expected = [1.0] * 35 + [0.1] * 35 + [0.01] * 25 + [0.001] * 15
    assert rates == pytest.approx([share for share in expected for _ in range(steps)])


@pytest.mark.parametrize(("shape", "peak"), [(CYCLIC, 0.2), (FAST_1, 0.4)])
def test_fast_training_goes_up_and_down_in_lines_and_loses_no_step(shape: dict[str, Any], peak: float) -> None:
    """0, 0.2, 0 in 15 epochs on CIFAR-10; 0, 0.4, 0.04 in the first phase on ImageNet (methods.md 1.1)."""
    spec, steps = ScheduleSpec(**shape), 7
    epochs, shares = zip(*shape["points"], strict=True)
    moments = np.linspace(0, spec.epochs, 100)
    expected = np.interp(moments, epochs, shares) * peak
    assert [peak * lr_share(spec, moment) for moment in moments] == pytest.approx(expected)
    assert peak * lr_share(spec, epochs[1]) == peak
    rates = [lr_share(spec, epoch + step / steps, 1 / steps) for epoch in range(spec.epochs) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert np.mean(rates) == pytest.approx(np.trapezoid(shares, epochs) / spec.epochs, rel=0.01)


@pytest.mark.parametrize("shape", [{"shape": "cosine"}, CYCLIC, {"shape": "constant"}, {"lr_warmup_epochs": 3}])
def test_by_epoch_all_steps_of_an_epoch_have_one_rate(shape: dict[str, Any]) -> None:
    spec = ScheduleSpec(**{"epochs": 15, "per": "epoch"} | shape)
    for epoch in range(15):
        rates = {lr_share(spec, epoch + step / 8, 1 / 8) for step in range(8)}
        assert len(rates) == 1


def test_lines_that_are_read_by_epoch_can_be_steps_of_any_height() -> None:
    """FAT's own: a tenth from epoch 60, a hundredth from 90, 0.005 from 110."""
    points = ((0, 1), (59, 1), (60, 0.1), (89, 0.1), (90, 0.01), (109, 0.01), (110, 0.005), (120, 0.005))
    spec = ScheduleSpec(epochs=120, shape="piecewise-linear", points=points, per="epoch")
    expected = [1.0] * 60 + [0.1] * 30 + [0.01] * 20 + [0.005] * 10
    assert [lr_share(spec, epoch + 0.3, 0.1) for epoch in range(120)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "after"),
    [
        ({"shape": "cosine"}, lambda epoch: 0.5 * (1 + math.cos(math.pi * (epoch - 5) / 85))),
        ({"shape": "step", "milestones": (30, 60)}, lambda epoch: 0.1 ** sum(epoch >= mark for mark in (30, 60))),
        ({"shape": "constant"}, lambda epoch: 1.0),
    ],
)
def test_the_warm_up_rises_in_a_line_to_where_the_shape_begins(shape: dict[str, Any], after: Any) -> None:
    spec = ScheduleSpec(epochs=90, lr_warmup_epochs=5, **shape)
    for epoch in np.arange(0, 90, 0.5):
        assert lr_share(spec, epoch) == pytest.approx(epoch / 5 if epoch < 5 else after(epoch)), epoch


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize("warmup", [0.5, 1, 2.5, 10])
def test_the_warm_up_neither_loses_a_step_nor_passes_the_peak(per: str, warmup: float) -> None:
    spec = ScheduleSpec(epochs=10, lr_warmup_epochs=warmup, shape="constant", per=per)
    rates = [lr_share(spec, epoch + step / 4, 1 / 4) for epoch in range(10) for step in range(4)]
    assert rates == sorted(rates)
    assert rates[0] > 0
    assert rates[-1] == 1 or warmup == 10


@pytest.mark.parametrize(
    ("warmup", "done", "expected"), [(0, 0, 1.0), (4, 0, 0.0), (4, 1, 0.25), (4, 4, 1.0), (4, 9, 1.0)]
)
def test_the_training_budget_rises_linearly_and_stays(warmup: float, done: float, expected: float) -> None:
    assert threat_share(ScheduleSpec(epochs=10, threat_warmup_epochs=warmup), done) == pytest.approx(expected)


@pytest.mark.parametrize(("last", "first"), [(0, None), (10, 100), (110, 0)])
def test_running_statistics_are_used_in_the_last_epochs(last: int, first: int | None) -> None:
    spec = ScheduleSpec(running_statistics_epochs=last, **XIE)
    used = [moment for moment in np.arange(0, 110, 0.25) if running_statistics(spec, moment)]
    assert (used[0] if used else None) == first
    assert len(used) == 4 * last


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "step"}, "shape step needs milestones"),
        ({"shape": "piecewise-linear"}, "shape piecewise-linear needs points"),
        ({"milestones": (3,)}, "milestones are for shape step, not cosine"),
        ({"shape": "step", "milestones": (3,), "points": ((0, 1),)}, "points are for shape piecewise-linear, not step"),
        ({"shape": "step", "milestones": (3, 3)}, "milestones must be in the order"),
        ({"shape": "step", "milestones": (3, 11)}, "milestones lie outside the 10 epochs"),
        ({"shape": "step", "milestones": (-1, 3)}, "milestones lie outside the 10 epochs"),
        ({"shape": "piecewise-linear", "points": ((5, 1), (0, 0))}, "points must be in the order"),
        ({"shape": "piecewise-linear", "points": ((0, 0), (15, 1))}, "points lie outside the 10 epochs"),
        ({"shape": "piecewise-linear", "points": ((0, -0.1), (5, 1))}, "a share cannot be negative"),
        ({"lr_warmup_epochs": 11}, "lr_warmup_epochs 11 is longer than the 10 epochs"),
        ({"threat_warmup_epochs": 10.5}, r"threat_warmup_epochs 10\.5 is longer"),
        ({"running_statistics_epochs": 11}, "running_statistics_epochs 11 is longer"),
    ],
)
def test_a_schedule_that_cannot_be_run_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleSpec(**{"epochs": 10} | settings)
