"""The exponential moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nofrost.models import create_model
from nofrost.train.optimiser import average_weights
from nofrost.train.trainer import Trainer


def small_net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def random_step(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Move weights and statistics at random and return a copy of the state."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    model(torch.randn(8, 3, generator=generator, dtype=torch.float64))
    return copy.deepcopy(model.state_dict())


def test_the_average_is_the_weighted_sum_of_all_weights_since_its_start() -> None:
    """decay^n w_0 + (1 - decay) * sum of decay^(n-i) w_i, of parameters and statistics; counts are the latest."""
    model = small_net()
    average = average_weights(model, 0.7)
    states = []
    for step in range(5):
        states.append(random_step(model, step))
        average.update_parameters(model)
    weights = [0.7**4] + [0.3 * 0.7 ** (4 - index) for index in range(1, 5)]
    for name, value in average.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 5
        else:
            expected = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
            assert torch.allclose(value, expected, rtol=1e-12), name


def test_the_average_begins_at_its_epoch_and_the_model_keeps_its_own_weights(
    make_trainer: Callable[..., Trainer],
) -> None:
    averaging = {"decay": 0.5, "start_epoch": 0.25}
    trainer, raw = (make_trainer({"name": "st"}, optimiser=options) for options in ({"averaging": averaging}, {}))
    steps = trainer.phase.images.steps
    first = next(step for step in range(1, steps) if step / steps >= 0.25)  # the steps after which it begins
    for number, batch in enumerate(trainer.phase.images.epoch(0, 0, 0), start=1):
        trainer.train_step(batch)
        raw.train_step(batch)
        trainer.state.step = raw.state.step = number
        assert (trainer.phase_state.ema_weights is None) == (number < first)
        assert trainer.result is (trainer.phase_state.ema_weights or trainer.model)
        own, weights = (each.model.state_dict() for each in (trainer, raw))
        assert all(torch.equal(own[name], weights[name]) for name in own)
        averaged = trainer.result.state_dict()
        equal = all(torch.equal(averaged[name], own[name]) for name in own)
        assert equal == (number <= first), "a copy at first"


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_an_average_that_was_saved_continues_with_the_same_bits(
    stopped_after: int, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """Saved before the average begins, and after."""
    options = {"averaging": {"decay": 0.5, "start_epoch": 0.25}}
    undisturbed, stopped = (make_trainer({"name": "st"}, optimiser=options) for _ in range(2))
    assert undisturbed.phase.images.steps * 0.25 > 1
    for number, batch in enumerate(undisturbed.phase.images.epoch(0, 0, 0), start=1):
        undisturbed.train_step(batch)
        stopped.train_step(batch)
        undisturbed.state.step = stopped.state.step = number
        if number == stopped_after:
            assert (stopped.phase_state.ema_weights is None) == (stopped_after == 1)
            stopped.folder = tmp_path
            stopped.save(0.0)
            stopped = make_trainer({"name": "st"}, optimiser=options)
            stopped.folder = tmp_path
            assert stopped.load()
    own, resumed = undisturbed.result.state_dict(), stopped.result.state_dict()
    assert stopped.phase_state.ema_weights is not None
    assert all(torch.equal(own[name], resumed[name]) for name in own)


def test_weights_that_do_not_move_average_to_themselves_exactly() -> None:
    model = create_model("resnet8", normaliser="nf", num_classes=10, image_size=16)
    average = average_weights(model, 0.999)
    for _ in range(20):
        average.update_parameters(model)
    averaged = average.module.state_dict()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in model.state_dict().items())


def test_the_average_needs_no_value_from_the_device() -> None:
    """On the meta device nothing has a value: whatever asked for one (a sync on a GPU) would fail."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = average_weights(model, 0.999)
    average.update_parameters(model)
    average.update_parameters(model)
