"""The corruptions of ImageNet-C-bar are those of Mintun et al. 2021: batches agree with formulas pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nofrost.transforms.corruptions import FAMILIES, corrupt
from nofrost.transforms.corruptions.c_bar import _caustics, _rays, coloured_noise, plasma_noise
from nofrost.transforms.corruptions.draws import Draws

CPU = torch.device("cpu")


def draws(name: str = "test", n: int = 2) -> Draws:
    return Draws(0, name, 1, np.arange(n), CPU)


def grey(n: int = 2, side: int = 64, value: float = 128 / 255) -> torch.Tensor:
    return torch.full((n, 3, side, side), value)


def corrupted(images: torch.Tensor, name: str, severity: int) -> torch.Tensor:
    return corrupt(images, name, severity, seed=0, indices=range(len(images)), parameter_set="imagenet")


def test_there_are_the_ten_of_imagenet_c_bar() -> None:
    assert len(FAMILIES["c-bar"]) == 10


@pytest.mark.parametrize("name", sorted(FAMILIES["c-bar"]))
def test_the_strongest_severity_changes_more_than_the_mildest(name: str) -> None:
    images = grey(8, value=77 / 255)
    mild, strong = (float((corrupted(images, name, severity) - images).abs().mean()) for severity in (1, 5))
    assert 0 < mild < strong


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_single_frequency_has_its_amplitude(severity: int) -> None:
    level = (1, 1.5, 2, 4.5, 5)[severity - 1]
    waves = corrupted(grey(16), "single_frequency_greyscale", severity) - grey(16)
    assert float(waves.abs().max()) == pytest.approx(min(19.6 * level, 127) / 255, abs=1.5 / 255)
    assert torch.equal(waves[:, 0], waves[:, 2])


@pytest.mark.parametrize(("rises", "name"), [(True, "blue"), (False, "brown")])
def test_coloured_noise_has_its_spectrum(rises: bool, name: str) -> None:
    noise = coloured_noise(grey(8), draws(n=8), 3, lambda d: d if rises else 1 / (d**2 + 1))
    assert torch.allclose(noise.std(dim=(2, 3), correction=0), torch.ones(8, 3), atol=1e-4)
    power = torch.fft.fft2(noise).abs().square().mean(dim=(0, 1)).sqrt()
    ratio = float(power[0, 16] / power[0, 4])
    assert ratio == pytest.approx(4 if rises else 17 / 257, rel=0.35)


@pytest.mark.parametrize("severity", [1, 5])
def test_a_chessboard_paints_half_of_the_chosen_share_of_fields(severity: int) -> None:
    images = grey(64, value=0.0)
    painted = corrupted(images, "checkerboard_cutout", severity)
    assert (painted.unique() * 255).round().tolist() == [0, 128]
    share = (2, 3, 4, 5, 6)[severity - 1] / 10
    assert float((painted > 0).float().mean()) == pytest.approx(share / 2, rel=0.2)


def test_inverse_sparkles_leave_the_middle_and_whiten_the_far_corners() -> None:
    images = grey(16, value=0.0)
    shone = corrupted(images, "inverse_sparkles", 5)
    corners = torch.stack([shone[:, 0, row, column] for row in (0, -1) for column in (0, -1)]).amax(0)
    assert float(shone[:, :, 24:40, 24:40].mean()) < 0.35
    assert float(corners.min()) > 0.8


def test_rays_are_those_of_the_formula_for_a_pixel() -> None:
    images, radius = grey(1, 20), 6.0
    light = _rays(images, draws(n=1), (torch.tensor([8.3]), torch.tensor([11.7])), radius, 1.0, 1.0)
    again = draws(n=1)
    rays = int(again.integers(low=50, high=200)[0])
    lengths = (radius + 0.25 * radius * again.normal(200)[0]).clamp(min=1).double().tolist()
    for row, column in ((0, 0), (8, 12), (15, 3), (19, 19), (3, 11)):
        down, right = row - 8.3, column - 11.7
        place = (math.atan2(right, down) + math.pi) / (2 * math.pi) * rays
        number, share = int(place), place - int(place)
        length = lengths[number % rays] + share * (lengths[(number + 1) % rays] - lengths[number % rays])
        expected = (1 - (share - 0.5) ** 2) * length**2 / (down**2 + right**2 + 1e-4)
        assert float(light[0, 0, row, column]) == pytest.approx(min(max(expected, 0), 1), abs=2e-3)


def test_caustics_are_those_of_the_formula_for_a_pixel() -> None:
    time, size = 1.3, 50.0
    light = _caustics(grey(1, 20).double(), torch.tensor([time]).double(), torch.tensor([size]).double())
    for row, column in ((0, 0), (7, 3), (19, 11)):
        start = (np.array([row, column]) / size % 1) * 2 * math.pi - 250
        place, total = start.copy(), 1.0
        for turn in range(5):
            moment = time * (1 - 3.5 / (turn + 1))
            place = start + np.array(
                [
                    math.cos(moment - place[0]) + math.sin(moment + place[1]),
                    math.sin(moment - place[1]) + math.cos(moment + place[0]),
                ]
            )
            parts = (start[0] / (math.sin(place[0] + moment) / 0.005), start[1] / (math.cos(place[1] + moment) / 0.005))
            total += 1 / math.hypot(*parts)
        expected = min(abs(1.17 - (total / 5) ** 1.4) ** 8, 1)
        assert float(light[0, 0, row, column]) == pytest.approx(expected, abs=2e-3)


def test_plasma_is_that_of_the_formula_for_a_pixel() -> None:
    side, level = 24, 10.0
    images = grey(1, side, value=0.5)
    blended = plasma_noise(images, draws(n=1), level)
    again = draws(n=1)
    first = again.uniform(3)[0].double()
    time, sharpness, scale = 6 * math.pi * first[0], 0.5 + 0.5 * first[1], (0.075 + 0.125 * first[2]) * side
    turns = int(again.integers(low=4, high=7)[0])
    for row, column in ((0, 0), (5, 17), (23, 9)):
        right, down, stretch, divisor, damping = column / scale, row / scale, 1.0, 1.0, 1.0
        for _ in range(turns):
            bend = (
                np.array([math.cos(down * stretch + time / divisor), math.sin(right * stretch + time / divisor)])
                / damping
            )
            bend = bend + np.array([-bend[1], bend[0]]) * 0.3
            right, down = right + bend[0], down + bend[1]
            stretch, divisor, damping = stretch * 1.93, divisor * 1.15, damping * (2.25 - float(sharpness))
        colours = [math.sin(right - time), math.sin((right + down + math.sin(time)) * 0.5), math.sin(down + time)]
        share = 6.4 * level / 255
        expected = [(1 - share) * 0.5 + share * each for each in colours]
        assert blended[0, :, row, column].tolist() == pytest.approx(expected, abs=5e-3)
