"""The exponential moving average of weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nofrost.config.optimisation import Averaging
from nofrost.models import create_model
from nofrost.train.averaging import WeightAverage


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
    average = WeightAverage(model, Averaging(decay=0.7, start_epoch=1))
    seen = []
    for step in range(6):
        state = random_step(model, step)
        average.update((step + 1) / 2)  # two steps an epoch: the average begins after the second
        if step >= 1:
            seen.append(state)
    weights = [0.7**4] + [0.3 * 0.7 ** (4 - index) for index in range(1, 5)]
    for name, value in average.state().items():
        if name.endswith("num_batches_tracked"):
            assert value == 6
        else:
            expected = sum(weight * state[name] for weight, state in zip(weights, seen, strict=True))
            assert torch.allclose(value, expected, rtol=1e-12), name


def test_before_its_start_there_is_no_average_and_the_model_stays_as_it_is() -> None:
    model = small_net()
    average = WeightAverage(model, Averaging(start_epoch=2))
    before = random_step(model, 0)
    average.update(1.9)
    assert average.state() == {}
    with average.applied():
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_model_bears_the_average_inside_the_block_and_its_own_weights_after_it() -> None:
    model = create_model("resnet8", num_classes=10, image_size=16)
    average = WeightAverage(model, Averaging(decay=0.5))
    for step in range(3):
        torch.manual_seed(step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
    own = copy.deepcopy(model.state_dict())
    with average.applied():
        assert all(torch.equal(tensor, average.state()[name]) for name, tensor in model.state_dict().items())
        assert not torch.equal(model.state_dict()["network.conv1.weight"], own["network.conv1.weight"])
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_the_model_has_its_own_weights_again_when_the_block_fails() -> None:
    model = small_net()
    average = WeightAverage(model, Averaging(decay=0.5))
    average.update(0)
    own = random_step(model, 0)
    average.update(1)
    with pytest.raises(KeyboardInterrupt), average.applied():
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_an_average_that_was_saved_goes_on_with_the_same_bits(stopped_after: int) -> None:
    whole_model, model = small_net(), small_net()
    whole_model.load_state_dict(model.state_dict())
    spec = Averaging(decay=0.9, start_epoch=2)
    whole, part = WeightAverage(whole_model, spec), WeightAverage(model, spec)
    for step in range(5):
        random_step(whole_model, step)
        random_step(model, step)
        whole.update(step)
        part.update(step)
        if step == stopped_after:
            saved = copy.deepcopy(part.state())
            part = WeightAverage(model, spec)
            part.load(saved)
    assert whole.state().keys() == part.state().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, part.state()[name]) for name, tensor in whole.state().items())


def test_weights_that_do_not_move_average_to_themselves_exactly() -> None:
    model = create_model("resnet8", normaliser="nf", num_classes=10, image_size=16)
    average = WeightAverage(model, Averaging(decay=0.999))
    for step in range(20):
        average.update(step)
    assert all(torch.equal(tensor, average.state()[name]) for name, tensor in model.state_dict().items())


def test_the_average_needs_no_value_from_the_device() -> None:
    """On the meta device nothing has a value: whatever asked for one (a sync on a GPU) would fail."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = WeightAverage(model, Averaging())
    average.update(0)
    average.update(1)
    assert average.state().keys() == model.state_dict().keys()
