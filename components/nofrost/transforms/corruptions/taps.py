"""Linear filters of lines: Gaussians, boxes and zooms, along the height and the width of images on any device."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Border = Callable[[NDArray[np.int64], int], NDArray[np.int64]]
# More taps than this are faster as a product of matrices.
MOST_TAPS = 32
LARGE = 64 * 64  # pixels of an image from which it is worth some calls of its own
BAND = 32  # values of the result of one product of matrices


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


class Bands(NamedTuple):
    """A part of a filter's matrix, of as many bands as fit along its diagonal, each of BAND values of the result.

    Attributes:
        target, source: first value of the result and of the source.
        step: from the source of one band to that of the next.
        matrices: float32 [bands, values of the source, values of the result].
    """

    target: int
    source: int
    step: int
    matrices: Tensor

    def windows(self, lines: Tensor, dimension: int) -> Tensor:
        """Return the sources of the bands along a dimension of `lines` [H, W], with the bands as a new first one."""
        number, window, _ = self.matrices.shape
        size, strides = list(lines.shape), lines.stride()
        size[dimension] = window
        # A view, in which windows overlap
        first = lines.storage_offset() + self.source * strides[dimension]
        return lines.as_strided((number, *size), (self.step * strides[dimension], *strides), first)


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

    @cached_property
    def bands(self) -> list[Bands]:
        """The same filter without most of its zeros; the bands at its ends, where borders are, may be wider."""
        length, lowest, highest = len(self.indices), self.indices.amin(dim=1), self.indices.amax(dim=1)
        whole = length - length % BAND
        starts = lowest[:whole].view(-1, BAND).amin(dim=1).tolist()
        ends = highest[:whole].view(-1, BAND).amax(dim=1).add(1).tolist()
        number = len(starts)
        together = [self._alike(range(number), starts, ends)] if number else []
        if number > 2:
            apart = [
                self._alike(some, starts, ends) for some in (range(1), range(1, number - 1), range(number - 1, number))
            ]
            if apart[1].matrices.shape[1] + BAND // 2 < together[0].matrices.shape[1]:
                together = apart
        if whole < length:
            source, end = int(lowest[whole:].min()), int(highest[whole:].max()) + 1
            together.append(Bands(whole, source, 0, self.matrix[whole:, source:end].T[None].contiguous()))
        return together

    def _alike(self, some: Sequence[int], starts: list[int], ends: list[int]) -> Bands:
        """Return these bands with sources that are as narrow as they can be if all are alike and equally far apart."""
        found = []
        for step in range(self.size // max(len(some) - 1, 1) + 1):
            first = min(starts[band] - turn * step for turn, band in enumerate(some))
            end = max(ends[band] - turn * step for turn, band in enumerate(some))
            if first >= 0 and end + (len(some) - 1) * step <= self.size:
                found.append((end - first, first, step))
        window, first, step = min(found)  # the step 0 is always among them
        matrices = [
            self.matrix[band * BAND : (band + 1) * BAND, first + turn * step : first + turn * step + window].T
            for turn, band in enumerate(some)
        ]
        return Bands(some[0] * BAND, first, step, torch.stack(matrices).contiguous())

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
    return along_width(along_height(images, rows), columns)


def along_height(images: Tensor, taps: Taps) -> Tensor:
    """Filter the columns of `images` [N, C, H, W]."""
    planes = images.flatten(0, 1)
    if taps.indices.shape[1] <= MOST_TAPS:
        lines = summed(planes, taps)
    elif is_large(images):
        lines = planes.new_empty(len(planes), len(taps.indices), planes.shape[2])
        for plane, result in zip(planes.contiguous(), lines, strict=True):
            for part in taps.bands:
                rows = slice(part.target, part.target + part.matrices[0].shape[1] * len(part.matrices))
                sources = part.windows(plane, dimension=0)
                torch.bmm(part.matrices.mT, sources, out=result[rows].view(len(sources), -1, plane.shape[1]))
    else:
        # A product for each plane: its bits do not depend on how many there are.
        lines = taps.matrix.to(images.device).expand(len(planes), -1, -1).bmm(planes)
    return lines.view(*images.shape[:2], *lines.shape[1:])


def along_width(images: Tensor, taps: Taps) -> Tensor:
    """Filter the rows of `images` [N, C, H, W]."""
    size = (*images.shape[:3], len(taps.indices))
    if taps.selection:
        return images.index_select(3, taps.indices[:, 0].to(images.device))
    if is_large(images):
        result = images.new_empty(size)
        for image, lines in zip(images, result, strict=True):
            add_along_width(image, taps, lines, keep=0)
        return result
    planes = images.flatten(0, 1)
    if taps.indices.shape[1] > MOST_TAPS:
        return planes.bmm(taps.matrix.T.to(images.device).expand(len(planes), -1, -1)).view(size)
    return summed(planes.transpose(1, 2), taps).transpose(1, 2).contiguous().view(size)


def add_along_width(image: Tensor, taps: Taps, total: Tensor, keep: float = 1.0) -> None:
    """Filter the rows of `image` [C, H, W], and add them to `total` [C, H, L] times `keep`.

    The products are of one image, so that their bits do not depend on how many there are.
    """
    lines, sums = image.contiguous().flatten(0, 1), total.view(-1, total.shape[2])
    for part in taps.bands:
        columns = slice(part.target, part.target + part.matrices[0].shape[1] * len(part.matrices))
        target = sums[:, columns].view(len(sums), len(part.matrices), -1).transpose(0, 1)
        torch.baddbmm(target, part.windows(lines, dimension=1), part.matrices, beta=keep, out=target)


def is_large(images: Tensor) -> bool:
    """Return whether `images` [N, C, H, W] are worth some calls for each one."""
    return images.device.type == "cpu" and images[0, 0].numel() >= LARGE


def summed(lines: Tensor, taps: Taps) -> Tensor:
    """Filter the second dimension of `lines` [N, L, ...]."""
    n, length, *rest = lines.shape
    if taps.selection:
        return lines.contiguous().index_select(1, taps.indices[:, 0].to(lines.device))
    indices, weights = taps.of_planes(n, lines.device)
    # A turned view of one plane would be summed by other code, in other bits.
    table = lines.reshape(n * length, -1).contiguous()
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum").view(n, len(taps.indices), *rest)
