"""The corruptions do what they are named after, at the published severities, and depend on nothing but their inputs."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nofrost.errors import UserError
from nofrost.transforms.corruptions import (
    CORRUPTIONS,
    CPU_VALUES,
    FAMILIES,
    check_corruption,
    corrupt,
    corruption_names,
    digital,
)
from nofrost.transforms.corruptions.blur import disk_kernel
from nofrost.transforms.corruptions.corruption import parameter_set_for

NAMES = corruption_names()
GREY_NAMES = [name for name in NAMES if not CORRUPTIONS[name].colour_only]
SEVERITIES = (1, 2, 3, 4, 5)
# These are not published in the order of their distances (saturate fades first; elastic moves far, then ripples; the
# last zooms count less where steps are wider), or what is drawn for an image counts for more than the severity.
UNORDERED = {"saturate", "elastic_transform", "glass_blur", "zoom_blur", "spatter", "frost", "fog", "snow"}


def photographs(n: int, channels: int, side: int) -> torch.Tensor:
    """Smooth images with edges and noise, on 8-bit levels: every corruption finds something to change."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    blocks = torch.nn.functional.interpolate(coarse.flip(0), size=(side, side), mode="nearest")
    fine = torch.rand(n, channels, side, side, generator=generator)
    return ((0.5 * smooth + 0.3 * blocks + 0.2 * fine) * 255).round() / 255


def constant(value: float | tuple[float, ...], side: int = 32, n: int = 1) -> torch.Tensor:
    levels = torch.tensor([value] if isinstance(value, float) else value)
    return levels.view(1, -1, 1, 1).expand(n, -1, side, side).contiguous()


def run(images: torch.Tensor, name: str, severity: int, seed: int = 0) -> torch.Tensor:
    return corrupt(images, name, severity, seed=seed, indices=range(len(images)))


@pytest.mark.parametrize("side", [16, 96])
@pytest.mark.parametrize(("name", "channels"), [(name, 3) for name in NAMES] + [(name, 1) for name in GREY_NAMES])
def test_a_corruption_keeps_shape_and_dtype_and_lands_on_the_levels_of_eight_bits(
    name: str, channels: int, side: int
) -> None:
    images = photographs(3, channels, side)
    before = images.clone()
    corrupted = run(images, name, 5)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == torch.float32
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    assert torch.allclose(corrupted * 255, (corrupted * 255).round(), atol=1e-3)
    assert not torch.equal(corrupted, images)
    assert torch.equal(images, before), "the input must stay as it was"


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNORDERED | FAMILIES["c-bar"].keys()])
def test_each_severity_is_further_from_the_clean_image_than_the_one_before(name: str, side: int) -> None:
    images = photographs(8, 3, side)
    distances = [float((run(images, name, severity) - images).abs().mean()) for severity in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert distances[-1] > 1.1 * distances[0]


def test_saturate_fades_at_the_first_two_severities_and_deepens_colours_from_the_third_as_published() -> None:
    images = photographs(8, 3, 32)

    def saturation(pixels: torch.Tensor) -> float:
        high, low = pixels.amax(1), pixels.amin(1)
        return float(((high - low) / high.clamp(min=1e-6)).mean())

    second, first, clean, *deeper = (
        saturation(each)
        for each in (
            run(images, "saturate", 2),
            run(images, "saturate", 1),
            images,
            *(run(images, "saturate", severity) for severity in (3, 4, 5)),
        )
    )
    assert second < first < clean < deeper[0] < deeper[1] < deeper[2]


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    cut=st.integers(1, 5),
    order=st.permutations(range(6)),
    severity=st.sampled_from(SEVERITIES),
)
def test_a_corrupted_image_does_not_depend_on_the_other_images_of_its_batch(
    name: str, cut: int, order: list[int], severity: int
) -> None:
    images = photographs(6, 3, 16)
    indices = torch.tensor([0, 3, 10_000, -1, 7, 2**40])
    whole = corrupt(images, name, severity, seed=3, indices=indices)
    parts = [
        corrupt(images[rows], name, severity, seed=3, indices=indices[rows]) for rows in (order[:cut], order[cut:])
    ]
    assert torch.equal(torch.cat(parts), whole[order])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "frost"])
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 40, 70), (1, 70, 33)])
def test_an_image_alone_is_corrupted_as_in_a_batch_of_any_shape(
    name: str, channels: int, height: int, width: int
) -> None:
    if channels == 1 and CORRUPTIONS[name].colour_only:
        return
    images = photographs(3, channels, 70)[:, :, :height, :width]
    whole = corrupt(images, name, 5, seed=0, indices=[4, 5, 6])
    alone = [corrupt(images[row : row + 1], name, 5, seed=0, indices=[4 + row]) for row in range(3)]
    assert torch.equal(torch.cat(alone), whole)


