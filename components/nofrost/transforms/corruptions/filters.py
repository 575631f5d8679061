"""Filters and resampling that several corruptions share, for images float32 [N, C, H, W] on any device."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.taps import Border, filtered, gaussian_taps, is_large, mirrored_at_centre, nearest


def gaussian_filter(images: Tensor, sigma: float, border: Border = nearest, truncate: float = 4.0) -> Tensor:
    """Blur with a Gaussian of `sigma` pixels; too narrow a one to reach a neighbour leaves the images as they are."""
    if int(truncate * sigma + 0.5) == 0:
        return images
    height, width = images.shape[2:]
    return filtered(
        images, gaussian_taps(height, sigma, border, truncate), gaussian_taps(width, sigma, border, truncate)
    )


def smoothed(images: Tensor, sigma: float, border: Border = nearest, truncate: float = 4.0) -> Tensor:
    """Return what :func:`gaussian_filter` returns but for the last bits, by a compiled loop where there is one.

    What is cut off at a threshold or down to a level takes :func:`gaussian_filter`, whose bits are always the same.
    """
    if int(truncate * sigma + 0.5) == 0 or not is_compiled(images):
        return gaussian_filter(images, sigma, border, truncate)
    from nofrost.transforms.corruptions.kernels.blurs import gaussian

    height, width = images.shape[2:]
    return gaussian(
        images, gaussian_taps(height, sigma, border, truncate), gaussian_taps(width, sigma, border, truncate)
    )


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a square kernel [k, k] of odd size that is symmetric, in both axes; the border mirrors.

    Large kernels go through the Fourier transform.
    """
    pad = kernel.shape[-1] // 2
    height, width = images.shape[2:]
    padded = padded_by(images, pad)
    if pad <= 3:
        planes = padded.reshape(-1, 1, *padded.shape[2:])
        return F.conv2d(planes, kernel.to(images)[None, None]).reshape(images.shape)
    size = tuple(next_fast_len(side, real=True) for side in padded.shape[2:])
    spectrum = torch.fft.rfft2(padded, s=size).mul_(_spectrum(kernel, size).to(images.device))
    whole: Tensor = torch.fft.irfft2(spectrum, s=size)
    return whole[:, :, 2 * pad : 2 * pad + height, 2 * pad : 2 * pad + width]


