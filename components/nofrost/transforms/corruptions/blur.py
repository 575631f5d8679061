"""Blur (Hendrycks & Dietterich 2019, §3): defocus, frosted glass, motion and zoom."""

import math
from functools import lru_cache
from itertools import repeat

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import Corruption
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import convolved, gaussian_filter, motion_blurred, smoothed
from nofrost.transforms.corruptions.taps import add_along_width, along_height, is_large, summed, zoom_taps

# Doublings of the chains of glass blur before it is looked whether they are followed to their ends
JOINED = 4


def defocus_blur(images: Tensor, radius: float, softness: float) -> Tensor:
    """Blur with a disk of `radius` pixels, itself smoothed by a Gaussian of `softness` pixels; the border mirrors."""
    return convolved(images, disk_kernel(radius, softness))


@lru_cache(maxsize=16)
def disk_kernel(radius: float, softness: float) -> Tensor:
    """Return the square kernel of :func:`defocus_blur`, float32 [k, k].

    The disk holds the pixels whose centres are within `radius`. The Gaussian has 3 x 3 taps up to a radius of 8 and
    5 x 5 beyond. As in the published code, it smooths a field that a disk of 8 pixels or more just fits into, mirrored
    at its border, so such a kernel sums to 1.01 and brightens.
    """
    taps = 1 if radius <= 8 else 2
    field = 8 if radius <= 8 else int(radius)
    rows, columns = np.mgrid[-field : field + 1, -field : field + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float64)
    gaussian = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * softness**2))
    gaussian /= gaussian.sum()
    soft = disk / disk.sum()
    for axis in (0, 1):
        soft = ndimage.convolve1d(soft, gaussian, axis, mode="mirror")
    cut = max(field - math.floor(radius) - taps, 0)
    return torch.from_numpy(np.ascontiguousarray(soft[cut : len(soft) - cut, cut : len(soft) - cut], dtype=np.float32))


def glass_blur(images: Tensor, draws: Draws, sigma: float, reach: int, passes: int) -> Tensor:
    """Blur, let pixels take the place of neighbours at up to `reach` pixels, `passes` times, and blur again.

    The published code means to swap two pixels but copies one over the other: both are views of one array. Pixels are
    visited from the last row and column to the first, so one may take what another has taken before.
    """
    n, channels, height, width = images.shape
    # Too narrow a Gaussian returns the images themselves, which must stay as they are.
    blurred = gaussian_filter(images, sigma).clamp(0, 1).mul_(255).floor_().div_(255)
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.moved_pixels import taken_from_neighbours

        steps = _steps(reach, width, draws.device)
        numbers = torch.stack([_step_numbers(draws, reach, height, width) for _ in range(passes)], dim=1)
        return smoothed(taken_from_neighbours(blurred, numbers, steps, reach), sigma)
    source = _taken(draws, n, reach, height, width)
    for _ in range(passes - 1):
        source = source.index_select(0, _taken(draws, n, reach, height, width))
    pixels = blurred.transpose(0, 1).reshape(channels, -1).index_select(1, source)
    return gaussian_filter(pixels.view(channels, n, height, width).transpose(0, 1), sigma)


def _taken(draws: Draws, n: int, reach: int, height: int, width: int) -> Tensor:
    """Return the pixel that each ends up with in one pass, int32 [N * H * W], numbered through all images."""
    number = _step_numbers(draws, reach, height, width)
    step = _steps(reach, width, draws.device).index_select(0, number.view(-1)).view(n, height, width)
    # The loop goes from row and column size - reach to reach + 1.
    step[:, : reach + 1] = step[:, height - reach + 1 :] = 0
    step[..., : reach + 1] = step[..., width - reach + 1 :] = 0
    step = step.view(-1)
    # A later pixel was visited before and has been replaced by then; an earlier one still is what it was. So each leads
    # to another until one is reached that takes an original pixel; chains are joined to twice their length at a turn,
    # and hardly one is longer than 2**JOINED.
    link = step.clamp(min=0).add_(torch.arange(len(step), device=step.device, dtype=torch.int32))
    for _ in range(JOINED if reach > 1 else 0):
        link = link.index_select(0, link)
    while True:
        last = step.index_select(0, link)
        if int(last.max()) <= 0:
            return last.add_(link)
        link = link.index_select(0, link)


def _step_numbers(draws: Draws, reach: int, height: int, width: int) -> Tensor:
    """Return the number of the step that each pixel draws in one pass, int32 [N, H * W]."""
    return draws.integers(height * width, low=0, high=(2 * reach) ** 2, dtype=torch.int32)


def _steps(reach: int, width: int, device: torch.device) -> Tensor:
    """Return the steps in a flattened plane to the neighbours at -reach to reach - 1 rows and columns, int32."""
    offsets = torch.arange(-reach, reach, device=device, dtype=torch.int32)
    return (offsets[:, None] * width + offsets).flatten()


def motion_blur(images: Tensor, draws: Draws, radius: int, sigma: float) -> Tensor:
    """Blur along a line at an angle of -45 to 45 degrees (see :func:`~filters.motion_blurred`)."""
    return motion_blurred(images, radius, sigma, draws.uniform(low=-45, high=45))


def zoom_blur(images: Tensor, stop: float, step: float) -> Tensor:
    """Return the mean of the image and of its zooms by 1, 1 + `step`, ... below `stop`.

    The zoom is of the window in the middle that it enlarges to the image's size; the published code and this one count
    the image itself twice, for the zoom by 1 is among them.
    """
    height, width = images.shape[2:]
    factors = np.arange(1, stop, step).tolist()[1:]
    zooms = [(zoom_taps(height, factor), zoom_taps(width, factor)) for factor in factors]
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.blurs import zoom_mean

        return zoom_mean(images, zooms)
    if is_large(images):
        total = images * 2
        for rows, columns in zooms:
            for image, result in zip(along_height(images, rows), total, strict=True):
                add_along_width(image, columns, result)
    else:
        planes = images.flatten(0, 1)
        turned = planes.transpose(1, 2) * 2
        for rows, columns in zooms:
            turned += summed(summed(planes, rows).transpose(1, 2), columns)
        total = turned.transpose(1, 2).reshape(images.shape)
    return total.div_(2 + len(zooms))


BLUR = {
    "defocus_blur": Corruption(
        defocus_blur,
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        tiny_imagenet=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(
        glass_blur,
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        tiny_imagenet=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        random=True,
    ),
    "motion_blur": Corruption(
        motion_blur,
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        tiny_imagenet=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        random=True,
    ),
    "zoom_blur": Corruption(
        zoom_blur,
        cifar=tuple(zip((1.06, 1.11, 1.16, 1.21, 1.26), repeat(0.01))),
        tiny_imagenet=tuple(zip((1.06, 1.11, 1.16, 1.21, 1.26), repeat(0.01))),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
}
