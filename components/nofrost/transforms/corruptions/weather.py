"""Weather (Hendrycks & Dietterich 2019, §3): snow, frost, fog and brightness."""

import torch
from torch import Tensor

from nofrost.transforms.colours import luminance
from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import Corruption, each
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import motion_blurred
from nofrost.transforms.corruptions.frost_textures import TEXTURES, frost_textures
from nofrost.transforms.corruptions.taps import filtered, zoom_taps


def snow(
    images: Tensor,
    draws: Draws,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Tensor:
    """Whiten the image and add flakes that fall at an angle, and the same turned by half a circle.

    Flakes are normal noise of `mean` and `deviation`, enlarged by `zoom`, of which what is below `threshold` is left
    out, blurred along a line of `radius` and `sigma`. The share `kept` of the image is not whitened.
    """
    height, width = images.shape[2:]
    flakes = draws.normal(1, height, width).mul_(deviation).add_(mean)
    if zoom > 1:
        flakes = filtered(flakes, zoom_taps(height, zoom), zoom_taps(width, zoom))
    kept_flakes = torch.ge(flakes, threshold, out=torch.empty_like(flakes))
    flakes = flakes.mul_(kept_flakes).clamp_(0, 1).mul_(255).floor_().div_(255)
    flakes = motion_blurred(flakes, radius, sigma, draws.uniform(low=-135, high=-45))
    flakes = flakes.mul_(255).round_().div_(255)
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.overlays import whiten

        return whiten(images, flakes, kept)
    white = torch.maximum(images, luminance(images) * 1.5 + 0.5)
    return white.lerp_(images, kept).add_(flakes + flakes.flip(2, 3))


def frost(images: Tensor, draws: Draws, kept: float, share: float, scale: float) -> Tensor:
    """Add `share` of a piece of one of five textures of ice to `kept` of the image.

    The published sets draw the piece from five photographs, shrunk to `scale`. Their origin is not known, so ours are
    procedural (:mod:`~nofrost.transforms.corruptions.frost_textures`): this frost is like ImageNet-C's, not the same.
    """
    n, channels, height, width = images.shape
    textures = frost_textures(scale, channels).to(images.device)
    side = textures.shape[-1]
    number = draws.integers(low=0, high=TEXTURES)
    top, left = draws.integers(2, low=0, high=2**31).remainder(side).unbind(1)
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.overlays import frosted

        return frosted(images, textures, torch.stack((number, top, left), dim=1), kept, share)
    rows = (top[:, None] + torch.arange(height, device=images.device)).remainder_(side).add_(side * number[:, None])
    columns = (left[:, None] + torch.arange(width, device=images.device)).remainder_(side)
    place = (rows * side).int()[:, :, None] + columns.int()[:, None, :]
    piece = textures.flatten(1).index_select(1, place.flatten()).view(channels, n, height, width).transpose(0, 1)
    return torch.add(images * kept, piece, alpha=share)


def fog(images: Tensor, draws: Draws, amount: float, decay: float) -> Tensor:
    """Add `amount` of a plasma fractal, and scale so that the brightest value of the image stays."""
    height, width = images.shape[2:]
    clouds = plasma_fractal(draws, max(height, width), decay)
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.overlays import fogged

        return fogged(images, clouds, amount)
    brightest = images.flatten(1).amax(1)[:, None, None, None]
    scale = brightest / (brightest + amount)
    return torch.addcmul(clouds[:, None, :height, :width] * (amount * scale), images, scale)


def plasma_fractal(draws: Draws, side: int, decay: float) -> Tensor:
    """Return plasma fractals, float32 [N, S, S] in [0, 1], by the diamond-square algorithm; S is a power of 2 >= side.

    As in the published code, values are drawn from [-w, w] and multiplied by w once more, so the roughness falls by the
    square of `decay` from one level to the next.
    """
    size = 1 << (side - 1).bit_length()
    noise = draws.uniform(size, size, low=-1, high=1)
    corners = torch.zeros_like(noise[:, :1, :1])
    step, wibble = size, 100.0
    while step >= 2:
        half = step // 2
        below, beside = corners.roll(-1, 1), corners.roll(-1, 2)
        finer = torch.empty(len(noise), size // half, size // half, device=noise.device)
        pairs = corners + below
        centres = pairs.add(pairs.roll(-1, 2)).div_(4).add_(noise[:, half::step, half::step], alpha=wibble**2)
        across = centres.roll(1, 1).add_(centres).add_(corners).add_(beside).div_(4)
        along = centres.roll(1, 2).add_(centres).add_(corners).add_(below).div_(4)
        finer[:, ::2, ::2], finer[:, 1::2, 1::2] = corners, centres
        torch.add(across, noise[:, ::step, half::step], alpha=wibble**2, out=finer[:, ::2, 1::2])
        torch.add(along, noise[:, half::step, ::step], alpha=wibble**2, out=finer[:, 1::2, ::2])
        corners, step, wibble = finer, half, wibble / decay
    # aminmax, which is one call, takes many times as long.
    low, high = corners.flatten(1).amin(dim=1), corners.flatten(1).amax(dim=1)
    return corners.sub_(low[:, None, None]).div_((high - low)[:, None, None])


def brightness(images: Tensor, shift: float) -> Tensor:
    """Raise the value V of HSV (the largest channel) by `shift`, at most to 1; hue and saturation stay.

    Hue and saturation are kept exactly when all channels are scaled alike; black has neither and becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    raised = (value + shift).clamp_(max=1)
    black = torch.eq(value, 0, out=torch.empty_like(value))
    ratio = raised / value.add_(black)
    return torch.addcmul(raised.mul_(black), images, ratio)


WEATHER = {
    "snow": Corruption(
        snow,
        cifar=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        tiny_imagenet=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        imagenet=(
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        random=True,
    ),
    "frost": Corruption(
        frost,
        cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        tiny_imagenet=((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        random=True,
    ),
    "fog": Corruption(
        fog,
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        tiny_imagenet=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        random=True,
    ),
    "brightness": Corruption(
        brightness,
        cifar=each(0.05, 0.10, 0.15, 0.20, 0.30),
        tiny_imagenet=each(0.1, 0.2, 0.3, 0.4, 0.5),
        imagenet=each(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
}
