"""Linear filters and resampling that several corruptions share, for images float32 [N, C, H, W] on any device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

Border = Callable[[NDArray[np.int64], int], NDArray[np.int64]]
# More taps than this are faster as a product of matrices.
MOST_TAPS = 32
LARGE = 64 * 64  # pixels of an image from which it is worth some calls of its own


def nearest(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the positions with those beyond the border moved to it."""
    return positions.clip(0, size - 1)


def mirrored(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the positions with those beyond the border mirrored at the border pixel's outer edge (c b a | a b c)."""
    folded = positions % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def mirrored_at_centre(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the positions with those beyond the border mirrored at the border pixel's centre (c b | a b c)."""
    folded = positions % max(2 * size - 2, 1)
    return np.minimum(folded, 2 * size - 2 - folded)


@dataclass(frozen=True)
class Taps:
    """A linear filter of lines: value i of the result is the sum of `weights[i]` times the values at `indices[i]`.

    Attributes:
        indices, weights: int32 and float32 [size of the result, taps].
        size: of the source.
    """

    indices: Tensor
    weights: Tensor
    size: int
    _of_planes: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, indices: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> "Taps":
        """Return the filter for lines of `size` values."""
        return cls(torch.from_numpy(indices).int(), torch.from_numpy(weights).float(), size)

    @cached_property
    def matrix(self) -> Tensor:
        """The same filter, float32 [size of the result, size of the source]."""
        matrix = torch.zeros(len(self.indices), self.size)
        return matrix.scatter_add_(1, self.indices.long(), self.weights)

    def of_planes(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return indices and weights for the lines of `n` planes, numbered through all: [n * size of the result, taps].

        On the CPU the last ones are kept, as making them takes as long as filtering a small plane.
        """
        if kept := self._of_planes.get(n if device.type == "cpu" else 0):
            return kept
        first = self.size * torch.arange(n, device=device, dtype=torch.int32)
        indices = (self.indices.to(device) + first[:, None, None]).flatten(0, 1)
        made = indices, self.weights.to(device).repeat(n, 1)
        if device.type == "cpu":
            self._of_planes.clear()
            self._of_planes[n] = made
        return made

    @cached_property
    def selection(self) -> bool:
        """Whether each value of the result is one of the source."""
        return self.indices.shape[1] == 1 and bool((self.weights == 1).all())


@lru_cache(maxsize=64)
def gaussian_taps(size: int, sigma: float, border: Border = nearest, truncate: float = 4.0) -> Taps:
    """Return a Gaussian of `sigma` pixels, cut off at `truncate` standard deviations (as in SciPy and scikit-image)."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    indices = border(np.arange(size)[:, None] + offsets, size)
    return Taps.of(indices, np.broadcast_to(weights / weights.sum(), indices.shape).copy(), size)


@lru_cache(maxsize=256)
def zoom_taps(size: int, factor: float) -> Taps:
    """Return the linear zoom of the window in the middle by `factor` >= 1, cut back to `size`.

    The window has ceil(size / factor) values; its first and last stay first and last of the zoomed line (as in
    scipy.ndimage.zoom), which is round(window * factor) long.
    """
    window = math.ceil(size / factor)
    zoomed = round(window * factor)
    positions = np.arange(size) + (zoomed - size) // 2
    places = positions * ((window - 1) / max(zoomed - 1, 1))
    low = np.floor(places).astype(np.int64)
    share = places - low
    indices = np.stack((low, np.minimum(low + 1, window - 1)), axis=1) + (size - window) // 2
    return Taps.of(indices, np.stack((1 - share, share), axis=1), size)


@lru_cache(maxsize=32)
def all_zooms(size: int, factors: tuple[float, ...]) -> Taps:
    """Return the zooms by all these factors, one result after the other."""
    zooms = [zoom_taps(size, factor) for factor in factors]
    return Taps(torch.cat([zoom.indices for zoom in zooms]), torch.cat([zoom.weights for zoom in zooms]), size)


@lru_cache(maxsize=32)
def sum_of_zooms(size: int, factors: tuple[float, ...]) -> Taps:
    """Return the sum of zooms by these factors, each of a line of its own, one line after the other."""
    zooms = [zoom_taps(size, factor) for factor in factors]
    indices = torch.cat([zoom.indices + number * size for number, zoom in enumerate(zooms)], dim=1)
    return Taps(indices, torch.cat([zoom.weights for zoom in zooms], dim=1), size * len(zooms))


@lru_cache(maxsize=64)
def box_taps(size: int, result: int) -> Taps:
    """Return the mean of the values whose centres lie in each of `result` equal boxes (as Pillow's BOX filter).

    Where boxes are narrower than a pixel, they are taken to be as wide as one.
    """
    scale = size / result
    centres = (np.arange(result) + 0.5) * scale
    support = 0.5 * max(scale, 1)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), size)
    indices = first[:, None] + np.arange((last - first).max())
    # Pillow's box is open at its left and closed at its right end.
    distances = (indices - centres[:, None] + 0.5) / max(scale, 1)
    weights = ((distances > -0.5) & (distances <= 0.5) & (indices < last[:, None])).astype(np.float64)
    return Taps.of(indices.clip(max=size - 1), weights / weights.sum(axis=1, keepdims=True), size)


def filtered(images: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Filter along the height with `rows` and along the width with `columns`."""
    if max(rows.indices.shape[1], columns.indices.shape[1]) > MOST_TAPS:
        left, right = rows.matrix.to(images.device), columns.matrix.T.to(images.device)
        planes = images.flatten(0, 1)
        # A product for each plane: its bits do not depend on how many there are.
        narrow = planes.bmm(right.expand(len(planes), -1, -1))
        return left.expand(len(planes), -1, -1).bmm(narrow).view(*images.shape[:2], len(left), -1)
    lines = summed(images.flatten(0, 1), rows)  # [N * C, height, W]
    turned = summed(lines.transpose(1, 2), columns)
    return turned.transpose(1, 2).contiguous().view(*images.shape[:2], len(rows.indices), -1)


def summed(lines: Tensor, taps: Taps) -> Tensor:
    """Filter the second dimension of `lines` [N, L, ...]."""
    n, length, *rest = lines.shape
    if taps.selection:
        return lines.contiguous().index_select(1, taps.indices[:, 0].to(lines.device))
    indices, weights = taps.of_planes(n, lines.device)
    # A turned view of one plane would be summed by other code, in other bits.
    table = lines.reshape(n * length, -1).contiguous()
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum").view(n, len(taps.indices), *rest)


def gaussian_filter(images: Tensor, sigma: float, border: Border = nearest, truncate: float = 4.0) -> Tensor:
    """Blur with a Gaussian of `sigma` pixels; too narrow a one to reach a neighbour leaves the images as they are."""
    if int(truncate * sigma + 0.5) == 0:
        return images
    height, width = images.shape[2:]
    return filtered(
        images, gaussian_taps(height, sigma, border, truncate), gaussian_taps(width, sigma, border, truncate)
    )


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a square kernel [k, k] of odd size that is symmetric, in both axes; the border mirrors.

    Large kernels go through the Fourier transform.
    """
    pad = kernel.shape[-1] // 2
    height, width = images.shape[2:]
    padded = padded_by(images, pad)
    kernel = kernel.to(images)
    if pad <= 3:
        planes = padded.reshape(-1, 1, *padded.shape[2:])
        return F.conv2d(planes, kernel[None, None]).reshape(images.shape)
    size = tuple(next_fast_len(side, real=True) for side in padded.shape[2:])
    spectrum = torch.fft.rfft2(padded, s=size).mul_(torch.fft.rfft2(kernel, s=size))
    whole: Tensor = torch.fft.irfft2(spectrum, s=size)
    return whole[:, :, 2 * pad : 2 * pad + height, 2 * pad : 2 * pad + width]


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
    if images.device.type == "cpu" and images[0, 0].numel() >= LARGE:
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


def sampled(images: Tensor, down: Tensor, right: Tensor, *, beyond: str) -> Tensor:
    """Return the images at places between pixels, by bilinear interpolation.

    Args:
        down, right: [N, H, W], of each pixel of the result, from the centre of the first pixel.
        beyond: "mirrored" (c b a | a b c), "mirrored-at-centre" (c b | a b c) or "zero".
    """
    height, width = images.shape[2:]
    corners = beyond != "mirrored"
    grid = right.new_empty(*right.shape, 2)
    for axis, (places, size) in enumerate(((right, width), (down, height))):
        # From -1 to 1, between the centres of the outer pixels or between their outer edges
        factor, shift = (2 / (size - 1), -1.0) if corners else (2 / size, 1 / size - 1)
        torch.add(places.new_tensor(shift), places, alpha=factor, out=grid[..., axis])
    padding = "zeros" if beyond == "zero" else "reflection"
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=corners)


def pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row [H, 1] and the column [1, W] of each pixel, float32."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
    return rows, torch.arange(width, device=images.device, dtype=torch.float32)[None]
