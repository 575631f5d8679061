"""The four extra corruptions (Hendrycks & Dietterich 2019, appendix B): speckle noise, blur, spatter and saturation."""

import torch
from torch import Tensor

from nofrost.transforms.colours import luminance
from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import Corruption, each
from nofrost.transforms.corruptions.draws import Draws, normal_shares
from nofrost.transforms.corruptions.filters import gaussian_filter, smoothed
from nofrost.transforms.corruptions.water import water_film

# Red, green and blue in levels of 255
WATER = (175, 238, 238)
MUD = (63, 42, 20)


def speckle_noise(images: Tensor, draws: Draws, deviation: float) -> Tensor:
    """Add normal noise whose standard deviation is `deviation` times the value itself."""
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.overlays import add_normal

        return add_normal(images, draws.words(*images.shape[1:]), normal_shares(), deviation, relative=True)
    noise = draws.normal(*images.shape[1:])
    return torch.addcmul(images, images, noise, value=deviation, out=noise)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of `sigma` pixels; beyond the border the nearest pixel is repeated."""
    return smoothed(images, sigma)


def spatter(
    images: Tensor,
    draws: Draws,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: bool,
) -> Tensor:
    """Spatter with water (severities 1 to 3 of the published sets) or with `mud` (4 and 5).

    Drops are where normal noise of `mean` and `deviation`, blurred by `sigma` pixels, is above `threshold`. Water adds
    a film of `strength` (:func:`~water.water_film`); mud covers, with an edge that is soft within `strength` pixels.
    """
    liquid = gaussian_filter(mean + deviation * draws.normal(1, *images.shape[2:]), sigma)
    colour = images.new_tensor(MUD if mud else WATER).view(1, 3, 1, 1) / 255
    if images.shape[1] == 1:
        colour = luminance(colour)
    if not mud:
        drops = torch.ge(liquid, threshold, out=torch.empty_like(liquid)).mul_(liquid)
        film = water_film(drops.mul_(255).floor_().clamp_(0, 255))
        if is_compiled(images):
            from nofrost.transforms.corruptions.kernels.overlays import add_tinted

            return add_tinted(images, film, colour.flatten() * strength)
        return torch.addcmul(images, film, colour, value=strength)
    cover = gaussian_filter(liquid.gt_(threshold), strength)
    covered = torch.ge(cover, 0.8, out=torch.empty_like(cover))
    return torch.lerp(images, colour, cover.mul_(covered))


def saturate(images: Tensor, factor: float, shift: float) -> Tensor:
    """Change the saturation S of HSV to clip(S * `factor` + `shift`, 0, 1); hue and value stay.

    A pixel (r, g, b) is V - V * S * d, where d in [0, 1] is 1 for its smallest channel and 0 for its largest: d is the
    hue, and only S changes. Grey has no hue; by convention it is red (d = 0, 1, 1), so a positive `shift` reddens it.
    """
    value = images.amax(dim=1, keepdim=True)
    spread = value - images.amin(dim=1, keepdim=True)
    grey = torch.eq(spread, 0, out=torch.empty_like(spread))
    black = torch.eq(value, 0, out=torch.empty_like(value))
    changed = (spread / black.add_(value)).mul_(factor).add_(shift).clamp_(0, 1).mul_(value)
    # v - (v - x) * share, with v the value and share the change of the distance to it
    share = changed / spread.add_(grey)
    saturated = torch.addcmul(value - value * share, images, share)
    if shift:
        saturated[:, 1:] -= changed.mul_(grey)
    return saturated


EXTRA = {
    "speckle_noise": Corruption(
        speckle_noise,
        cifar=each(0.06, 0.10, 0.12, 0.16, 0.20),
        tiny_imagenet=each(0.15, 0.20, 0.25, 0.30, 0.35),
        imagenet=each(0.15, 0.20, 0.35, 0.45, 0.60),
        random=True,
    ),
    "gaussian_blur": Corruption(
        gaussian_blur,
        cifar=each(0.4, 0.6, 0.7, 0.8, 1.0),
        tiny_imagenet=each(0.5, 0.75, 1, 1.25, 1.5),
        imagenet=each(1, 2, 3, 4, 6),
    ),
    "spatter": Corruption(
        spatter,
        cifar=(
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        tiny_imagenet=(
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
        imagenet=(
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
        random=True,
    ),
    "saturate": Corruption(
        saturate,
        cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        tiny_imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        colour_only=True,
    ),
}
