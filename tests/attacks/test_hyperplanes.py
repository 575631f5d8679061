"""The shortest step onto a hyperplane inside the box, against independent solvers and in degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize
from torch import Tensor

from nofrost.attacks.hyperplanes import Hyperplanes, distance_to_plane, length

every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])
NORMS = ["linf", "l2"]


def column(*rows: list[float]) -> Tensor:
    """Images of one row of pixels each, [N, 1, 1, W]."""
    return torch.tensor(rows, dtype=torch.float64)[:, None, None]


def randoms(count: int, size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Points of which a third of the pixels lie at the box, normals, and what the planes rise to the box at most."""
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 1, 1, size, generator=generator, dtype=dtype) * 1.5 - 0.25).clamp_(0, 1)
    normal = torch.randn(count, 1, 1, size, generator=generator, dtype=dtype)
    most = (normal * torch.where(normal > 0, 1 - points, -points)).flatten(1).sum(1)
    return points, normal, most


def dot(normal: Tensor, change: Tensor) -> Tensor:
    return (normal.double() * change.double()).flatten(1).sum(1)


def bisected(points: Tensor, normal: Tensor, rise: Tensor, norm: str) -> Tensor:
    """The same by bisection for the time that the pixels move; `rise` at least 0 and within reach."""
    points, normal = points.double(), normal.double()
    room = torch.where(normal > 0, 1 - points, points)
    pace = torch.ones_like(normal) if norm == "linf" else normal.abs()

    def change(time: Tensor) -> Tensor:
        return normal.sign() * torch.minimum(pace * time[:, None, None, None], room)

    low, high = torch.zeros(len(points), dtype=torch.float64), torch.full((len(points),), 1e6, dtype=torch.float64)
    for _ in range(70):
        middle = (low + high) / 2
        short = dot(normal, change(middle)) < rise.double()
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return change(high)


def linear_programme(point: NDArray[np.float64], normal: NDArray[np.float64], rise: float) -> float:
    """The least largest change of a pixel: minimise t with -t <= change <= t."""
    size = len(point)
    below = np.hstack([np.eye(size), -np.ones((size, 1))])
    above = np.hstack([-np.eye(size), -np.ones((size, 1))])
    solution = linprog(
        np.eye(size + 1)[-1],
        A_ub=np.vstack([below, above]),
        b_ub=np.zeros(2 * size),
        A_eq=np.append(normal, 0.0)[None],
        b_eq=[rise],
        bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
    )
    assert solution.success
    return float(solution.fun)


def quadratic_programme(point: NDArray[np.float64], normal: NDArray[np.float64], rise: float) -> NDArray[np.float64]:
    """The shortest change."""
    solution = minimize(
        lambda change: change @ change / 2,
        np.zeros_like(point),
        jac=lambda change: change,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints={"type": "eq", "fun": lambda change: normal @ change - rise, "jac": lambda change: normal},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solution.success
    return np.asarray(solution.x)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8), share=st.floats(0.01, 0.99), sign=st.sampled_from([1, -1]))
def test_a_step_is_as_short_as_a_linear_programme_finds(seed: int, size: int, share: float, sign: int) -> None:
    points, normal, most = randoms(1, size, seed)
    change = Hyperplanes(sign * normal, "linf").step(points, sign * share * most)
    expected = linear_programme(points.flatten().numpy(), normal.flatten().numpy(), float(share * most))
    assert float(length(change, "linf")) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8), share=st.floats(0.01, 0.95), sign=st.sampled_from([1, -1]))
def test_a_euclidean_step_is_the_solution_of_a_quadratic_programme(
    seed: int, size: int, share: float, sign: int
) -> None:
    points, normal, most = randoms(1, size, seed)
    change = Hyperplanes(sign * normal, "l2").step(points, sign * share * most)
    expected = quadratic_programme(points.flatten().numpy(), normal.flatten().numpy(), float(share * most))
    np.testing.assert_allclose(change.flatten().numpy(), expected, atol=1e-5)


