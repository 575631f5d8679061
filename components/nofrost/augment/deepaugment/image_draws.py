"""Random numbers of one image, drawn on the CPU so that devices agree."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class ImageDraws:
    """Draws from a generator of its own, seeded with `seed`; tensors are moved to the device of what they go with."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def integer(self, low: int, high: int) -> int:
        """Return an integer from low to high - 1."""
        return int(torch.randint(low, high, (), generator=self.generator))

    def choice(self, values: Sequence[T]) -> T:
        """Return one of the values."""
        return values[self.integer(0, len(values))]

    def chance(self, probability: float) -> bool:
        """Return whether something of this probability happens."""
        return self.share() < probability

    def share(self) -> float:
        """Return a number from [0, 1)."""
        return float(torch.rand((), generator=self.generator))

    def order(self, length: int) -> list[int]:
        """Return 0 .. length - 1 in random order."""
        return torch.randperm(length, generator=self.generator).tolist()

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return numbers from [0, 1), of the type and on the device of `like`."""
        return torch.rand(tuple(shape), generator=self.generator).to(like)

    def signs(self, shape: Sequence[int], like: Tensor, negative: float = 0.5) -> Tensor:
        """Return 1, or -1 with the probability `negative`."""
        return 1 - 2 * (self.uniform(shape, like) < negative).to(like)

    def kept(self, shape: Sequence[int], like: Tensor, dropped: float = 0.5) -> Tensor:
        """Return 1, or 0 with the probability `dropped`."""
        return (self.uniform(shape, like) >= dropped).to(like)
