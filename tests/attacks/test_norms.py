"""Balls: projection, directions and random starts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nofrost.attacks.base import _rounded_towards
from nofrost.attacks.norms import BALLS
from nofrost.attacks.random import Noise

every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


def size(change: Tensor, norm: str) -> Tensor:
    flat = change.double().flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def images(count: int, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


@every_norm
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.floats(1e-4, 1), reach=st.floats(0, 10))
def test_a_projection_is_inside_and_projecting_again_changes_nothing(
    norm: str, seed: int, eps: float, reach: float
) -> None:
    centre = images(4, seed=seed)
    ball = BALLS[norm](centre, eps)
    points = centre + reach * (images(4, seed=seed + 1) - 0.5)
    inside = ball.project(points)
    assert (size(inside - centre, norm) <= eps + 1e-6).all()
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert torch.equal(ball.project(inside), inside)


@every_norm
def test_points_inside_are_not_moved(norm: str) -> None:
    centre = images(4) * 0.8 + 0.1
    points = centre + 0.001 * (images(4, seed=1) - 0.5)
    assert torch.equal(BALLS[norm](centre, 0.1).project(points), points)


def test_an_image_of_imagenet_size_stays_in_its_euclidean_ball() -> None:
    centre = images(2, (3, 224, 224))
    ball = BALLS["l2"](centre, 3.0)
    assert (size(ball.project(images(2, (3, 224, 224), seed=1)) - centre, "l2") <= 3 + 1e-6).all()


@every_norm
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-42, 1e30])
def test_a_direction_has_unit_norm_however_small_or_large_the_gradient(norm: str, scale: float) -> None:
    gradient = (images(4) - 0.5) * scale
    direction = BALLS[norm].direction(gradient)
    torch.testing.assert_close(size(direction, norm), torch.ones(4, dtype=torch.float64))
    assert ((direction * gradient) >= 0).all()


@every_norm
def test_no_gradient_gives_no_direction(norm: str) -> None:
    assert torch.equal(BALLS[norm].direction(torch.zeros(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))


@every_norm
def test_random_starts_fill_the_ball_and_boundary_starts_lie_on_it(norm: str) -> None:
    centre = torch.full((4000, 1, 1, 2), 0.5)
    noise = Noise.of(0, torch.arange(4000))
    ball = BALLS[norm](centre, 0.25)
    inside, boundary = ball.random_inside(noise) - centre, ball.random_boundary(noise) - centre
    torch.testing.assert_close(size(boundary, norm), torch.full((4000,), 0.25, dtype=torch.float64), rtol=1e-5, atol=0)
    # in two dimensions a point uniform in the square is within r with probability (r / eps)^2
    within = torch.tensor([0.25, 0.5, 0.75, 1.001], dtype=torch.float64)
    shares = [(size(inside, norm) <= 0.25 * share).double().mean().item() for share in within]
    assert shares == pytest.approx((within**2 if norm == "linf" else within).clamp(max=1).tolist(), abs=0.03)
    assert inside.mean(0).abs().max() < 0.01


@every_norm
def test_random_starts_are_cut_by_the_box(norm: str) -> None:
    centre = torch.zeros(50, 1, 4, 4)
    ball = BALLS[norm](centre, 1.0)
    for start in (
        ball.random_inside(Noise.of(0, torch.arange(50))),
        ball.random_boundary(Noise.of(0, torch.arange(50))),
    ):
        assert start.min() == 0
        assert start.max() > 0
        assert start.max() <= 1


def test_euclidean_starts_are_at_every_distance_however_many_dimensions() -> None:
    centre = torch.full((500, 3, 8, 8), 0.5)
    lengths = size(BALLS["l2"](centre, 0.3).random_inside(Noise.of(0, torch.arange(500))) - centre, "l2")
    assert lengths.mean().item() == pytest.approx(0.15, rel=0.05)
    assert math.isclose(lengths.max().item(), 0.3, rel_tol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_rounding_never_leads_away_from_the_clean_image(dtype: torch.dtype, seed: int) -> None:
    centre = torch.cat([images(3, seed=seed), torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)]).to(dtype)
    points = (centre.float() + 0.1 * (images(5, seed=seed + 1) - 0.5)).clamp(0, 1)
    rounded = _rounded_towards(centre, points)
    assert rounded.dtype == dtype
    assert ((rounded.float() - centre.float()).abs() <= (points - centre.float()).abs()).all()
    assert ((rounded.float() - points).abs() <= 2**-7).all()
    assert torch.equal(_rounded_towards(centre, centre.float()), centre)
