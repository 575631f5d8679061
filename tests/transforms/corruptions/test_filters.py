"""Filters and resampling agree with SciPy and OpenCV, and with the sequences that the published code goes through."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nofrost.transforms.corruptions import taps
from nofrost.transforms.corruptions.blur import _taken
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import convolved, gaussian_filter, motion_blurred, sampled
from nofrost.transforms.corruptions.noise import poisson_tables
from nofrost.transforms.corruptions.taps import Border, filtered, gaussian_taps, mirrored, nearest, zoom_taps
from nofrost.transforms.corruptions.water import edge_distance, equalised

CPU = torch.device("cpu")


def images(n: int = 2, channels: int = 3, height: int = 21, width: int = 34) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.5, 6.0])
def test_the_gaussian_is_that_of_scipy(sigma: float) -> None:
    expected = ndimage.gaussian_filter(images().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    assert np.allclose(gaussian_filter(images(), sigma), expected, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 30.0])
def test_the_gaussian_mirrors_as_scipy_does_however_far_it_reaches(sigma: float) -> None:
    expected = ndimage.gaussian_filter(images().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=3)
    assert np.allclose(gaussian_filter(images(), sigma, mirrored, truncate=3.0), expected, atol=2e-6)


@pytest.mark.parametrize("size", [3, 7, 25])
def test_a_convolution_mirrors_at_the_border_through_the_fourier_transform_too(size: int) -> None:
    half = torch.rand(size // 2 + 1, generator=torch.Generator().manual_seed(1))
    line = torch.cat((half.flip(0), half[1:]))
    kernel = line[:, None] * line / line.sum() ** 2
    expected = ndimage.correlate(images().numpy(), kernel[None, None].numpy(), mode="mirror")
    assert np.allclose(convolved(images(), kernel), expected, atol=2e-6)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.37, 2.0, 4.5])
def test_a_zoom_is_that_of_scipy_cut_back_in_the_middle(factor: float) -> None:
    image = images(1, 3, 30, 30)
    window = math.ceil(30 / factor)
    first = (30 - window) // 2
    cut = image[0, :, first : first + window, first : first + window].numpy()
    zoomed = ndimage.zoom(cut, (1, factor, factor), order=1)
    trim = (zoomed.shape[1] - 30) // 2
    expected = zoomed[:, trim : trim + 30, trim : trim + 30]
    zoom = zoom_taps(30, factor)
    assert np.allclose(filtered(image, zoom, zoom)[0], expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (70, 97), (224, 81)])
@pytest.mark.parametrize("border", [nearest, mirrored])
@pytest.mark.parametrize("sigma", [0.6, 3.0, 9.0])
def test_bands_of_a_matrix_filter_as_the_whole_matrix_does(
    height: int, width: int, border: Border, sigma: float
) -> None:
    image = images(2, 2, height, width)
    rows, columns = gaussian_taps(height, sigma, border), gaussian_taps(width, sigma, border)
    assert taps.is_large(image)
    expected = rows.matrix @ image @ columns.matrix.T
    assert torch.allclose(filtered(image, rows, columns), expected, atol=2e-6)
    alone = torch.cat([filtered(each[None], rows, columns) for each in image])
    assert torch.equal(filtered(image, rows, columns), alone)


@pytest.mark.parametrize(("size", "factor"), [(70, 1.01), (224, 1.2), (224, 4.0), (75, 2.3)])
def test_bands_hold_every_weight_of_a_zoom(size: int, factor: float) -> None:
    image = images(1, 1, size, size)
    zoom = zoom_taps(size, factor)
    assert torch.allclose(filtered(image, zoom, zoom), zoom.matrix @ image @ zoom.matrix.T, atol=2e-6)


@pytest.mark.parametrize(("beyond", "mode"), [("mirrored", "reflect"), ("mirrored-at-centre", "mirror")])
def test_places_between_pixels_and_beyond_the_border_are_those_of_scipy(beyond: str, mode: str) -> None:
    image = images(1, 1)
    generator = torch.Generator().manual_seed(2)
    down = torch.rand(1, 21, 34, generator=generator) * 40 - 10
    right = torch.rand(1, 21, 34, generator=generator) * 60 - 12
    expected = ndimage.map_coordinates(image[0, 0].numpy(), (down[0].numpy(), right[0].numpy()), order=1, mode=mode)
    assert np.allclose(sampled(image, down, right, beyond=beyond)[0, 0], expected, atol=2e-5)


@pytest.mark.parametrize(("angle", "down", "right"), [(0.0, 0, -1), (90.0, -1, 0), (-90.0, 1, 0), (45.0, -1, -1)])
def test_motion_spreads_a_point_to_one_side_of_the_direction(angle: float, down: int, right: int) -> None:
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 1
    blurred = motion_blurred(point, 3, 2.0, torch.tensor([angle]))[0, 0]
    assert float(blurred.sum()) == pytest.approx(1)
    weights = torch.exp(-(torch.arange(7) ** 2) / 8)
    step = 1 if angle % 90 == 0 else math.sqrt(0.5)
    line = torch.zeros(15, 15)
    for number, weight in enumerate(weights / weights.sum()):
        away = math.ceil(number * step - 0.5) if angle % 90 else number
        line[7 + down * away, 7 + right * away] += weight
    assert torch.allclose(blurred, line, atol=1e-6)


@pytest.mark.parametrize("angle", [-135.0, -100.0, -45.0, -10.0, 0.0, 30.0, 45.0])
def test_motion_in_small_images_is_that_in_large_ones(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are blurred in sums of rows, large ones in sums of shifted views."""
    angles = torch.tensor([angle, -20.0])
    rows = motion_blurred(images(), 6, 3.0, angles)
    monkeypatch.setattr(taps, "LARGE", 0)
    assert torch.allclose(rows, motion_blurred(images(), 6, 3.0, angles), atol=1e-6)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_takes_pixels_as_the_published_loop_does(reach: int) -> None:
    """The loop assigns one view of an array to another, twice: a copy, not a swap."""
    height, width = 18, 25
    indices = np.array([3, 11])
    taken = _taken(Draws(0, "glass_blur", 1, indices, CPU), 2, reach, height, width).view(2, height, width)
    numbers = Draws(0, "glass_blur", 1, indices, CPU).integers(height, width, low=0, high=(2 * reach) ** 2).numpy()
    downs, rights = numbers // (2 * reach) - reach, numbers % (2 * reach) - reach
    for image in range(2):
        pixels = np.arange(height * width).reshape(height, width, 1)
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                right, down = rights[image, row, column], downs[image, row, column]
                here, there = pixels[row, column], pixels[row + down, column + right]
                pixels[row, column], pixels[row + down, column + right] = there, here
        assert np.array_equal(taken[image] - image * height * width, pixels[..., 0])


