"""Random tensors for the distortions, from one generator on the CPU so that all devices get the same."""

from __future__ import annotations

import torch
from torch import Tensor


class Chance:
    """Draws on the CPU. Values go to `device`; choices of images stay on the CPU, where the program branches."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def uniform(self, *shape: int) -> Tensor:
        """Return values from [0, 1)."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Return values from the standard normal distribution."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def order(self, rows: int, length: int) -> Tensor:
        """Return a random order of 0 .. length-1 for each row: int64 [rows, length]."""
        return torch.rand(rows, length, generator=self.generator).argsort(dim=1).to(self.device)

    def strengths(self, n: int, low: float, high: float) -> Tensor:
        """Return values from [low, high) for n images, on the CPU."""
        return low + (high - low) * torch.rand(n, generator=self.generator)

    def struck(self, n: int, probability: float) -> Tensor:
        """Return a bool [n], True with `probability`, on the CPU."""
        return torch.rand(n, generator=self.generator) < probability

    def some(self, n: int, length: int, among: int) -> Tensor:
        """Return a bool [n, among] with exactly `length` True in each row, on the CPU."""
        return torch.rand(n, among, generator=self.generator).argsort(dim=1).argsort(dim=1) < length