@pytest.mark.parametrize("name", ["gaussian_blur", "zoom_blur", "glass_blur", "spatter", "snow", "pixelate"])
def test_a_photograph_alone_is_corrupted_as_in_a_batch(name: str) -> None:
    """Photographs are filtered with the bands of matrices."""
    images = photographs(3, 3, 97)[:, :, :, :80]
    whole = corrupt(images, name, 3, seed=0, indices=[4, 5, 6])
    alone = [corrupt(images[row : row + 1], name, 3, seed=0, indices=[4 + row]) for row in range(3)]
    assert torch.equal(torch.cat(alone), whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images_take_the_largest_parameters(name: str) -> None:
    images = photographs(2, 3, 4)
    corrupted = corrupt(images, name, 5, seed=0, indices=[0, 1], parameter_set="imagenet")
    assert corrupted.shape == images.shape
    assert corrupted.isfinite().all()


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FAMILIES["c-bar"]])
def test_the_images_that_are_given_stay_as_they_are(name: str, severity: int) -> None:
    images = photographs(2, 3, 8)
    before = images.clone()
    run(images, name, severity)
    assert torch.equal(images, before)


def test_one_more_jpeg_is_that_of_pillow() -> None:
    image = photographs(1, 3, 32)
    noisy = run(image, "gaussian_noise", 3)
    again = corrupt(image, "gaussian_noise", 3, seed=0, indices=[0], jpeg_quality=85)
    buffer = io.BytesIO()
    Image.fromarray((noisy[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=85)
    expected = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 255
    assert torch.allclose(again[0], expected, atol=1e-6)


def test_memory_does_not_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images there are, so many values at most are corrupted at once."""
    seen = []
    blur = CORRUPTIONS["gaussian_blur"]

    def watched(images: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append(images.numel())
        return blur.function(images, sigma)

    monkeypatch.setitem(CORRUPTIONS, "gaussian_blur", dataclasses.replace(blur, function=watched))
    images = photographs(1, 3, 96).expand(100, -1, -1, -1)
    blurred = run(images, "gaussian_blur", 2)
    assert max(seen) <= CPU_VALUES
    assert sum(seen) == images.numel()
    assert torch.equal(blurred, blurred[:1].expand_as(blurred))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameter_set": "imagnet"}, "did you mean 'imagenet'"),
        ({"jpeg_quality": 0}, "a number from 1 to 95"),
        ({"jpeg_quality": 100}, "a number from 1 to 95"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        corrupt(torch.zeros(1, 3, 16, 16), "contrast", 1, seed=0, indices=[0], **options)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_changes_with_seed_index_and_severity(name: str) -> None:
    images = constant(0.5, n=2)
    noise = {
        (severity, seed, index): run(images, name, severity, seed)[index].flatten()
        for severity in (4, 5)
        for seed in (0, 1)
        for index in (0, 1)
    }
    correlations = torch.corrcoef(torch.stack(list(noise.values()))) - torch.eye(len(noise))
    assert correlations.abs().max() < 0.15  # 1024 independent pairs of values: a deviation of 0.03


@pytest.mark.parametrize(
    ("name", "severity", "side", "deviation"),
    [
        ("gaussian_noise", 1, 32, 0.04),
        ("gaussian_noise", 5, 32, 0.10),
        ("gaussian_noise", 1, 96, 0.08),
        ("speckle_noise", 5, 32, 0.20 * 0.5),  # of a value of 0.5
        ("speckle_noise", 1, 96, 0.15 * 0.5),
        ("shot_noise", 1, 32, (0.5 / 500) ** 0.5),  # variance of Poisson(λv)/λ is v/λ
        ("shot_noise", 5, 32, (0.5 / 50) ** 0.5),
        ("shot_noise", 1, 96, (0.5 / 60) ** 0.5),
    ],
)
def test_noise_has_the_published_deviation_and_no_bias(name: str, severity: int, side: int, deviation: float) -> None:
    images = constant(128 / 255, side, n=40)
    noise = run(images, name, severity) - images
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(("severity", "side", "amount"), [(1, 32, 0.01), (5, 32, 0.07), (1, 96, 0.03), (5, 96, 0.27)])
def test_impulse_noise_replaces_the_published_share_by_black_and_white_alike(
    severity: int, side: int, amount: float
) -> None:
    noisy = run(constant((102 / 255, 51 / 255, 204 / 255), side, n=40), "impulse_noise", severity)
    assert float((noisy == 1).float().mean()) == pytest.approx(amount / 2, rel=0.15)
    assert float((noisy == 0).float().mean()) == pytest.approx(amount / 2, rel=0.15)


@pytest.mark.parametrize(("severity", "side", "shift"), [(1, 32, 0.05), (5, 32, 0.3), (1, 96, 0.1), (5, 96, 0.5)])
def test_brightness_raises_the_largest_channel_and_keeps_the_ratios(severity: int, side: int, shift: float) -> None:
    brighter = run(constant((0.4, 0.2, 0.1), side), "brightness", severity)[0, :, 0, 0]
    expected = torch.tensor([1, 0.5, 0.25]) * (0.4 + shift)
    assert torch.allclose(brighter, expected, atol=0.5 / 255 + 1e-6)


def test_brightness_turns_black_into_grey_and_stops_at_white() -> None:
    assert torch.allclose(run(constant((0.0, 0.0, 0.0)), "brightness", 4), torch.tensor(0.2))
    assert torch.allclose(run(constant(0.9), "brightness", 5), torch.tensor(1.0))


@pytest.mark.parametrize(("severity", "side", "factor"), [(1, 32, 0.75), (5, 32, 0.15), (1, 96, 0.4), (5, 96, 0.05)])
def test_contrast_draws_each_channel_to_its_own_mean(severity: int, side: int, factor: float) -> None:
    images = photographs(2, 3, side)
    mean = images.mean((2, 3), keepdim=True)
    expected = mean + factor * (images - mean)
    assert torch.allclose(run(images, "contrast", severity), expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        *(
            (name, 5)
            for name in ("pixelate", "gaussian_blur", "contrast", "jpeg_compression", "zoom_blur", "glass_blur")
        ),
        ("motion_blur", 5),
        ("elastic_transform", 5),
        ("defocus_blur", 3),
    ],
)
@pytest.mark.parametrize("side", [16, 96])
def test_corruptions_that_move_or_average_pixels_keep_a_constant_image(name: str, severity: int, side: int) -> None:
    images = constant(128 / 255, side)
    assert torch.allclose(run(images, name, severity), images, atol=1.01 / 255)


@pytest.mark.parametrize(("side", "severity"), [(32, 1), (32, 5), (96, 1), (96, 5), (33, 4)])
def test_pixelate_agrees_with_pillow(side: int, severity: int) -> None:
    images = photographs(2, 3, side)
    (scale,) = CORRUPTIONS["pixelate"].parameters(severity, parameter_set_for(side, side))
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    small = int(side * scale)
    box = Image.Resampling.BOX
    expected = np.stack(
        [np.asarray(Image.fromarray(each).resize((small, small), box).resize((side, side), box)) for each in pixels]
    )
    pixelated = (run(images, "pixelate", severity) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(pixelated - expected).max() <= 1  # Pillow's weights are fixed-point numbers
    assert np.abs(pixelated - expected).mean() < 0.01


@pytest.mark.parametrize(("side", "quality"), [(32, 40), (96, 7)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("reader", ["pillow", "simplejpeg"])
def test_jpeg_has_the_published_quality(
    side: int, quality: int, channels: int, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(digital, "simplejpeg", None)
    image = photographs(1, channels, side)
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(buffer)).reshape(pixels.shape)).permute(2, 0, 1) / 255
    assert torch.allclose(run(image, "jpeg_compression", 5)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("radius", "pixels"), [(0.3, 1), (1, 5), (1.5, 9), (3, 29), (10, 317)])
def test_the_defocus_disk_averages_the_pixels_within_its_radius(radius: float, pixels: int) -> None:
    kernel = disk_kernel(radius, 0.01).numpy()  # as good as no smoothing
    assert np.allclose(kernel[kernel > 1e-6], 1 / pixels)
    assert int((kernel > 1e-6).sum()) == pixels
    assert np.array_equal(kernel, kernel[::-1].T)


@pytest.mark.parametrize("softness", [0.1, 0.5, 0.6])
def test_the_defocus_kernel_sums_to_one_and_smoothing_widens_it(softness: float) -> None:
    kernel = disk_kernel(3, softness)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert kernel.max() <= disk_kernel(3, 0.01).max() + 1e-6


@pytest.mark.parametrize(("severity", "brighter"), [(4, 1.013), (5, 1.0108)])
def test_the_largest_disks_brighten_as_published(severity: int, brighter: float) -> None:
    blurred = run(constant(100 / 255, 64 + 32), "defocus_blur", severity)
    assert torch.allclose(blurred, torch.tensor(brighter * 100 / 255), atol=0.5 / 255 + 1e-4)


def test_blur_spreads_a_point_symmetrically_with_the_published_width() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    blurred = corrupt(point, "gaussian_blur", 5, seed=0, indices=[0], parameter_set="cifar")[0, 0]
    assert torch.equal(blurred, blurred.flip(0))
    assert torch.equal(blurred, blurred.T)
    assert float(blurred[16, 16]) == pytest.approx(1 / (2 * np.pi), abs=0.002)  # of a Gaussian of one pixel


def test_saturate_keeps_hue_and_value() -> None:
    pixel = run(constant((0.8, 0.4, 0.2)), "saturate", 1)[0, :, 0, 0]  # saturation 0.75 * 0.3
    expected = torch.tensor([0.8, 0.8 * (1 - 0.225 * 2 / 3), 0.8 * (1 - 0.225)])
    assert torch.allclose(pixel, expected, atol=0.5 / 255 + 1e-6)


def test_saturate_reddens_grey_where_saturation_is_added_as_published() -> None:
    red, green, blue = run(constant((0.6, 0.6, 0.6)), "saturate", 5)[0, :, 0, 0].tolist()  # saturation 0 + 0.2
    assert red == pytest.approx(0.6)
    assert green == pytest.approx(0.48, abs=0.5 / 255)
    assert green == blue


def test_double_precision_images_come_back_in_double_precision() -> None:
    images = photographs(2, 3, 16)
    assert run(images.double(), "contrast", 3).dtype == torch.float64


def test_an_empty_batch_stays_empty() -> None:
    assert run(torch.zeros(0, 3, 16, 16), "gaussian_noise", 1).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("name", "severity", "channels", "message"),
    [
        ("gausian_noise", 1, 3, "did you mean 'gaussian_noise'"),
        ("contrast", 0, 3, "has no severity 0"),
        ("contrast", 6, 3, "has no severity 6"),
        ("saturate", 3, 1, "the images have none"),
        ("contrast", 3, 4, "1 or 3 channels, got 4"),
        ("spater", 3, 3, "did you mean 'spatter'"),
    ],
)
def test_an_impossible_corruption_is_refused_in_one_sentence(
    name: str, severity: int, channels: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_corruption(name, severity, channels=channels)
    with pytest.raises(UserError, match=message):
        run(torch.zeros(1, channels, 16, 16), name, severity)


@pytest.mark.parametrize(
    ("images", "indices", "message"),
    [
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), [0, 1], "must be floats"),
        (torch.zeros(3, 16, 16), [0, 1, 2], "must be floats"),
        (torch.zeros(2, 3, 3, 16), [0, 1], "at least 4 pixels"),
        (torch.zeros(2, 3, 16, 16), [0], "got 1 for 2 images"),
    ],
)
def test_wrong_images_or_indices_are_refused(images: torch.Tensor, indices: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        corrupt(images, "contrast", 1, seed=0, indices=indices)