@pytest.mark.parametrize("photons", [3, 60, 250])
def test_the_tables_of_shot_noise_hold_the_poisson_distributions(photons: float) -> None:
    accept, other = poisson_tables(photons)
    columns = accept.shape[1]
    mass = torch.zeros(256, columns).scatter_add_(1, other.long(), 1 - accept) + accept
    mean = (mass / columns * torch.arange(columns)).sum(1)
    variance = (mass / columns * torch.arange(columns) ** 2).sum(1) - mean**2
    expected = torch.arange(256) / 255 * photons
    assert torch.allclose(mean, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(variance, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_the_distance_to_edges_is_euclidean_up_to_twenty_pixels(seed: int, edges: int) -> None:
    edge = torch.zeros(1, 1, 30, 50, dtype=torch.bool)
    places = torch.randint(0, 30 * 50, (edges,), generator=torch.Generator().manual_seed(seed))
    edge.view(-1)[places] = True
    expected = (
        np.full((30, 50), 20.0) if not edges else ndimage.distance_transform_edt(~edge[0, 0].numpy()).clip(max=20)
    )
    assert np.allclose(edge_distance(edge)[0, 0], expected, atol=1e-4)


def test_an_equalised_histogram_is_even_and_a_single_level_stays() -> None:
    levels = torch.cat((torch.arange(100).view(1, 1, 10, 10) + 20, torch.full((1, 1, 10, 10), 7))).float()
    even, single = equalised(levels)
    assert torch.equal(even.flatten(), (torch.arange(100) * (255 / 99)).round())
    assert (single == 7).all()
