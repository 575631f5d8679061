"""Auto-PGD: its schedule, its work and what it returns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.apgd import checkpoints
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
        found = create_attack("apgd-ce", norm=norm, eps=eps, steps=20, early_stop=False)(model, images, labels)
        visited = torch.stack(model.points)
        logits = smooth_model(visited.flatten(0, 1)).unflatten(0, visited.shape[:2])
        loss = torch.stack([error_log_odds(each, labels) for each in logits])
        fooled = logits.argmax(2) != labels
        assert 0 < fooled.any(0).sum() < 24  # both kinds of image occur
        best = torch.where(fooled == fooled.any(0), loss, -torch.inf).argmax(0)
        torch.testing.assert_close(found, visited[best, torch.arange(24)])


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
        found = create_attack("apgd-ce", eps=0.2, **settings)(robust_model, images, labels)
        with torch.no_grad():
            return int((robust_model(found).argmax(1) == labels).sum())

    assert right(steps=1) > right(steps=5) > right(steps=50)
    assert right(steps=5) > right(steps=5, restarts=4)


def test_a_higher_rho_halves_the_step_sooner(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    def last_moves(rho: float) -> float:
        model = Recording(smooth_model)
        create_attack("apgd-ce", eps=0.1, steps=20, rho=rho, early_stop=False)(model, *smooth_batch)
        return float((model.points[-1] - model.points[-2]).abs().mean())

    assert last_moves(1.0) < 0.1 * last_moves(0.0)
