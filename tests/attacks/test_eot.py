"""Expectation over transformation: for a model that answers at random, the mean of several passes counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import attack_settings, create_attack, list_attacks
from nofrost.attacks.losses import margin
from nofrost.attacks.model import CheckedModel

Batch = tuple[Tensor, Tensor]
WITH_EOT = [name for name in list_attacks() if "eot" in attack_settings(name)]
WEIGHTS = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Turns:
    """A linear model with other weights at every call, in turn."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1) @ WEIGHTS[(self.calls - 1) % 3].to(images.dtype)


def test_every_attack_by_gradients_has_it() -> None:
    assert {"fgsm", "bim", "pgd", "pgd-targeted", "mim", "cw-linf", "apgd-ce", "apgd-dlr", "apgd-t"} <= set(WITH_EOT)


def test_loss_gradient_and_decision_are_those_of_the_mean() -> None:
    images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = images.flatten(1) @ WEIGHTS  # [3, 5, 4]
    labels = logits.mean(0).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    loss, fooled, gradient = CheckedModel(Turns(), labels).loss_and_grad(images, labels, margin, passes=3)
    torch.testing.assert_close(loss, torch.stack([margin(each, labels) for each in logits]).mean(0))
    assert fooled.tolist() == [True, False, False, False, False]
    assert (logits.argmax(2) != labels).any(0).sum() > 1  # by single passes more would count
    rivals = torch.stack([each.scatter(1, labels[:, None], -torch.inf).argmax(1) for each in logits])
    at = torch.arange(3)[:, None]
    expected = (WEIGHTS.mT[at, rivals] - WEIGHTS.mT[at, labels]).mean(0)
    torch.testing.assert_close(gradient.flatten(1), expected)
    judged = CheckedModel(Turns(), labels).loss(images, labels, margin, passes=3)
    torch.testing.assert_close(judged, (loss, fooled))


@pytest.mark.parametrize("name", WITH_EOT)
def test_passes_multiply_the_calls_and_change_nothing_for_a_model_without_chance(
    name: str, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    settings: dict[str, Any] = {"eps": 0.1} | ({} if name == "fgsm" else {"steps": 4, "early_stop": False})
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls[-1] += images.requires_grad
        logits: Tensor = smooth_model(images)
        return logits

    found = []
    for eot in (1, 3):
        calls.append(0)
        found.append(create_attack(name, eot=eot, **settings)(model, *smooth_batch))
    torch.testing.assert_close(found[0], found[1])
    assert calls[1] == 3 * calls[0]


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd-ce"])
def test_more_passes_fool_a_noisy_model_more_often(
    name: str, natural_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1][0][:200], digits[1][1][:200]

    def noisy(points: Tensor) -> Tensor:
        return natural_model(points + 0.5 * torch.randn_like(points))

    settings: dict[str, Any] = {"eps": 0.1} | ({} if name == "fgsm" else {"steps": 8})
    right = []
    for eot in (1, 12):
        found = create_attack(name, eot=eot, **settings)(noisy, images, labels)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            right.append(sum((noisy(found).argmax(1) == labels).double().mean().item() for _ in range(20)) / 20)
    assert right[1] < right[0] - 0.02