@every_norm
@pytest.mark.parametrize(("size", "dtype"), [(48, torch.float64), (3072, torch.float32), (150_528, torch.float32)])
def test_large_images_meet_their_planes_by_the_step_that_bisection_finds(
    norm: str, size: int, dtype: torch.dtype
) -> None:
    points, normal, most = randoms(2, size, dtype=dtype)
    rise = most * torch.tensor([0.01, 0.9], dtype=dtype)
    change = Hyperplanes(normal, norm).step(points, rise)
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(dot(normal, change), rise.double(), rtol=tolerance, atol=0)
    torch.testing.assert_close(change.double(), bisected(points, normal, rise, norm), rtol=1e-3, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    spread=st.floats(0, 12),
    share=st.floats(-0.999, 0.999),
)
def test_weights_of_every_order_of_magnitude_are_met_inside_the_box(
    norm: str, seed: int, size: int, spread: float, share: float
) -> None:
    """With weights and rooms over many decades the pixels meet the box one by one: the most work for Newton."""
    points, normal, _ = randoms(3, size, seed)
    generator = torch.Generator().manual_seed(seed)
    points = points * 10 ** (-spread * torch.rand(points.shape, generator=generator, dtype=torch.float64))
    normal = normal * 10 ** (-spread * torch.rand(points.shape, generator=generator, dtype=torch.float64))
    uphill = normal.sign() * (1 if share > 0 else -1)
    most = (normal.abs() * torch.where(uphill > 0, 1 - points, points)).flatten(1).sum(1)
    change = Hyperplanes(normal, norm).step(points, share * most)
    torch.testing.assert_close(dot(normal, change), share * most, rtol=1e-9, atol=1e-300)
    assert (points + change).min() >= -1e-15
    assert (points + change).max() <= 1 + 1e-15


@every_norm
@pytest.mark.parametrize("rise", [9.0, 1e30, torch.inf, -9.0, -torch.inf])
def test_a_plane_that_misses_the_box_leads_to_the_nearest_corner(norm: str, rise: float) -> None:
    points = column([0.2, 0.7, 0.0, 0.4])
    change = Hyperplanes(column([1.0, -2.0, 3.0, 0.0]), norm).step(points, torch.tensor([rise], dtype=torch.float64))
    expected = column([1.0, 0.0, 1.0, 0.4]) if rise > 0 else column([0.0, 1.0, 0.0, 0.4])
    torch.testing.assert_close(points + change, expected)


@every_norm
@pytest.mark.parametrize("rise", [0.0, 1.0, -1.0, torch.inf])
def test_without_a_normal_there_is_no_step(norm: str, rise: float) -> None:
    points, _, _ = randoms(2, 5)
    change = Hyperplanes(torch.zeros_like(points), norm).step(points, torch.full((2,), rise, dtype=torch.float64))
    assert torch.equal(change, torch.zeros_like(points))


@every_norm
def test_a_point_on_the_plane_stays(norm: str) -> None:
    points, normal, _ = randoms(3, 7)
    change = Hyperplanes(normal, norm).step(points, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(change, torch.zeros_like(points))


@every_norm
def test_a_plane_through_the_corner_leads_into_it(norm: str) -> None:
    points, normal, most = randoms(3, 7)
    corner = torch.where(normal > 0, 1.0, 0.0).double()
    torch.testing.assert_close(points + Hyperplanes(normal, norm).step(points, most), corner)


@every_norm
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_the_scale_of_the_model_does_not_matter(norm: str, scale: float) -> None:
    points, normal, most = randoms(4, 30, dtype=torch.float32)
    rise = 0.4 * most
    scaled = Hyperplanes(normal * scale, norm).step(points, rise * scale)
    tolerance = 1e-2 if scale < 1e-38 else 1e-5  # numbers that small have few digits
    torch.testing.assert_close(scaled, Hyperplanes(normal, norm).step(points, rise), rtol=0, atol=tolerance)


@every_norm
def test_each_image_has_a_step_of_its_own(norm: str) -> None:
    points, normal, most = randoms(5, 20)
    rise = most * torch.tensor([0.01, 0.5, 0.99, 1.5, 0.0], dtype=torch.float64)
    whole = Hyperplanes(normal, norm).step(points, rise)
    for row in range(5):
        one = slice(row, row + 1)
        torch.testing.assert_close(Hyperplanes(normal[one], norm).step(points[one], rise[one]), whole[one])


@every_norm
def test_nan_comes_to_an_end_and_stays_in_its_image(norm: str) -> None:
    points, normal, most = randoms(3, 6)
    rise = 0.5 * most
    expected = Hyperplanes(normal, norm).step(points, rise)
    normal[0, 0, 0, 0], rise[2] = torch.nan, torch.nan
    change = Hyperplanes(normal, norm).step(points, rise)
    torch.testing.assert_close(change[1], expected[1])


@every_norm
def test_the_distance_is_the_length_of_a_step_that_meets_no_box(norm: str) -> None:
    points, normal, _ = randoms(6, 12)
    rise = torch.tensor([0.01, -0.01, 0.1, -0.1, 0.0, 1e-9], dtype=torch.float64)
    step = Hyperplanes(normal, norm).step(torch.full_like(points, 0.5), rise)
    torch.testing.assert_close(distance_to_plane(normal, rise, norm), length(step, norm))
    assert torch.equal(distance_to_plane(torch.zeros(1, 1, 2, 2), torch.ones(1), norm), torch.tensor([torch.inf]))