@lru_cache(maxsize=16)
def _spectrum(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(kernel, s=size)
    return spectrum


def padded_by(images: Tensor, pad: int) -> Tensor:
    """Return the images with `pad` pixels more on each side, mirrored at the border pixel's centre."""
    height, width = images.shape[2:]
    if pad < min(height, width):
        return F.pad(images, (pad, pad, pad, pad), mode="reflect")
    rows, columns = (
        torch.from_numpy(mirrored_at_centre(np.arange(-pad, side + pad), side)).to(images.device)
        for side in (height, width)
    )
    return images[:, :, rows][..., columns]


def motion_blurred(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """Blur along a line, as ImageMagick's MotionBlurImage does.

    The kernel is one half of a Gaussian of `sigma` pixels, cut off at 2 `radius` + 1 values, that lie on whole pixels
    in the direction of the angle; the nearest pixel is repeated beyond the border.

    Args:
        angles: [N] in degrees, on any device.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    radians = np.deg2rad(angles.cpu().numpy().astype(np.float64))[:, None]
    downs, rights = (np.ceil(steps * part(radians) - 0.5).astype(np.int64) for part in (np.sin, np.cos))
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.blurs import sum_of_views

        return sum_of_views(images, downs, rights, weights)
    if is_large(images):
        return _sum_of_views(images, downs, rights, weights)
    # Shifts of whole rows are free where rows are summed; those along the rows cost a copy each: they are to be fewer.
    if np.abs(rights[:, -1]).sum() > np.abs(downs[:, -1]).sum():
        return _sum_of_rows(images.transpose(2, 3), rights, downs, weights).transpose(2, 3).contiguous()
    return _sum_of_rows(images, downs, rights, weights)


def _sum_of_views(
    images: Tensor, downs: NDArray[np.int64], rights: NDArray[np.int64], weights: NDArray[np.float64]
) -> Tensor:
    """Return the same as :func:`_sum_of_rows`, image by image: large ones pay for the calls, and nothing is copied."""
    height, width = images.shape[2:]
    reach = int(max(np.abs(downs).max(), np.abs(rights).max()))
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    total = torch.zeros_like(images)
    starts = zip(padded, total, (downs + reach).tolist(), (rights + reach).tolist(), strict=True)
    for source, result, tops, lefts in starts:
        for weight, top, left in zip(weights.tolist(), tops, lefts, strict=True):
            result.add_(source[:, top : top + height, left : left + width], alpha=weight)
    return total


def _sum_of_rows(
    images: Tensor, downs: NDArray[np.int64], rights: NDArray[np.int64], weights: NDArray[np.float64]
) -> Tensor:
    """Return the sum of each image's pixels at `downs` and `rights` [N, K] from a place, times `weights` [K].

    Offsets begin at 0 and never turn back; beyond the border is the nearest pixel.
    """
    (n, channels, height, width), device = images.shape, images.device
    # Of each image a copy for each shift along the rows, from 0 to its last
    last = rights[:, -1]
    copies = np.abs(last) + 1
    first = np.cumsum(copies) - copies
    owner = np.repeat(np.arange(n), copies)
    shift = (np.arange(len(owner)) - first[owner]) * np.sign(last)[owner]
    reach = int(copies.max()) - 1
    padded = F.pad(images, (reach, reach, 0, 0), mode="replicate").unfold(3, width, 1)
    rows = padded[torch.from_numpy(owner).to(device), :, :, torch.from_numpy(shift + reach).to(device)]
    # Rows are numbered by copy, channel and height.
    copy = torch.from_numpy(first[:, None] + np.abs(rights)).to(device, torch.int32)
    line = torch.from_numpy((np.arange(height)[:, None] + downs[:, None]).clip(0, height - 1)).to(device, torch.int32)
    plane = copy[:, None] * channels + torch.arange(channels, device=device, dtype=torch.int32)[:, None]
    indices = (plane[:, :, None] * height + line[:, None]).flatten(0, 2)
    return F.embedding_bag(
        indices,
        rows.reshape(-1, width),
        per_sample_weights=torch.from_numpy(weights).to(device, torch.float32).expand(indices.shape).contiguous(),
        mode="sum",
    ).view(n, channels, height, width)


def sampled(images: Tensor, down: Tensor, right: Tensor, *, beyond: str, offsets: Tensor | None = None) -> Tensor:
    """Return the images at places between pixels, by bilinear interpolation.

    Args:
        down, right: of each pixel of the result, from the centre of the first pixel; they broadcast to [N, H, W], or
            with offsets to it.
        beyond: "mirrored" (c b a | a b c), "mirrored-at-centre" (c b | a b c) or "zero".
        offsets: [N, 2, H, W], which are added to right and down.
    """
    height, width = images.shape[2:]
    if beyond != "zero" and is_compiled(images):
        from nofrost.transforms.corruptions.kernels import moved_pixels

        if offsets is not None:
            right, down = offsets[:, 0] + right, offsets[:, 1] + down
        down, right = (each.expand(len(images), height, width) for each in (down, right))
        return moved_pixels.sampled(images, down, right, at_centre=beyond == "mirrored-at-centre")
    corners = beyond != "mirrored"
    grid = images.new_empty(len(images), height, width, 2)
    for axis, (places, size) in enumerate(((right, width), (down, height))):
        # From -1 to 1, between the centres of the outer pixels or between their outer edges
        factor, shift = (2 / (size - 1), -1.0) if corners else (2 / size, 1 / size - 1)
        if offsets is None:
            torch.add(places.new_tensor(shift), places, alpha=factor, out=grid[..., axis])
        else:
            torch.add(places * factor + shift, offsets[:, axis], alpha=factor, out=grid[..., axis])
    padding = "zeros" if beyond == "zero" else "reflection"
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=corners)


def pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row [H, 1] and the column [1, W] of each pixel, float32."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
    return rows, torch.arange(width, device=images.device, dtype=torch.float32)[None]
