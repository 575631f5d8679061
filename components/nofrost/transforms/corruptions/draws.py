"""Random numbers of a corruption, drawn for each image by itself.

The generators depend on (seed, corruption, severity, index of the image) alone, so what an image gets does not depend
on how the images are split into batches, nor on the device. A generator of numpy's gives the bits; what is made of
them is made for the whole batch, in a fifth of the time that numpy takes for normal and half of that for uniform ones.
"""

import hashlib
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray
from scipy import special
from torch import Tensor

# Steps of a generator before its first number, beside numpy's own twelve: keys may differ in a single bit.
_MIXING = 8
_SHARES = 1 << 16


class _Key(ISeedSequence):
    """A key of SFC64 in the place of a sequence of seeds, for which numpy would ask the operating system."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint64) -> NDArray[np.uint64]:
        return self.words


class Draws:
    """The generators of N images; each method returns a tensor [N, *shape] on the device of the images.

    A method called again goes on in the sequence of each generator.
    """

    def __init__(self, seed: int, name: str, severity: int, indices: NDArray[np.int64], device: torch.device) -> None:
        digest = hashlib.sha256(f"{seed}/{name}/{severity}".encode()).digest()
        stream = [int.from_bytes(digest[start : start + 8], "little") for start in (0, 8)]
        keys = indices.astype(np.int64).view(np.uint64)  # negative indices too are keys of their own
        # numpy takes any ISeedSequence; its annotations name one class of them only.
        seeds: list[Any] = [_Key(key, *stream) for key in keys.tolist()]
        self._bits = [np.random.SFC64(seed) for seed in seeds]
        for bits in self._bits:
            bits.random_raw(_MIXING, output=False)
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Return float32 values of the standard normal distribution, in 2**16 equal shares (see normal_shares)."""
        return normal_shares().to(self.device).index_select(0, self.words(*shape).flatten()).view(-1, *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 values, uniform in [low, high)."""
        # 24 bits, as many as a float32 below 1 has
        values = self.double_words(*shape).bitwise_right_shift_(8).float().add_(2.0**23)
        return values.mul_((high - low) * 2.0**-24).add_(low)

    def integers(self, *shape: int, low: int, high: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Return values of `dtype`, uniform in low, ..., high - 1; of up to 64 values to a share of 1 in 1024."""
        if high - low <= 64:
            return self.words(*shape).mul_(high - low).bitwise_right_shift_(16).add_(low).to(dtype)
        count = math.prod(shape)
        values = [np.random.Generator(bits).integers(low, high, count, dtype=np.int64) for bits in self._bits]
        return torch.from_numpy(np.stack(values)).to(self.device, dtype).view(-1, *shape)

    def words(self, *shape: int) -> Tensor:
        """Return int32 values of 16 random bits, 0 to 65535."""
        return self._numbers(np.dtype("<u2"), shape)

    def double_words(self, *shape: int) -> Tensor:
        """Return int32 values of 32 random bits."""
        return self._numbers(np.dtype("<i4"), shape)

    def _numbers(self, size: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
        """Return int32 values of so many random bits."""
        count = math.prod(shape)
        words = -(-count * size.itemsize // 8)
        numbers = np.empty((len(self._bits), count), np.int32)
        for bits, row in zip(self._bits, numbers, strict=True):
            row[:] = bits.random_raw(words).astype("<u8", copy=False).view(size)[:count]
        return torch.from_numpy(numbers).to(self.device).view(-1, *shape)


@lru_cache(maxsize=1)
def normal_shares() -> Tensor:
    """Return the means of 2**16 equal shares of the standard normal distribution, from the lowest on, float32.

    They reach 4.4 standard deviations, and their variance is 1 - 1.5e-6. What is made of them is rounded to the levels
    of 8 bits, which are further apart than all but a few at the ends.
    """
    borders = special.ndtri(np.arange(_SHARES + 1) / _SHARES)
    densities = np.exp(-(borders**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy((densities[:-1] - densities[1:]) * _SHARES).float()
