"""Attacks that see only outputs: how often they ask the model about each image, and what with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.rays import Rays

Batch = tuple[Tensor, Tensor]
query_attacks = pytest.mark.parametrize(("name", "norm"), [("square", "linf"), ("square", "l2"), ("rays", "linf")])
BUDGET = {"linf": 0.1, "l2": 0.5}


class Asked(nn.Module):
    """A model that keeps what it was asked."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.batches: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not images.requires_grad
        self.batches.append(images.clone())
        return self.model(images)

    def images(self) -> int:
        return sum(len(batch) for batch in self.batches)


def queries_of_each(attack: Callable[..., Tensor], model: nn.Module, images: Tensor, labels: Tensor) -> list[int]:
    """Attack each image alone, and return how often the model was asked about it."""
    counts = []
    for place in range(len(images)):
        asked, row = Asked(model), torch.tensor([place])
        attack(asked, images[row], labels[row], indices=row)
        counts.append(asked.images())
    return counts


@query_attacks
@pytest.mark.parametrize("queries", [1, 2, 30])
def test_no_image_is_asked_about_more_often_than_allowed(
    name: str, norm: str, queries: int, natural_model: nn.Module, batch: Batch
) -> None:
    images, labels = batch[0][:16], batch[1][:16]
    attack = create_attack(name, norm=norm, eps=BUDGET[norm], queries=queries)
    counts = queries_of_each(attack, natural_model, images, labels)
    assert max(counts) == queries
    full = Asked(natural_model)
    attack(full, images, labels)
    assert len(full.batches) == queries
    assert full.images() == sum(counts)


def test_the_images_of_a_batch_are_counted_one_by_one(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    """Square stays near the clean image, so that each point tells whose it is."""
    images, labels = smooth_batch
    model = Asked(smooth_model)
    create_attack("square", eps=0.05, queries=30)(model, images, labels)
    distances = torch.cdist(torch.cat(model.batches).flatten(1), images.flatten(1), p=torch.inf)
    assert ((distances <= 0.05 + 1e-6).sum(1) == 1).all()
    counts = distances.argmin(1).bincount(minlength=len(images))
    assert counts.max() == 30
    assert counts.min() >= 1


def test_each_restart_of_square_has_its_own_queries(natural_model: nn.Module, batch: Batch) -> None:
    images, labels = batch[0][:16], batch[1][:16]
    once, twice = (create_attack("square", eps=0.2, queries=10, restarts=restarts) for restarts in (1, 2))
    first, both = (queries_of_each(attack, natural_model, images, labels) for attack in (once, twice))
    survived = (natural_model(once(natural_model, images, labels)).argmax(1) == labels).tolist()
    assert True in survived
    assert False in survived
    assert max(both) == 20
    assert all((more > 10) == on for more, on in zip(both, survived, strict=True))
    assert all(more == less for more, less, on in zip(both, first, survived, strict=True) if not on)


def test_boundary_distances_take_all_queries_of_images_that_are_right(natural_model: nn.Module, batch: Batch) -> None:
    images, labels = batch[0][:16], batch[1][:16].clone()
    labels[:5] = (labels[:5] + 1) % 10
    wrong = natural_model(images).argmax(1) != labels

    counts = queries_of_each(Rays(eps=0.1, queries=25).boundary_distances, natural_model, images, labels)
    assert counts == [1 if each else 25 for each in wrong]


@query_attacks
def test_a_model_without_gradient_is_attacked(name: str, norm: str, natural_model: nn.Module, batch: Batch) -> None:
    def rounding(images: Tensor) -> Tensor:
        logits: Tensor = natural_model((images * 64).round() / 64)
        return logits.detach()

    adversarial = create_attack(name, norm=norm, eps=BUDGET[norm], queries=200)(rounding, *batch)
    right = [(rounding(each).argmax(1) == batch[1]).sum() for each in (batch[0], adversarial)]
    assert right[1] < 0.9 * right[0]


@query_attacks
@pytest.mark.parametrize(
    ("classes", "shape"), [(2, (1, 4, 4)), (2, (1, 1, 1)), (3, (2, 1, 6)), (1000, (3, 5, 9)), (4, (3, 224, 224))]
)
@pytest.mark.parametrize("scale", [1e-6, 1e30])
def test_any_shape_number_of_classes_and_size_of_logits_works(
    name: str, norm: str, classes: int, shape: tuple[int, ...], scale: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, *shape, generator=generator)
    weight = torch.randn(images[0].numel(), classes, generator=generator) * scale

    def model(images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ weight

    labels = model(images).argmax(1)
    adversarial = create_attack(name, norm=norm, eps=BUDGET[norm], queries=20)(model, images, labels)
    assert adversarial.shape == images.shape
    change = (adversarial - images).flatten(1).double()
    assert change.norm(p={"linf": torch.inf, "l2": 2}[norm], dim=1).max() <= BUDGET[norm] + 1e-6
    assert (change != 0).any()


@query_attacks
def test_every_point_asked_about_is_an_image_and_square_stays_in_the_ball(
    name: str, norm: str, natural_model: nn.Module, batch: Batch
) -> None:
    model = Asked(natural_model)
    images, labels = batch[0][:1], batch[1][:1]
    create_attack(name, norm=norm, eps=BUDGET[norm], queries=300)(model, images, labels)
    points = torch.cat(model.batches)
    assert points.min() >= 0
    assert points.max() <= 1
    change = (points - images).flatten(1).double()
    if name == "square":
        assert change.norm(p={"linf": torch.inf, "l2": 2}[norm], dim=1).max() <= BUDGET[norm] + 1e-6


@query_attacks
def test_the_layout_in_memory_does_not_matter(
    name: str, norm: str, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    images, labels = smooth_batch
    attack = create_attack(name, norm=norm, eps=BUDGET[norm], queries=60)
    plain = attack(smooth_model, images, labels)
    last = attack(smooth_model, images.contiguous(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(last, plain, rtol=0, atol=1e-12)


@query_attacks
def test_queries_must_be_a_whole_number_of_at_least_one(name: str, norm: str) -> None:
    for queries in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=rf"queries: (input should be .*, got {queries}|true is not a number)"):
            create_attack(name, norm=norm, eps=0.1, queries=queries)
