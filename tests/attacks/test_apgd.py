"""Auto-PGD: its step sizes and losses, and its targeted version."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.apgd import Apgd, ApgdMargin, ApgdTMargin, checkpoints
from nofrost.attacks.losses import error_log_odds

Batch = tuple[Tensor, Tensor]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (100, (22, 41, 57, 70, 80, 87, 93, 99)),
        (50, (11, 21, 30, 38, 45)),
        (20, (4, 7, *range(9, 21))),
        (1, (1,)),
        (3, (1, 2, 3)),
    ],
)
def test_checkpoints_follow_the_schedule(steps: int, expected: tuple[int, ...]) -> None:
    assert checkpoints(steps) == expected


class Recording:
    """Keeps the points at which a model is asked."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.points: list[Tensor] = []
        self.gradients = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.points.append(images.detach().clone())
        self.gradients += images.requires_grad
        logits: Tensor = self.model(images)
        return logits


def test_a_run_of_n_steps_takes_n_gradients_and_one_more_forward(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    model = Recording(smooth_model)
    create_attack("apgd-ce", eps=0.05, steps=9, early_stop=False)(model, *smooth_batch)
    assert (len(model.points), model.gradients) == (10, 9)


def test_the_first_step_is_as_long_as_the_ball_is_wide(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, labels = smooth_batch
    images = images * 0.5 + 0.25
    model = Recording(smooth_model)
    create_attack("apgd-ce", eps=0.05, steps=2, early_stop=False)(model, images, labels)
    start, first = model.points[:2]
    torch.testing.assert_close((start - images).abs().amax((1, 2, 3)), torch.full((24,), 0.05, dtype=torch.float64))
    # a step of twice the radius reaches the corner uphill from anywhere
    torch.testing.assert_close((first - images).abs(), torch.full_like(images, 0.05))


def test_the_result_is_the_best_point_that_was_visited(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, labels = smooth_batch
    for norm, eps in (("linf", 0.1), ("l2", 0.5)):
        model = Recording(smooth_model)
        result = create_attack("apgd-ce", norm=norm, eps=eps, steps=20, early_stop=False)(model, images, labels)
        visited = torch.stack(model.points)
        logits = smooth_model(visited.flatten(0, 1)).unflatten(0, visited.shape[:2])
        loss = torch.stack([error_log_odds(each, labels) for each in logits])
        fooled = logits.argmax(2) != labels
        assert 0 < fooled.any(0).sum() < 24  # both kinds of image occur
        best = torch.where(fooled == fooled.any(0), loss, -torch.inf).argmax(0)
        torch.testing.assert_close(result, visited[best, torch.arange(24)])


def test_stopping_early_fools_the_same_images_with_less_work(
    robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1]
    early, late = Recording(robust_model), Recording(robust_model)
    first = create_attack("apgd-ce", eps=0.2, steps=30)(early, images, labels)
    best = create_attack("apgd-ce", eps=0.2, steps=30, early_stop=False)(late, images, labels)
    with torch.no_grad():
        differ = (robust_model(first).argmax(1) == labels) != (robust_model(best).argmax(1) == labels)
    assert differ.sum() <= 1  # the rounding of a convolution depends on the size of the batch
    assert sum(map(len, early.points)) < 0.8 * sum(map(len, late.points))


def test_more_steps_and_restarts_are_stronger(robust_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    images, labels = digits[1]

    def right(**settings: int) -> int:
        result = create_attack("apgd-ce", eps=0.2, **settings)(robust_model, images, labels)
        with torch.no_grad():
            return int((robust_model(result).argmax(1) == labels).sum())

    assert right(steps=1) > right(steps=5) > right(steps=50)
    assert right(steps=5) > right(steps=5, restarts=4)


def test_a_higher_rho_halves_the_step_sooner(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    def last_moves(rho: float) -> float:
        model = Recording(smooth_model)
        create_attack("apgd-ce", eps=0.1, steps=20, rho=rho, early_stop=False)(model, *smooth_batch)
        return float((model.points[-1] - model.points[-2]).abs().mean())

    assert last_moves(1.0) < 0.1 * last_moves(0.0)


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
    result = kind(eps=0.05, steps=30, early_stop=False)(model, images, labels)
    # the largest margin within the ball: of each class by itself, in closed form
    ways = weight[None] - weight[labels][:, None]
    best = (ways @ images.flatten(1)[:, :, None])[:, :, 0] + 0.05 * ways.abs().sum(2)
    best = best.scatter(1, labels[:, None], -torch.inf).amax(1)
    logits = model(result)
    margin = logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logits.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(margin, best, rtol=1e-3, atol=1e-3)
