from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2.functional as tvf
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from nofrost.transforms.colours import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    luminance,
)
from nofrost.transforms.texture_debiased import Distortion, crop_and_mirror, jitter_colours, texture_debiased

PLAIN = {"horizontal_flip": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=generator(seed))


def scalar(value: float, n: int = 6) -> Tensor:
    return torch.full((n, 1, 1, 1), value)


@given(
    st.sampled_from([1, 3]),
    st.tuples(st.integers(4, 20), st.integers(4, 20)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 100),
)
def test_any_images_keep_shape_type_and_range(
    channels: int, size: tuple[int, int], flip: bool, noise: bool, blur: bool, seed: int
) -> None:
    images = drawn(3, channels, *size, seed=seed)
    before = images.clone()
    options = {"horizontal_flip": flip, "noise": noise, "blur": blur}
    changed = texture_debiased(images, generator(seed), **options)
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("ours", "theirs", "value"),
    [
        (adjust_brightness, tvf.adjust_brightness, 0.2),
        (adjust_brightness, tvf.adjust_brightness, 1.8),
        (adjust_contrast, tvf.adjust_contrast, 0.2),
        (adjust_contrast, tvf.adjust_contrast, 1.8),
        (adjust_saturation, tvf.adjust_saturation, 0.2),
        (adjust_saturation, tvf.adjust_saturation, 1.8),
        (adjust_hue, tvf.adjust_hue, -0.2),
        (adjust_hue, tvf.adjust_hue, 0.0),
        (adjust_hue, tvf.adjust_hue, 0.17),
        (adjust_hue, tvf.adjust_hue, 0.5),
    ],
)
def test_colour_changes_agree_with_torchvision(ours: object, theirs: object, value: float) -> None:
    images = drawn(6, 3, 9, 7)
    images[0] = 0.4  # grey has no hue
    images[1, :, :2] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    expected = theirs(images, value)  # type: ignore[operator]
    torch.testing.assert_close(ours(images, scalar(value)), expected, atol=2e-4, rtol=0)  # type: ignore[operator]


def test_blur_agrees_with_torchvision() -> None:
    images = drawn(2, 3, 12, 11)
    blurred = gaussian_blur(images, torch.tensor([0.5, 1.0]), largest=1.0)
    for image, ours, sigma in zip(images, blurred, (0.5, 1.0), strict=True):
        torch.testing.assert_close(ours, tvf.gaussian_blur(image, [7, 7], [sigma, sigma]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(2, 9), (4, 3)])
def test_blur_works_on_images_smaller_than_its_kernel(size: tuple[int, int]) -> None:
    images = torch.full((2, 1, *size), 0.3)
    torch.testing.assert_close(gaussian_blur(images, torch.tensor([0.1, 2.0]), largest=2.0), images)


