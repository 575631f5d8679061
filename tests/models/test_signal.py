"""Signal propagation: the variance behind each block is the one it was built for, in timm's networks what it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nofrost.models import Classifier, create_model, signal_propagation
from nofrost.models.architectures.small_resnet import SmallResNet


def borderless(model: Classifier) -> Classifier:
    """Take the zeros at the border away, which lower the variance of small maps and are in no formula."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
    return model


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_variance_grows_by_alpha_squared_and_starts_anew_at_each_transition(alpha: float) -> None:
    torch.manual_seed(0)
    model = create_model("resnet20", normaliser="nf", num_classes=4, image_size=32)
    model.network = SmallResNet(3, 3, 4, free=True, dropout=0.25, drop_path=0.1, alpha=alpha)
    signals = signal_propagation(borderless(model), images=8)
    profile = [1 + (index % 3 + 1) * alpha**2 for index in range(9)]
    assert [signal.expected_variance for signal in signals] == pytest.approx(profile)
    assert [signal.variance for signal in signals] == pytest.approx(profile, rel=0.25)
    assert max(signal.squared_mean for signal in signals) < 0.05  # no mean shift builds up


def test_without_standardisation_a_mean_shift_builds_up() -> None:
    torch.manual_seed(0)
    plain = create_model("resnet20", normaliser="none", num_classes=4, image_size=32)
    assert signal_propagation(plain, images=4)[-1].squared_mean > 1


def test_the_shortcut_of_timm_loses_variance_at_every_transition() -> None:
    torch.manual_seed(0)
    model = create_model("nf_resnet26", normaliser="nf", num_classes=4, image_size=128)
    signals = signal_propagation(model, images=4)
    assert [signal.name for signal in signals] == [f"stages.{stage}.{block}" for stage in range(4) for block in (0, 1)]
    assert [signal.variance for signal in signals[::2]] == pytest.approx([2.96, 1.02, 0.27, 0.065], rel=0.15)
    assert {signal.expected_variance for signal in signals} == {None}


@pytest.mark.parametrize("normaliser", ["bn", "mbn", "gn"])
def test_asking_for_the_signal_leaves_the_model_as_it_was(normaliser: str) -> None:
    model = create_model("resnet8", normaliser=normaliser, num_classes=4, image_size=16)
    before = copy.deepcopy(model.state_dict())
    signals = signal_propagation(model)
    assert signals == signal_propagation(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_batch_norms_normalise_by_the_batch_as_in_the_first_step_of_a_training() -> None:
    model = create_model("resnet8", num_classes=4, image_size=16)
    before = [signal.variance for signal in signal_propagation(model)]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(100)  # type: ignore[union-attr]
    assert [signal.variance for signal in signal_propagation(model)] == before


def test_a_plain_network_is_followed_layer_by_layer() -> None:
    model = create_model("resnet8", num_classes=4, image_size=4, channels=1)
    model.network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    assert [signal.name for signal in signal_propagation(model)] == ["1", "3"]


def test_the_channels_of_tokens_come_last() -> None:
    model = create_model("resnet8", num_classes=4, image_size=4, channels=1)

    class Tokens(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([images.new_full((len(images), 5), value) for value in (1.0, -3.0)], 2)

    tokens = Tokens()
    tokens.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model.network = nn.Sequential(tokens)
    (signal,) = signal_propagation(model)
    assert (signal.squared_mean, signal.variance) == (5.0, 0.0)
