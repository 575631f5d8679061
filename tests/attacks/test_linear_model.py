"""On a linear classifier the best attack is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nofrost.attacks import create_attack

WEIGHT = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])


def two_classes(images: Tensor) -> Tensor:
    """Logits 0 and w.x: the loss rises along w for label 0 and against it for label 1."""
    score = images.flatten(1) @ WEIGHT.to(images.dtype)
    return torch.stack([torch.zeros_like(score), score], 1)


def uphill() -> Tensor:
    sign = torch.where(LABELS == 0, 1.0, -1.0)[:, None]
    return (sign * WEIGHT).view_as(IMAGES)


def test_fgsm_adds_the_sign_of_the_weights() -> None:
    expected = (IMAGES + 0.1 * uphill().sign()).clamp(0, 1)
    torch.testing.assert_close(create_attack("fgsm", eps=0.1)(two_classes, IMAGES, LABELS), expected)


def test_fgsm_in_the_euclidean_norm_follows_the_weights() -> None:
    expected = (IMAGES + 0.3 * uphill() / WEIGHT.norm()).clamp(0, 1)
    result = create_attack("fgsm", norm="l2", eps=0.3)(two_classes, IMAGES, LABELS)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bim", "mim", "pgd", "pgd-targeted", "cw-linf", "apgd-ce"])
def test_iterative_attacks_reach_the_best_corner(name: str) -> None:
    # pgd-targeted has one class to aim at, and steps that reach from any start to the corner
    settings = {"steps": 40, "early_stop": False} | ({} if name == "apgd-ce" else {"step_size": 0.02})
    result = create_attack(name, eps=0.1, **settings)(two_classes, IMAGES, LABELS)
    torch.testing.assert_close(result, (IMAGES + 0.1 * uphill().sign()).clamp(0, 1))


@pytest.mark.parametrize("name", ["bim", "mim", "pgd", "apgd-ce"])
def test_iterative_attacks_reach_the_highest_loss_of_the_euclidean_ball(name: str) -> None:
    images = IMAGES * 0.2 + 0.4  # so far inside the box that it cuts nothing
    settings = {"steps": 60, "early_stop": False} | ({} if name == "apgd-ce" else {"step_size": 0.02})
    result = create_attack(name, norm="l2", eps=0.1, **settings)(two_classes, images, LABELS)
    reached = (two_classes(result) - two_classes(images))[:, 1].abs()
    torch.testing.assert_close(reached, torch.full_like(reached, 0.1 * WEIGHT.norm().item()), rtol=0.01, atol=0)
