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
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray
from torch import Tensor


class _Key(ISeedSequence):
    """A key of Philox in the place of a sequence of seeds, for which numpy would ask the operating system."""

    def __init__(self, stream: int, index: int) -> None:
        self.words = np.array((stream, index), dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint64) -> NDArray[np.uint64]:
        return self.words


class Draws:
    """The generators of N images; each method returns a tensor [N, *shape] on the device of the images.

    A method called again goes on in the sequence of each generator.
    """

    def __init__(self, seed: int, name: str, severity: int, indices: NDArray[np.int64], device: torch.device) -> None:
        digest = hashlib.sha256(f"{seed}/{name}/{severity}".encode()).digest()
        stream = int.from_bytes(digest[:8], "little")
        keys = indices.astype(np.int64).view(np.uint64)  # negative indices too are keys of their own
        # numpy takes any ISeedSequence; its annotations name one class of them only.
        seeds: list[Any] = [_Key(stream, key) for key in keys.tolist()]
        self.generators = [np.random.Generator(np.random.Philox(seed)) for seed in seeds]
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Return float32 values of the standard normal distribution."""
        return self._each(shape, np.float32, lambda rng, row: rng.standard_normal(dtype=np.float32, out=row))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 values, uniform in [low, high)."""
        values = self._each(shape, np.float32, lambda rng, row: rng.random(dtype=np.float32, out=row))
        return values if (low, high) == (0.0, 1.0) else values.mul_(high - low).add_(low)

    def integers(self, *shape: int, low: int, high: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Return values of `dtype`, uniform in low, ..., high - 1, both of them in [-128, 127] or both beyond."""
        small = low >= -128 and high <= 128
        drawn: Any = np.int8 if small else np.int64

        def draw(rng: np.random.Generator, row: NDArray[Any]) -> None:
            row[:] = rng.integers(low, high, len(row), dtype=drawn)

        return self._each(shape, drawn, draw).to(dtype)

    def _each(self, shape: tuple[int, ...], dtype: Any, draw: Callable[[np.random.Generator, Any], Any]) -> Tensor:
        """Return what `draw` writes for each generator into its row of values."""
        values = np.empty((len(self.generators), *shape), dtype=dtype)
        for rng, row in zip(self.generators, values.reshape(len(values), -1), strict=True):
            draw(rng, row)
        return torch.from_numpy(values).to(self.device)
