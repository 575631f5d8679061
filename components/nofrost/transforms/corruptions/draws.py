"""Random numbers of a corruption, drawn for each image by itself.

The generators depend on (seed, corruption, severity, index of the image) alone, so what an image gets does not depend
on how the images are split into batches, nor on the device. numpy's Philox generator is counter-based: one for an image
costs some ten microseconds, and the arithmetic on the images is done for the whole batch.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Draws:
    """The generators of N images; each method returns a tensor [N, *shape] on the device of the images.

    A method called again goes on in the sequence of each generator.
    """

    def __init__(self, seed: int, name: str, severity: int, indices: NDArray[np.int64], device: torch.device) -> None:
        digest = hashlib.sha256(f"{seed}/{name}/{severity}".encode()).digest()
        stream = int.from_bytes(digest[:8], "little")
        keys = indices.astype(np.int64).view(np.uint64)  # negative indices too are keys of their own
        self.generators = [
            np.random.Generator(np.random.Philox(key=np.array([stream, key], dtype=np.uint64))) for key in keys
        ]
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Return float32 values of the standard normal distribution."""
        return self._each(shape, np.float32, lambda rng: rng.standard_normal(shape, dtype=np.float32))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 values, uniform in [low, high)."""
        values = self._each(shape, np.float32, lambda rng: rng.random(shape, dtype=np.float32))
        return values if (low, high) == (0.0, 1.0) else low + (high - low) * values

    def integers(self, *shape: int, low: int, high: int) -> Tensor:
        """Return int64 values, uniform in low, ..., high - 1, both of them in [-128, 127] or both beyond."""
        small = low >= -128 and high <= 128
        dtype: Any = np.int8 if small else np.int64
        return self._each(shape, dtype, lambda rng: rng.integers(low, high, shape, dtype=dtype)).long()

    def _each(self, shape: tuple[int, ...], dtype: Any, draw: Callable[[np.random.Generator], Any]) -> Tensor:
        values = np.empty((len(self.generators), *shape), dtype=dtype)
        for row, rng in enumerate(self.generators):
            values[row] = draw(rng)
        return torch.from_numpy(values).to(self.device)
