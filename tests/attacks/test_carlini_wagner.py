"""Carlini and Wagner's l2 attack: against closed forms, a plain loop over images, and torchattacks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.carlini_wagner import CwL2

Batch = tuple[Tensor, Tensor]


def cw(**settings: Any) -> CwL2:
    attack = create_attack("cw-l2", **{"eps": 1.0, **settings})
    assert isinstance(attack, CwL2)
    return attack


def by_the_letter(model: nn.Module, image: Tensor, label: int, attack: CwL2) -> float:
    """The distance that the authors' algorithm finds for one image, with torch's own Adam."""
    low, high, weight, nearest = 0.0, 1e10, attack.initial_c, math.inf
    for _ in range(attack.search_steps):
        space = torch.atanh((2 * image - 1) * 0.999999).requires_grad_()
        adam, succeeded = torch.optim.Adam([space], lr=attack.learning_rate), False
        for _ in range(attack.steps + 1):
            point = (space.tanh() + 1) / 2
            logits = model(point[None])[0]
            others = torch.cat([logits[:label], logits[label + 1 :]])
            distance = (point - image).square().sum()
            shortfall = (logits[label] - others.max() + attack.confidence).clamp(min=0)
            if int(logits.argmax()) != label and float(shortfall.detach()) == 0:
                succeeded, nearest = True, min(nearest, float(distance.detach().sqrt()))
            adam.zero_grad()
            (distance + weight * shortfall).backward()
            adam.step()
        if succeeded:
            high = min(high, weight)
        else:
            low = max(low, weight)
        weight = (low + high) / 2 if high < 1e9 else weight * 10
    return nearest


@pytest.mark.parametrize("confidence", [0.0, 0.5])
def test_the_distances_are_those_of_the_algorithm_image_by_image(
    smooth_model: nn.Module, smooth_batch: Batch, confidence: float
) -> None:
    images, labels = smooth_batch[0][:4], smooth_batch[1][:4]
    attack = cw(steps=15, search_steps=4, initial_c=0.1, learning_rate=0.05, confidence=confidence)
    expected = [
        by_the_letter(smooth_model, image, int(label), attack) for image, label in zip(images, labels, strict=True)
    ]
    distances = attack.distances(smooth_model, images, labels)
    torch.testing.assert_close(distances, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)
    assert distances.isfinite().any()


def test_with_one_value_of_c_it_is_never_weaker_than_torchattacks(
    natural_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    # Theirs takes pixels of exactly 0 and 1, where the tanh space has no point, as they are: none here.
    images, labels = 0.1 + 0.8 * digits[1][0][:100], digits[1][1][:100]
    with torch.no_grad():
        right = natural_model(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    theirs = torchattacks.CW(natural_model, c=1.0, kappa=0, steps=40, lr=0.05)(images, labels)
    distances = (theirs - images).flatten(1).norm(dim=1)
    with torch.no_grad():
        fooled = natural_model(theirs).argmax(1) != labels
    ours = cw(steps=39, search_steps=1, initial_c=1.0, learning_rate=0.05).distances(natural_model, images, labels)
    assert fooled.float().mean() > 0.5
    # Theirs ends for the whole batch once the summed loss rises, so that most of its points lie farther away. Pixels
    # without a gradient go their own ways, as Adam scales rounding up.
    assert (ours[fooled] <= 1.05 * distances[fooled]).all()


@pytest.mark.parametrize("seed", range(2))
def test_on_a_linear_model_the_distance_is_that_to_the_plane(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(12, generator=generator, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(5, 3, 2, 2, generator=generator, dtype=torch.float64)
    scores = images.flatten(1) @ weight
    offset = scores.mean()

    def model(points: Tensor) -> Tensor:
        score = points.flatten(1) @ weight - offset
        return torch.stack([torch.zeros_like(score), score], 1)

    labels = model(images).argmax(1)
    distances = cw(steps=120, search_steps=8, initial_c=0.01, learning_rate=0.02).distances(model, images, labels)
    plane = (scores - offset).abs() / weight.norm()
    assert (distances >= plane - 1e-9).all()
    torch.testing.assert_close(distances, plane, rtol=0.02, atol=1e-3)


def test_as_an_attack_it_breaks_exactly_the_images_that_are_near_enough(
    smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    settings = {"steps": 25, "search_steps": 3, "initial_c": 0.3, "learning_rate": 0.1}
    distances = cw(**settings).distances(smooth_model, *smooth_batch)
    eps = float(distances.median()) * 1.001
    with torch.no_grad():
        broken = smooth_model(cw(eps=eps, **settings)(smooth_model, *smooth_batch)).argmax(1) != smooth_batch[1]
    assert torch.equal(broken, distances <= eps)
    assert 0 < broken.double().mean() < 1


def test_more_confidence_costs_distance_and_gives_the_lead(natural_model: nn.Module, batch: Batch) -> None:
    settings = {"steps": 30, "search_steps": 3, "initial_c": 1.0, "learning_rate": 0.1, "eps": 5.0}
    plain, sure = (cw(confidence=lead, **settings) for lead in (0.0, 2.0))
    assert sure.distances(natural_model, *batch).mean() > plain.distances(natural_model, *batch).mean()
    with torch.no_grad():
        logits = natural_model(sure(natural_model, *batch))
    lead = logits.scatter(1, batch[1][:, None], -torch.inf).amax(1) - logits.gather(1, batch[1][:, None])[:, 0]
    assert (lead >= 2 - 1e-3).all()
