"""Fixup: every residual branch starts at zero, its first layers are scaled down with depth, and it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nofrost.models import Classifier, create_model
from nofrost.models.architectures.fixup import FixupConv2d, FixupLinear, Shift

NETWORKS = {"resnet14": (6, 2), "cifar-resnet18-w8": (8, 2), "cifar-resnet50-w8": (16, 3), "wrn-16-1": (6, 2)}
IMAGES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def build(arch: str) -> Classifier:
    torch.manual_seed(0)
    return create_model(arch, normaliser="fixup", num_classes=4, image_size=16)


def branches(model: Classifier) -> list[list[FixupConv2d]]:
    """Convolutions of each residual branch."""
    blocks = [module for module in model.modules() if hasattr(module, "shortcut")]
    return [
        [child for name, child in block.named_children() if isinstance(child, FixupConv2d) and name != "shortcut"]
        for block in blocks
    ]


@pytest.mark.parametrize("arch", NETWORKS)
def test_at_first_every_branch_and_every_logit_is_zero(arch: str) -> None:
    model = build(arch)
    seen = []
    for branch in branches(model):
        branch[-1].register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    assert torch.equal(model(IMAGES), torch.zeros(8, 4))
    assert len(seen) == NETWORKS[arch][0]
    assert all(not output.any() for output in seen)


@pytest.mark.parametrize("arch", NETWORKS)
def test_the_other_layers_of_a_branch_are_scaled_by_the_number_of_branches(arch: str) -> None:
    blocks, layers = NETWORKS[arch]
    for branch in branches(build(arch)):
        assert len(branch) == layers
        for convolution in branch[:-1]:
            height, width = convolution.kernel_size
            expected = math.sqrt(2 / (height * width * convolution.out_channels)) * blocks ** (-1 / (2 * layers - 2))
            error = 4 / math.sqrt(2 * convolution.weight.numel())  # four standard errors of an estimated deviation
            assert convolution.weight.std().item() == pytest.approx(expected, rel=error)


@pytest.mark.parametrize("arch", NETWORKS)
def test_there_is_no_normaliser_and_a_number_before_each_convolution_activation_and_the_last_layer(arch: str) -> None:
    model = build(arch)
    assert not any(isinstance(module, nn.modules.batchnorm._NormBase) for module in model.modules())
    assert any(isinstance(module, Shift) for module in model.modules())
    assert isinstance(model.network.get_classifier(), FixupLinear)  # type: ignore[operator]
    plain = [name for name, module in model.network.named_modules() if type(module) is nn.Conv2d]
    assert plain == ["conv1"]  # before which are the images alone
    scales = [
        module.scale for module in model.modules() if isinstance(module, FixupConv2d) and module.scale is not None
    ]
    assert [scale.item() for scale in scales] == [1.0] * NETWORKS[arch][0]


@pytest.mark.parametrize("arch", NETWORKS)
def test_a_few_steps_bring_the_loss_down_and_move_the_branches(arch: str) -> None:
    model = build(arch)
    labels = torch.arange(8) % 4
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(IMAGES), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(4))
    assert losses[-1] < losses[0]
    assert all(branch[-1].weight.any() for branch in branches(model))
