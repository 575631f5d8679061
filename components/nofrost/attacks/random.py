"""Random numbers that belong to an image, not to its position in a batch or to the device on which it is attacked.

A number is a hash of (seed, index of the image in its dataset, stream, position): that of splitmix64 (Steele, Lea &
Flood 2014). So an attack gives the same result for an image whatever the batch size, the order, the
sharding or the device, and it never reads or moves torch's global generators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on Apple's GPUs, which have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _signed(number: int) -> int:
    """Return the int64 with the lowest 64 bits of `number`."""
    return ((number + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


# Sums and products of int64 tensors wrap modulo 2^64, which is the arithmetic of the hash.
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_STREAM = 0xD1342543DE82EF95
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


@dataclass(frozen=True)
class Noise:
    """Independent random numbers for each of N images.

    Args:
        keys: [N] int64, one for each image and stream; `Noise.of` makes them.
    """

    keys: Tensor

    @classmethod
    def of(cls, seed: int, indices: Tensor) -> Noise:
        """Return the noise of the images with these dataset `indices` ([N] int64) under `seed` (0 to 2^63 - 1)."""
        root = _mixed(torch.full_like(indices, seed) + _GOLDEN)
        return cls(_mixed(root + indices * _GOLDEN))

    @classmethod
    def of_images(cls, seed: int, images: Tensor, indices: Tensor | None) -> Noise:
        """Return the noise of a batch of `images` [N, ...]; without `indices` they count from 0."""
        return cls.of(seed, torch.arange(len(images), device=images.device) if indices is None else indices)

    @classmethod
    def joined(cls, parts: Sequence[Noise]) -> Noise:
        """Return the noise of the images of all parts, in order."""
        return parts[0] if len(parts) == 1 else cls(torch.cat([part.keys for part in parts]))

    def __getitem__(self, rows: Tensor) -> Noise:
        """Return the noise of some of the images: `rows` is [M] int64 or [N] bool."""
        return Noise(self.keys[rows])

    def stream(self, number: int) -> Noise:
        """Return another noise of the same images, independent of this one and of every other stream.

        Args:
            number: from 0 to 2^63 - 1.
        """
        return Noise(_mixed(self.keys + _signed((number + 1) * _STREAM)))

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return [N, *shape] numbers uniform in (-1, 1): odd multiples of 2^-24, the same bits on every device."""
        odd = (_shifted(self._bits(shape), 40) * 2 + 1) - (1 << 24)
        return odd.to(dtype) * 2.0**-24

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return [N, *shape] standard normal numbers; between devices the last bit may differ."""
        # in float64: rounding to `dtype` then hides small differences between the devices' kernels
        uniform = self.uniform(shape, widest_float(self.keys.device))
        return (torch.erfinv(uniform) * math.sqrt(2)).to(dtype)

    def integers(self, shape: Sequence[int], high: int) -> Tensor:
        """Return [N, *shape] int64 numbers uniform in [0, high), for `high` from 1 to 2^31."""
        return (_shifted(self._bits(shape), 33) * high) >> 31

    def _bits(self, shape: Sequence[int]) -> Tensor:
        positions = torch.arange(1, math.prod(shape) + 1, device=self.keys.device) * _GOLDEN
        return _mixed(self.keys[:, None] + positions).view(-1, *shape)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """Shift right by `count` bits, filling with zeros; the operator ``>>`` copies the sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _mixed(bits: Tensor) -> Tensor:
    """Return the hash of `bits`, which it overwrites."""
    bits ^= _shifted(bits, 30)
    bits *= _FIRST
    bits ^= _shifted(bits, 27)
    bits *= _SECOND
    bits ^= _shifted(bits, 31)
    return bits
