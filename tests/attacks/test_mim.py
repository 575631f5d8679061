"""The momentum iterative method: its sum of gradients, and its agreement with an independent implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack

Batch = tuple[Tensor, Tensor]


def loop(model: nn.Module, images: Tensor, labels: Tensor, norm: str, eps: float, step: float, decay: float) -> Tensor:
    """Algorithm 1 of Dong et al. with cross-entropy, ten steps."""
    points, total = images, torch.zeros_like(images)
    for _ in range(10):
        points = points.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(points), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, points)
        total = decay * total + gradient / gradient.flatten(1).norm(p=1, dim=1)[:, None, None, None]
        if norm == "linf":
            points = torch.clamp(points + step * total.sign(), images - eps, images + eps)
        else:
            points = points + step * total / total.flatten(1).norm(dim=1)[:, None, None, None]
            change = points.clamp(0, 1) - images
            points = images + change * (eps / change.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None, None]
        points = points.clamp(0, 1)
    return points.detach()


@pytest.mark.parametrize("decay", [0.5, 1.0])
@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 0.1, 0.02), ("l2", 0.6, 0.1)])
def test_the_last_point_is_that_of_the_algorithm(
    norm: str, eps: float, step: float, decay: float, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    settings: dict[str, Any] = {"norm": norm, "eps": eps, "step_size": step, "steps": 10, "keep": "last"}
    found = create_attack("mim", decay=decay, **settings)(smooth_model, *smooth_batch)
    expected = loop(smooth_model, *smooth_batch, norm, eps, step, decay)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_without_momentum_it_is_bim(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    settings: dict[str, Any] = {"eps": 0.1, "steps": 6, "keep": "last"}
    plain = create_attack("bim", **settings)(smooth_model, *smooth_batch)
    assert torch.equal(create_attack("mim", decay=0, **settings)(smooth_model, *smooth_batch), plain)
    assert not torch.equal(create_attack("mim", **settings)(smooth_model, *smooth_batch), plain)


def test_letting_images_go_early_fools_the_same(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    """Each image keeps its own momentum when others leave."""
    images, labels = digits[1]
    right = []
    for early_stop in (True, False):
        found = create_attack("mim", eps=0.1, steps=15, early_stop=early_stop)(natural_model, images, labels)
        with torch.no_grad():
            right.append(natural_model(found).argmax(1) == labels)
    assert 0.3 < right[0].double().mean() < 0.7
    assert (right[0] != right[1]).sum() <= 1  # the rounding of a convolution depends on the size of the batch


@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_neither_vanishing_nor_huge_gradients_lose_the_momentum(
    scale: float, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    images, labels = smooth_batch[0].float(), smooth_batch[1]
    model = smooth_model.float()
    attack = create_attack("mim", eps=0.1, steps=6, keep="last")
    scaled = attack(lambda points: model(points) * scale, images, labels)
    # the loss is another, so only both ends can be compared: every pixel moved as far
    assert (scaled - images).abs().amax((1, 2, 3)).min() > 0.09


@pytest.mark.parametrize("keep", ["last", "best"])
def test_it_is_as_strong_as_torchattacks(
    keep: str, request: pytest.FixtureRequest, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1][0][:200], digits[1][1][:200]
    for name, eps in (("natural_model", 0.1), ("robust_model", 0.2)):
        model = request.getfixturevalue(name)
        ours = create_attack("mim", eps=eps, steps=20, step_size=eps / 20, keep=keep)(model, images, labels)
        theirs = torchattacks.MIFGSM(model, eps=eps, alpha=eps / 20, steps=20, decay=1.0)(images, labels)
        with torch.no_grad():
            left, survived = (model(each).argmax(1) == labels for each in (ours, theirs))
        assert 0.05 < left.double().mean() < 0.95
        assert left.double().mean() <= survived.double().mean() + 0.005
        if keep == "last":
            assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-5).double().mean() > 0.9