def test_mirroring_alone_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nofrost.transforms.texture_debiased.CROP_AREA", (1.0, 1.0))
    images = drawn(64, 3, 6, 5)
    mirrored = crop_and_mirror(images, True, generator())
    kept = (mirrored - images).abs().amax(dim=(1, 2, 3)) < 1e-5
    turned = (mirrored - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (kept ^ turned).all()
    assert 20 < int(turned.sum()) < 44
    torch.testing.assert_close(crop_and_mirror(images, False, generator()), images, atol=1e-5, rtol=0)


def test_crops_are_those_of_torchvision_and_stay_in_the_image() -> None:
    """Images whose pixels are their own coordinates show which part of them each output covers."""
    n, size = 1000, 40
    places = (torch.arange(size) + 0.5) / size
    coordinates = torch.stack([places.expand(size, size), places.view(-1, 1).expand(size, size)])
    crops = crop_and_mirror(coordinates.expand(n, 2, size, size), False, generator())
    inner = size / (size - 3)  # pixels next to the edge may be clamped: measure between the others
    width = (crops[:, 0, 0, -2] - crops[:, 0, 0, 1]) * inner
    height = (crops[:, 1, -2, 0] - crops[:, 1, 1, 0]) * inner
    left = crops[:, 0, 0, 1] - 1.5 * width / size
    assert float(left.min()) > -1e-4
    assert float((left + width).max()) < 1 + 1e-4
    area, ratio = width * height, width / height
    assert float(area.min()) > 0.639
    assert float(ratio.log().abs().max()) < math.log(4 / 3) + 1e-3
    torch.manual_seed(0)
    draw = RandomResizedCrop.get_params
    theirs = torch.tensor([draw(torch.zeros(1, 400, 400), [0.64, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(n)]) / 400
    assert float(area.mean()) == pytest.approx(float(theirs.prod(dim=1).mean()), abs=0.01)
    assert float(area.std()) == pytest.approx(float(theirs.prod(dim=1).std()), abs=0.01)
    assert float(ratio.log().std()) == pytest.approx(float((theirs[:, 0] / theirs[:, 1]).log().std()), abs=0.01)


def test_grey_images_change_only_in_brightness_and_contrast() -> None:
    images = drawn(64, 1, 8, 8)
    drawn_for = Distortion.draw(64, 1, generator())
    jittered = jitter_colours(images, torch.ones(64, dtype=torch.bool), drawn_for.amounts, drawn_for.order)
    order = images.flatten(1).argsort(dim=1)
    values = jittered.flatten(1).gather(1, order)
    assert (values.diff(dim=1) >= -1e-6).all(), "brighter pixels stay brighter"
    assert not torch.equal(jittered, images)


def test_only_images_of_the_mask_are_jittered_each_with_its_own_draw() -> None:
    images = drawn(1, 3, 8, 8).repeat(32, 1, 1, 1)
    chosen = torch.arange(32) % 2 == 0
    drawn_for = Distortion.draw(32, 3, generator())
    jittered = jitter_colours(images, chosen, drawn_for.amounts, drawn_for.order)
    assert torch.equal(jittered[~chosen], images[~chosen])
    assert torch.pdist(jittered[chosen].flatten(1)).min() > 1e-3


def test_colour_is_lost_as_often_as_the_code_says() -> None:
    images = drawn(4000, 3, 4, 4)
    changed = texture_debiased(images, generator(), **PLAIN)
    grey = (changed.amax(dim=1) - changed.amin(dim=1)).flatten(1).amax(dim=1) < 1e-6
    assert float(grey.float().mean()) == pytest.approx(0.5 * 0.2, abs=0.015)


def test_brightness_of_grey_and_colour_images() -> None:
    grey = drawn(2, 1, 3, 3)
    assert luminance(grey) is grey
    torch.testing.assert_close(luminance(grey.expand(2, 3, 3, 3)), grey)


@pytest.mark.parametrize("option", ["noise", "blur"])
def test_noise_and_blur_strike_about_half_of_the_images(option: str) -> None:
    """They are drawn last, so all else is the same with and without them."""
    images = drawn(400, 1, 12, 12)
    plain = texture_debiased(images, generator(), **PLAIN)
    changed = texture_debiased(images, generator(), **{**PLAIN, option: True})
    struck = (changed - plain).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.4 < float(struck.float().mean()) < 0.6
    rough = (changed[struck].diff(dim=-1).abs().mean(), plain[struck].diff(dim=-1).abs().mean())
    assert rough[0] < rough[1] if option == "blur" else rough[0] > 0


def test_all_randomness_comes_from_the_generator() -> None:
    images = drawn(8, 3, 8, 8)
    options = {"noise": True, "blur": True}
    before = torch.get_rng_state()
    first, again = (texture_debiased(images, generator(4), **options) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, texture_debiased(images, generator(5), **options))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_distortion_of_some_images_is_theirs_in_the_whole_batch_bit_for_bit(channels: int) -> None:
    images = drawn(12, channels, 8, 8)
    distortion = Distortion.draw(12, channels, generator(), noise=True, blur=True)
    rows = torch.tensor([1, 4, 7, 8])
    assert torch.equal(distortion[rows](images[rows]), distortion(images)[rows])


def test_images_outside_the_mask_stay_as_they_are() -> None:
    images, mask = drawn(64, 3, 8, 8), torch.arange(64) < 20
    distorted = Distortion.draw(64, 3, generator(), noise=True, blur=True).where(mask)(images)
    assert torch.equal(distorted[~mask], images[~mask])
    assert 10 < int((distorted[mask] != images[mask]).flatten(1).any(1).sum()) <= 20
