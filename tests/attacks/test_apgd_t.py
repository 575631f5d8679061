"""Targeted Auto-PGD: its targets in their order, its work, and what stands in for ratios with few classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.apgd import Apgd, ApgdMargin, ApgdTMargin

Batch = tuple[Tensor, Tensor]


class Counting:
    """Counts the images that a gradient was asked for, call by call."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.gradients: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.gradients.append(len(images))
        logits: Tensor = self.model(images)
        return logits


def right(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        correct: Tensor = model(images).argmax(1) == labels
    return correct


@pytest.mark.parametrize(("targets", "restarts", "runs"), [(1, 1, 1), (2, 1, 2), (9, 1, 3), (2, 3, 6)])
def test_every_target_is_one_run_for_each_restart_and_there_are_at_most_all_wrong_classes(
    targets: int, restarts: int, runs: int, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    model = Counting(smooth_model)
    settings: dict[str, Any] = {"eps": 0.001, "steps": 4, "targets": targets, "restarts": restarts}
    create_attack("apgd-t", **settings)(model, *smooth_batch)
    assert model.gradients == [24] * (4 * runs)


def test_the_likeliest_wrong_class_is_aimed_at_first() -> None:
    """On a model whose every class has a pixel of its own, the pixels that move show the target."""

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) @ torch.eye(6, dtype=images.dtype)[:, [3, 1, 4, 0, 2, 5]]

    images = torch.tensor([0.2, 0.5, 0.3, 0.9, 0.4, 0.1]).view(1, 1, 2, 3)  # logits .9 .5 .4 .2 .3 .1
    moved = []
    for targets in (1, 2, 3, 4, 5):
        attack = create_attack("apgd-t", eps=0.1, steps=20, targets=targets, early_stop=False)
        moved.append((model(attack(model, images, torch.tensor([0]))) - model(images))[0])
    # the loss grows with the share of the target, so the best point is that of the likeliest one, whatever comes after
    assert all(each[0] < -0.099 and each[1] > 0.099 for each in moved)


def test_further_targets_are_for_the_images_still_right(robust_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    images, labels = digits[1][0][:200], digits[1][1][:200]
    model = Counting(robust_model)
    one, all_ = (
        right(robust_model, create_attack("apgd-t", eps=0.2, steps=8, targets=count)(model, images, labels), labels)
        for count in (1, 9)
    )
    assert not (all_ & ~one).any()
    assert all_.sum() < one.sum()
    second_run = model.gradients[8 + 8]  # after the run of the first attack, and the first of the second
    assert second_run == int(one.sum())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", [ApgdMargin, ApgdTMargin])
def test_on_few_classes_the_margin_stands_in_for_the_ratio(kind: type[Apgd], classes: int) -> None:
    weight = torch.randn(classes, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = 0.5 + 0.2 * torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def model(points: Tensor) -> Tensor:
        return points.flatten(1) @ weight.T

    labels = model(images).argmax(1)
    found = kind(eps=0.05, steps=30, early_stop=False)(model, images, labels)
    # the largest margin within the ball: of each class by itself, in closed form
    ways = weight[None] - weight[labels][:, None]
    best = (ways @ images.flatten(1)[:, :, None])[:, :, 0] + 0.05 * ways.abs().sum(2)
    best = best.scatter(1, labels[:, None], -torch.inf).amax(1)
    logits = model(found)
    margin = logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logits.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(margin, best, rtol=1e-3, atol=1e-3)
