"""Groups of batch statistics: their formula, what as many processes would do, and which groups are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d, ScaledStdConv2d
from torch import Tensor, nn

from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import create_model
from nofrost.processes import ProcessGroup
from nofrost.train.batch_statistics import BatchStatistics, check_groups
from nofrost.train.objectives import Adversary, Batch, create_objective
from nofrost.train.setup import check_phases
from nofrost.train.trainer import Trainer

ONE = ProcessGroup()
# Objective, normaliser, settings of the objective: separate and joint passes, one branch and two, parts of a batch.
STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("st", "bn", {}),
    ("pgdat", "bn", {}),
    ("sat", "bn", {"batching": "separate"}),
    ("sat", "bn", {"batching": "joint"}),
    ("sat", "bn", {"batching": "joint", "clean_share": 0.5}),
    ("trades", "bn", {"batching": "joint"}),
    ("fat", "bn", {}),
    ("trades-fat", "bn", {}),
    ("alp", "bn", {}),
    ("alp", "mbn", {}),
    ("mbnat", "mbn", {"batching": "separate"}),
    ("mbnat", "mbn", {"batching": "joint", "clean_share": 0.5}),
    ("fast", "bn", {}),
    ("multi-view", "bn", {"batching": "separate"}),
    ("multi-view", "bn", {"batching": "joint"}),
)


def alone(tensor: Tensor) -> None:
    """The sum over the processes that share a group, of which there is one."""


def features(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 5


def model_of(normaliser: str, *, affine: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return create_model(
        "resnet8",
        normaliser=normaliser,
        affine=affine,
        num_classes=4,
        image_size=8,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
    ).double()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(12, 3, 2, 5), (12, 3)])
def test_groups_follow_the_formula(shape: tuple[int, ...], affine: bool) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    norm = kind(3, eps=0.01, momentum=0.2, affine=affine).double()
    norm.running_mean.fill_(1.5)
    norm.running_var.fill_(2.5)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    inputs = features(*shape)
    with BatchStatistics(groups=3).normalise():
        outputs = norm(inputs)
    dims, means, variances = (0, *range(2, len(shape))), [], []
    for group, output in zip(inputs.split(4), outputs.split(4), strict=True):
        count = group.numel() / 3
        mean = group.sum(dims, keepdim=True) / count
        square = (group - mean).square().sum(dims, keepdim=True)
        expected = (group - mean) / (square / count + 0.01).sqrt()
        if affine:
            view = (1, -1, *(1,) * (len(shape) - 2))
            expected = norm.weight.view(view) * expected + norm.bias.view(view)
        torch.testing.assert_close(output, expected)
        means.append(mean.flatten())
        variances.append(square.flatten() / (count - 1))
    torch.testing.assert_close(norm.running_mean, 0.8 * 1.5 + 0.2 * sum(means) / 3)
    torch.testing.assert_close(norm.running_var, 0.8 * 2.5 + 0.2 * sum(variances) / 3)
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("objective", "normaliser", "settings"), STEPS)
def test_groups_in_one_process_are_those_of_as_many_processes(
    objective: str, normaliser: str, settings: dict[str, Any], affine: bool
) -> None:
    """Gradients and running statistics are the means over two processes with half of the batch each."""
    images = torch.rand(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = Batch(images, torch.arange(8) % 4, torch.arange(8), {"augmented": images.flip(3)})
    model, loss = model_of(normaliser, affine=affine), create_objective(objective, **settings)
    adversary = Adversary(AttackSpec(name="pgd", steps=2), "l2", 0.5, seed=1)

    def after(net: nn.Module, part: Batch) -> nn.Module:
        loss.loss(net.train(), part, adversary).loss.backward()  # type: ignore[no-untyped-call]
        return net

    halves = [after(copy.deepcopy(model), part) for part in batch.parts(2, groups=1)]
    statistics = BatchStatistics.of(4, 8, ONE)
    with statistics.normalise():
        ours = after(model, batch.parts(1, statistics.groups)[0])
    for parameter, *others in zip(ours.parameters(), *(half.parameters() for half in halves), strict=True):
        torch.testing.assert_close(parameter.grad, sum(other.grad for other in others) / 2, atol=1e-12, rtol=1e-9)
    for buffer, *others in zip(ours.buffers(), *(half.buffers() for half in halves), strict=True):
        torch.testing.assert_close(buffer.double(), sum(other.double() for other in others) / 2)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3, 2, 5), (6, 3)])
def test_shared_statistics_of_one_process_are_those_of_torch(shape: tuple[int, ...], affine: bool) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    theirs = kind(3, affine=affine).double()
    if affine:
        nn.init.normal_(theirs.weight)
        nn.init.normal_(theirs.bias)
    ours = copy.deepcopy(theirs)
    inputs, weights = [features(*shape).requires_grad_() for _ in range(2)], torch.rand(shape, dtype=torch.float64)
    expected = theirs(inputs[0])
    (expected * weights).sum().backward()
    with BatchStatistics(all_reduce=alone).normalise():
        output = ours(inputs[1])
    (output * weights).sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


def test_half_precision_is_normalised_in_float32() -> None:
    norm, inputs = nn.BatchNorm2d(3), features(6, 3, 4, 4).bfloat16().requires_grad_()
    expected = nn.BatchNorm2d(3)(inputs.detach().float())
    with BatchStatistics(all_reduce=alone).normalise():
        output = norm(inputs)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, atol=0.02, rtol=0.01)
    output.sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("statistics", [BatchStatistics(groups=2), BatchStatistics(all_reduce=alone)])
def test_in_evaluation_mode_nothing_changes(statistics: BatchStatistics) -> None:
    model, images = model_of("bn").eval(), torch.rand(4, 1, 8, 8, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    expected = model(images)
    with statistics.normalise():
        assert torch.equal(model(images), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_standardised_weights_are_no_batch_norm() -> None:
    layer, images = ScaledStdConv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
    expected = layer.train()(images)
    with BatchStatistics(groups=2).normalise():
        assert torch.equal(layer(images), expected)


def test_batch_norms_of_timm_with_an_activation_have_groups_too() -> None:
    layer, images = BatchNormAct2d(3).double(), features(4, 3, 8, 8)
    expected = torch.cat([copy.deepcopy(layer)(part) for part in images.split(2)])
    with BatchStatistics(groups=2).normalise():
        torch.testing.assert_close(layer(images), expected)
    assert (expected == 0).any(), "the activation is part of the layer"


def test_process_and_all_of_one_process_are_torchs_own() -> None:
    assert BatchStatistics.of("process", 8, ONE) == BatchStatistics.of("all", 8, ONE) == BatchStatistics()
    assert BatchStatistics.of(8, 8, ONE) == BatchStatistics()
    assert BatchStatistics.of(2, 8, ONE) == BatchStatistics(groups=4)


def test_a_network_without_batch_norms_is_refused(make_trainer: Callable[..., Trainer]) -> None:
    """A normaliser `bn` keeps the network of an arch as it is, which may have none."""
    phases = make_trainer({"name": "st"}, statistics="all").phases
    network = create_model("resnet8", normaliser="gn", num_classes=10, image_size=16, channels=1)
    with pytest.raises(UserError, match=r"model\.batch_statistics all is for batch norms, which resnet8 lacks"):
        check_phases(network, phases)


@pytest.mark.parametrize(
    ("statistics", "images", "accumulation", "processes"),
    [("process", 7, 1, 1), ("all", 7, 1, 2), (7, 7, 1, 1), (4, 8, 1, 1), (16, 8, 1, 2), (16, 8, 2, 4)],
)
def test_whole_groups_are_accepted(statistics: Any, images: int, accumulation: int, processes: int) -> None:
    check_groups(statistics, images, accumulation, processes)


@pytest.mark.parametrize(
    ("statistics", "images", "accumulation", "processes", "message"),
    [
        (3, 8, 1, 1, "model.batch_statistics 3 makes no whole groups of the 8 images that a process has at once: set "
                     "it to process or all, or change schedule.batch_size"),
        (12, 8, 1, 1, r"12 makes no whole groups of the 8 images that a process has at once: set it to a divisor, such "
                      "as 4,"),
        (12, 8, 2, 3, r"8 images that a process has at once \(48 by 3 processes and 2 micro-batches\): set it to a "
                      "divisor, such as 4,"),
        (32, 8, 1, 2, r"\(16 by 2 processes\): set it to a divisor, such as 8"),
        (24, 8, 1, 4, r"\(32 by 4 processes\)"),
        (16, 8, 4, 1, r"\(32 by 4 micro-batches\)"),
    ],
)  # fmt: skip
def test_groups_that_end_inside_a_process_are_refused(
    statistics: int, images: int, accumulation: int, processes: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_groups(statistics, images, accumulation, processes)
