"""The corruptions of ImageNet-C-bar (Mintun et al. 2021): chosen to be unlike those of ImageNet-C, on which no
augmentation was tuned.

Each takes the level of a severity, from 0 to 10, and is defined for any size of images: lengths are shares of the
shorter side. Five of the ten are in CIFAR-10-C-bar too and have other levels there; small images take those, and the
levels of ImageNet-C-bar for the other five.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nofrost.transforms.colours import luminance
from nofrost.transforms.corruptions.corruption import Corruption, Parameters, each
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import gaussian_filter, pixel_grid, sampled
from nofrost.transforms.corruptions.perlin import perlin_turbulence
from nofrost.transforms.corruptions.taps import mirrored


def blue_noise_sample(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Blacken all pixels but those where blue noise (its amplitude rises with the frequency) is above a threshold."""
    noise = coloured_noise(images, draws, 1, lambda distance: distance)
    return images * (noise > 0.3 * level - 2.5)


def brownish_noise(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Add noise whose amplitude falls with the square of the frequency, to each channel by itself."""
    noise = coloured_noise(images, draws, images.shape[1], lambda distance: 1 / (distance**2 + 1))
    return images + 6.4 / 255 * level * noise


def coloured_noise(images: Tensor, draws: Draws, channels: int, amplitude: Callable[[Tensor], Tensor]) -> Tensor:
    """Return noise of deviation 1 and random phases, [N, channels, H, W].

    Args:
        amplitude: of the distances from frequency 0, in periods in the image.
    """
    height, width = images.shape[2:]
    down = torch.fft.fftfreq(height, 1 / height, device=images.device)
    right = torch.fft.fftfreq(width, 1 / width, device=images.device)
    strength = amplitude((down[:, None] ** 2 + right**2).sqrt())
    phases = draws.uniform(channels, height, width, high=2 * math.pi)
    noise: Tensor = torch.fft.ifft2(torch.polar(strength.expand_as(phases).contiguous(), phases)).real
    return noise.div_(noise.std(dim=(2, 3), correction=0, keepdim=True))


def caustic_refraction(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Look through a surface of water whose waves bend light and focus it."""
    side = min(images.shape[2:])
    time, size = draws.uniform(2).unbind(1)
    caustics = _caustics(images, 0.5 + 1.5 * time, (0.75 + 0.5 * size) * side)
    padded = torch.nn.functional.pad(gaussian_filter(caustics, 1.0, mirrored), (1, 1, 1, 1))[:, 0]
    slope_down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    slope_right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    length = (slope_down**2 + slope_right**2 + 1).sqrt()
    cosine = 1 / length
    # Snell's law; the light comes from straight above, and what hardly tilts does not bend it.
    sine = (1 - cosine**2).clamp_(min=0).sqrt_()
    refracted = sine / 4
    bend = (1 - refracted**2).sqrt() - refracted * cosine / sine.clamp(min=1e-6)
    bend = torch.where(cosine >= 1 - 1e-3, 0, bend / length) * (0.05 * level * side)
    rows, columns = pixel_grid(images)
    # Offsets are rounded to thousandths of a pixel.
    down, right = ((slope * bend * 1000).round_() / 1000 for slope in (slope_down, slope_right))
    seen = sampled(images, rows + down, columns + right, beyond="zero")
    return seen + (0.2 * level * (slope_down - slope_right))[:, None]


def _caustics(images: Tensor, time: Tensor, size: Tensor) -> Tensor:
    """Return the light on the ground of a pool, [N, 1, H, W] in [0, 1]."""
    rows, columns = pixel_grid(images)
    time, size = time[:, None, None], size[:, None, None]
    start = tuple((places / size % 1 * (2 * math.pi) - 250).expand(-1, *images.shape[2:]) for places in (rows, columns))
    down, right = start
    light = torch.ones_like(down)
    for turn in range(5):
        moment = time * (1 - 3.5 / (turn + 1))
        down, right = (
            start[0] + torch.cos(moment - down) + torch.sin(moment + right),
            start[1] + torch.sin(moment - right) + torch.cos(moment + down),
        )
        parts = (start[0] / torch.sin(down + moment)) ** 2 + (start[1] / torch.cos(right + moment)) ** 2
        light = light + 1 / (parts.sqrt() * 0.005)
    return (1.17 - (light / 5) ** 1.4).abs().pow(8).clamp(0, 1)[:, None]


def checkerboard_cutout(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Paint a share of the fields of one colour of a turned chessboard grey."""
    side = min(images.shape[2:])
    angle, width = draws.uniform(2).unbind(1)
    angle, width = (2 * math.pi * angle)[:, None, None], ((0.1 + 0.15 * width) * side).clamp(min=1)[:, None, None]
    rows, columns = pixel_grid(images)
    across = (angle.cos() * rows + angle.sin() * columns) / width
    along = (angle.cos() * columns - angle.sin() * rows) / width
    # There are at most 40 x 40 fields; a negative number of a field counts from the other end.
    fields = torch.floor(4 * side / width).long()
    painted = draws.uniform(40, 40) < level / 10
    place = [axis.long() % fields for axis in (across, along)]
    chosen = painted[torch.arange(len(images), device=images.device)[:, None, None], place[0], place[1]]
    even = (across % 2).long() == (along % 2).long()
    return images.masked_fill((even & chosen)[:, None], 128 / 255)


def cocentric_sine_waves(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Add rings around a random place, their edges bent by a sine along the ring."""
    side = min(images.shape[2:])
    top, left, frequency, amplitude, breadth = draws.uniform(5)[:, :, None, None].unbind(1)
    rows, columns = pixel_grid(images)
    down, right = rows - top * images.shape[2], columns - left * images.shape[3]
    breadth = (0.1 * side * breadth).clamp_(min=1e-3)
    bent = (torch.atan2(right, down) * 10 * frequency).sin_() * (0.1 * side * amplitude)
    rings = ((down**2 + right**2).sqrt_() + bent) / breadth
    return images + 12.8 / 255 * level * (rings % 1 - 0.5)[:, None]


def single_frequency_greyscale(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Add a plane wave of one random frequency and direction."""
    largest, other, swap, phase = draws.uniform(4)[:, :, None, None].unbind(1)
    largest = math.pi * (2 * largest - 1)
    other = largest.abs() * (2 * other - 1)
    rows, columns = pixel_grid(images)
    right, down = torch.where(swap < 0.5, largest, other), torch.where(swap < 0.5, other, largest)
    wave = (columns * right + rows * down + 2 * math.pi * phase).sin_()
    return images + 19.6 / 255 * level * wave[:, None]


def plasma_noise(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Blend with bent waves of three colours."""
    side = min(images.shape[2:])
    time, sharpness, scale = draws.uniform(3)[:, :, None, None].unbind(1)
    time, sharpness, scale = 6 * math.pi * time, 0.5 + 0.5 * sharpness, (0.075 + 0.125 * scale) * side
    turns = draws.integers(low=4, high=7)[:, None, None]
    rows, columns = pixel_grid(images)
    down, right = (rows / scale).expand(-1, *images.shape[2:]), (columns / scale).expand(-1, *images.shape[2:])
    stretch, divisor, damping = 1.0, 1.0, torch.ones_like(time)
    for turn in range(6):
        first = torch.cos(down * stretch + time / divisor) / damping
        second = torch.sin(right * stretch + time / divisor) / damping
        going_on = turn < turns
        right = torch.where(going_on, right + first - 0.3 * second, right)
        down = torch.where(going_on, down + second + 0.3 * first, down)
        stretch, divisor, damping = stretch * 1.93, divisor * 1.15, damping * (2.25 - sharpness)
    colours = (
        torch.sin(right - time),
        torch.sin((right + down + torch.sin(time)) * 0.5),
        torch.sin(down + time),
    )
    noise = torch.stack(colours, dim=1)
    share = 6.4 / 255 * level
    return images * (1 - share) + share * (luminance(noise) if images.shape[1] == 1 else noise)


def perlin_noise(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Blend with Perlin turbulence."""
    noise = (0.5 * perlin_turbulence(images, draws, min(images.shape[2:]) / 7) + 0.5).clamp_(0, 1)
    return torch.lerp(images, noise, 0.05 * level)


def sparkles(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Let five places sparkle in white rays."""
    height, width = images.shape[2:]
    for _ in range(5):
        top, left = draws.uniform(2).unbind(1)
        radius = 0.01 * level * min(height, width)
        shine = _rays(images, draws, (top * height, left * width), radius, shortest=1.0, exponent=1.0)
        images = torch.lerp(images, torch.ones_like(images), shine)
    return images


def inverse_sparkles(images: Tensor, draws: Draws, level: float) -> Tensor:
    """Cover all in white but the rays around a place near the middle."""
    height, width = images.shape[2:]
    top, left = draws.uniform(2, low=0.25, high=0.75).unbind(1)
    radius = 0.25 * min(height, width)
    shine = _rays(images, draws, (top * height, left * width), radius, shortest=-math.inf, exponent=0.13 * level)
    return torch.lerp(torch.ones_like(images), images, shine)


# Rays at most; the number of each image is drawn from 50 to one less.
_MOST_RAYS = 200


def _rays(
    images: Tensor, draws: Draws, centre: tuple[Tensor, Tensor], radius: float, shortest: float, exponent: float
) -> Tensor:
    """Return the light of 50 to 199 rays of random length around a place, [N, 1, H, W] in [0, 1]."""
    rays = draws.integers(low=50, high=_MOST_RAYS)[:, None, None]
    lengths = (radius + 0.25 * radius * draws.normal(_MOST_RAYS)).clamp(min=shortest)
    rows, columns = pixel_grid(images)
    down, right = rows - centre[0][:, None, None], columns - centre[1][:, None, None]
    place = (torch.atan2(right, down) + math.pi) / (2 * math.pi) * rays
    number = place.long()
    share = place - number
    flat = [(number + after).remainder(rays).flatten(1) for after in (0, 1)]
    here, beside = (lengths.gather(1, index).view(place.shape) for index in flat)
    length = torch.lerp(here, beside, share)
    reach = (length**2 / (down**2 + right**2 + 1e-4)) ** exponent
    return ((1 - (share - 0.5) ** 2) * reach).clamp_(0, 1)[:, None]


def _levels(imagenet: Parameters, cifar: Parameters | None = None) -> dict[str, Any]:
    """Return the levels of a corruption; those of CIFAR-10-C-bar for small images where there are any."""
    small = cifar or imagenet
    return {"cifar": small, "tiny_imagenet": small, "imagenet": imagenet, "random": True}


C_BAR = {
    "blue_noise_sample": Corruption(
        blue_noise_sample, **_levels(each(0.8, 1.6, 2.4, 4.0, 5.6), each(0.7, 1.4, 2.1, 3.5, 4.2))
    ),
    "brownish_noise": Corruption(brownish_noise, **_levels(each(1, 2, 3, 4, 5), each(2.5, 4.0, 5.5, 6.5, 7.0))),
    "caustic_refraction": Corruption(caustic_refraction, **_levels(each(2.35, 3.2, 4.9, 6.6, 9.15))),
    "checkerboard_cutout": Corruption(checkerboard_cutout, **_levels(each(2, 3, 4, 5, 6), each(1, 2, 3, 4, 5))),
    "cocentric_sine_waves": Corruption(cocentric_sine_waves, **_levels(each(3, 5, 8, 9, 10))),
    "inverse_sparkles": Corruption(inverse_sparkles, **_levels(each(1, 2, 4, 9, 10), each(1, 1.5, 2.5, 4.5, 5))),
    "perlin_noise": Corruption(perlin_noise, **_levels(each(4.6, 5.2, 5.8, 7.6, 8.8))),
    "plasma_noise": Corruption(plasma_noise, **_levels(each(4.75, 7.0, 8.5, 9.25, 10.0))),
    "single_frequency_greyscale": Corruption(single_frequency_greyscale, **_levels(each(1, 1.5, 2, 4.5, 5))),
    "sparkles": Corruption(sparkles, **_levels(each(1, 2, 3, 5, 6), each(0.7, 3.5, 5.6, 6.3, 7.0))),
}
