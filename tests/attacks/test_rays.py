"""RayS: against a closed form, an independent slow version, and what must hold for any model."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.rays import AverageBoundaryDistance, Rays

Batch = tuple[Tensor, Tensor]
Pixels = NDArray[np.floating]


class OutOfQueriesError(Exception):
    pass


class SlowRays:
    """The published search for one image, written down step by step; it stops in the middle of anything."""

    def __init__(self, wrong: Callable[[Pixels], bool], image: Pixels, queries: int) -> None:
        self.ask, self.image, self.queries = wrong, image, queries
        self.best = image.dtype.type(math.inf)
        self.moved = math.inf

    def is_wrong(self, signs: Pixels, distance: np.floating | float) -> bool:
        if self.queries == 0:
            raise OutOfQueriesError
        self.queries -= 1
        point = np.clip(self.image + distance * signs, 0, 1).astype(self.image.dtype)
        if wrong := self.ask(point):
            self.moved = float(np.abs(point - self.image).max())
        return wrong

    def shorten(self, signs: Pixels) -> bool:
        """Search for the boundary along `signs`; return whether it is nearer there than along any signs before."""
        high = min(self.best, self.image.dtype.type(1))
        if not self.is_wrong(signs, high):
            return False
        known, low = self.best, self.image.dtype.type(0)
        self.best = high
        while True:
            middle = (low + high) / 2
            if self.is_wrong(signs, middle):
                high = middle
            else:
                low = middle
            self.best = min(known, high)
            if high - low <= 1e-3 / math.sqrt(self.image.size):
                return bool(high < known)

    def distance(self) -> float:
        try:
            if self.is_wrong(np.zeros_like(self.image), 0):
                return 0.0
            signs, blocks = np.ones_like(self.image), 2
            if self.shorten(-signs):
                signs = -signs
            elif math.isinf(self.best):
                self.shorten(signs)
            while True:
                size = math.ceil(self.image.size / blocks)
                for first in range(0, self.image.size, size):
                    flipped = signs.copy()
                    flipped[first : first + size] *= -1
                    if self.shorten(flipped):
                        signs = flipped
                blocks = blocks * 2 if size > 1 else blocks
        except OutOfQueriesError:
            return self.moved


def slow_distances(model: nn.Module, images: Tensor, labels: Tensor, queries: int) -> list[float]:
    def distance(image: Tensor, label: int) -> float:
        def wrong(pixels: Pixels) -> bool:
            return int(model(torch.from_numpy(pixels).view(1, *image.shape)).argmax()) != label

        return SlowRays(wrong, image.flatten().numpy(), queries).distance()

    with torch.no_grad():
        return [distance(image, int(label)) for image, label in zip(images, labels, strict=True)]


@pytest.mark.parametrize("queries", [1, 2, 3, 19, 150, 500])
def test_it_finds_the_distances_of_a_slow_version_query_for_query(
    queries: int, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    images, labels = smooth_batch[0][:6], smooth_batch[1][:6].clone()
    labels[0] = (labels[0] + 1) % 3
    result = Rays(eps=0, queries=queries).boundary_distances(smooth_model, images, labels)
    slow = torch.tensor(slow_distances(smooth_model, images, labels, queries), dtype=torch.float64)
    torch.testing.assert_close(result, slow, rtol=0, atol=1e-9)
    assert result[0] == 0
    assert (result[1:] > 0).all()


def test_it_finds_the_distances_of_a_slow_version_on_a_trained_net(natural_model: nn.Module, batch: Batch) -> None:
    images, labels = batch[0][:6], natural_model(batch[0][:6]).argmax(1)
    result = Rays(eps=0, queries=150).boundary_distances(natural_model, images, labels)
    slow = torch.tensor(slow_distances(natural_model, images, labels, 150))
    # the last bits of a convolution depend on the batch, and a decision on them
    assert ((result - slow).abs() < 1e-6).sum() >= 5
    assert abs(float(result.mean() - slow.mean())) < 0.01


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 3, 5), (1, 1, 1)])
def test_the_distance_to_a_plane_is_the_margin_over_the_sum_of_its_weights(shape: tuple[int, ...], side: int) -> None:
    pixels = math.prod(shape)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(pixels, generator=generator, dtype=torch.float64)
    normal = normal.sign() * (0.3 + normal.abs())
    images = 0.5 + 0.1 * (torch.rand(5, *shape, generator=generator, dtype=torch.float64) - 0.5)
    offset = side * 0.15 * normal.abs().sum()

    def model(images: Tensor) -> Tensor:
        height = (images - 0.5).flatten(1) @ normal + offset
        return torch.stack([height, -height], 1)

    exact = ((images - 0.5).flatten(1) @ normal + offset).abs() / normal.abs().sum()
    result = Rays(eps=0, queries=1000).boundary_distances(model, images, model(images).argmax(1))
    assert (result >= exact - 1e-12).all()
    assert (result <= exact + 2 * 1e-3 / math.sqrt(pixels)).all()


def test_as_an_attack_it_returns_a_misclassified_image_wherever_the_boundary_is_within_the_budget(
    natural_model: nn.Module, batch: Batch
) -> None:
    images, labels = batch
    attack = Rays(eps=0.1, queries=300)
    distance = attack.boundary_distances(natural_model, images, labels)
    adversarial = attack(natural_model, images, labels)
    fooled = natural_model(adversarial).argmax(1) != labels
    assert torch.equal(fooled, distance <= 0.1)
    assert fooled.any()
    assert not fooled.all()
    moved = (adversarial - images).abs().amax((1, 2, 3))
    assert moved.max() <= 0.1 + 1e-6
    assert torch.equal(moved[~fooled] > 0.1 - 1e-6, torch.ones(int((~fooled).sum()), dtype=torch.bool))


def test_more_queries_never_find_the_boundary_farther_away(natural_model: nn.Module, batch: Batch) -> None:
    distances = [
        Rays(eps=0, queries=queries).boundary_distances(natural_model, *batch) for queries in (1, 30, 100, 300)
    ]
    for fewer, more in pairwise(distances):
        assert (more <= fewer + 1e-6).all()
    assert distances[0].isinf().any()
    assert distances[-1].isfinite().all()


def test_distances_depend_neither_on_budget_nor_on_batch(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, labels = smooth_batch
    full = Rays(eps=0, queries=80).boundary_distances(smooth_model, images, labels)
    assert torch.equal(Rays(eps=0.5, queries=80).boundary_distances(smooth_model, images, labels), full)
    for rows in (torch.arange(5), torch.arange(5, 24).flip(0)):
        part = Rays(eps=0, queries=80).boundary_distances(smooth_model, images[rows], labels[rows], indices=rows)
        torch.testing.assert_close(part, full[rows], rtol=0, atol=1e-9)


def test_pixels_at_the_end_of_the_range_count_with_what_they_moved() -> None:
    """A mean above 0.8 is another class: half of the pixels cannot move by more than 0.1, so the others do by 0.2."""
    image = torch.tensor([0.9, 0.9, 0.4, 0.4], dtype=torch.float64).view(1, 1, 2, 2)

    def model(images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([0.8 - mean, mean - 0.8], 1)

    result = Rays(eps=0, queries=500).boundary_distances(model, image, torch.tensor([0]))
    assert result.item() == pytest.approx(0.2, abs=2e-3)


def test_where_no_image_is_misclassified_the_distance_is_infinite() -> None:
    def constant(images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1])
    result = Rays(eps=0.1, queries=60).boundary_distances(constant, images, labels)
    assert result.tolist() == [math.inf, math.inf, 0]
    adversarial = create_attack("rays", eps=0.1, queries=60)(constant, images, labels)
    assert torch.equal(adversarial[2], images[2])


def test_distances_leave_the_model_as_it_was_and_refuse_bad_input(natural_model: nn.Module, batch: Batch) -> None:
    rays = Rays(eps=0.1, queries=5)
    natural_model.train()
    try:
        before = {name: value.clone() for name, value in natural_model.state_dict().items()}
        rays.boundary_distances(natural_model, *batch)
        assert natural_model.training
        assert all(torch.equal(value, before[name]) for name, value in natural_model.state_dict().items())
    finally:
        natural_model.eval()
    assert rays.boundary_distances(natural_model, batch[0][:0], batch[1][:0]).shape == (0,)
    assert rays.boundary_distances(natural_model, batch[0].half(), batch[1]).dtype == torch.float32
    with pytest.raises(ValueError, match="images run from 0 to 2"):
        rays.boundary_distances(natural_model, 2 * batch[0], batch[1])
    with pytest.raises(ValueError, match="NaN"):
        rays.boundary_distances(lambda images: images.flatten(1)[:, :10] * torch.nan, *batch)
    with pytest.raises(ValueError, match="unknown norm"):
        Rays(norm="l2", eps=0.1)


def test_adbd_is_the_mean_of_the_known_distances_and_says_of_how_many() -> None:
    result = AverageBoundaryDistance.of(torch.tensor([0.0, 0.1, 0.2, math.inf]))
    assert result.average == pytest.approx(0.1)
    assert (result.images, result.misclassified, result.unreached) == (4, 1, 1)
    assert math.isnan(AverageBoundaryDistance.of(torch.tensor([math.inf])).average)
