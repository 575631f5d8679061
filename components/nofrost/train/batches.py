"""The training batches of an epoch: their order, their views, all a function of (seed, epoch, step)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.config.recipe import ViewSpec
from nofrost.data import Split, to_tensor
from nofrost.errors import UserError
from nofrost.transforms.crop_flip import random_crop, random_horizontal_flip


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that is a function of all parts, so that no generator's state need be saved."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class TrainingImages:
    """The training split, its augmentation sets (row-aligned with it) and what is done to images."""

    split: Split
    augmented: tuple[NDArray[np.uint8], ...]
    views: ViewSpec
    batch_size: int

    def __post_init__(self) -> None:
        if self.steps == 0:
            raise UserError(
                f"schedule.batch_size {self.batch_size} is larger than the {len(self.split)} training images: lower it"
            )

    @property
    def steps(self) -> int:
        """Steps of one epoch; images that do not fill a last batch wait for another epoch's order."""
        return len(self.split) // self.batch_size

    @property
    def batch_pixels(self) -> int:
        """Pixels of a batch of images, channels not counted."""
        height, width = self.split.images.shape[1:3]
        return self.batch_size * int(height) * int(width)

    def epoch(self, seed: int, epoch: int, first_step: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield (images, labels, source indices[, augmented images]) of each step; the next is read meanwhile."""
        order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(len(self.split))
        with ThreadPoolExecutor(1, "nofrost-batches") as pool:
            ahead = None
            for step in range(first_step, self.steps):
                current = ahead or pool.submit(self._batch, order, seed, epoch, step)
                ahead = pool.submit(self._batch, order, seed, epoch, step + 1) if step + 1 < self.steps else None
                yield current.result()

    def _batch(self, order: NDArray[np.int64], seed: int, epoch: int, step: int) -> tuple[torch.Tensor, ...]:
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        generator = torch.Generator().manual_seed(derive_seed(seed, "views", epoch, step))
        images, labels, indices = self.split.batch(rows)
        batch = (self._view(images, generator), labels, indices)
        return (*batch, self._view(self._augmented(rows, generator), generator)) if self.augmented else batch

    def _augmented(self, rows: NDArray[np.int64], generator: torch.Generator) -> torch.Tensor:
        choice = torch.randint(0, len(self.augmented), (len(rows),), generator=generator).numpy()
        picked = np.empty((len(rows), *self.split.images.shape[1:]), np.uint8)
        for number, images in enumerate(self.augmented):
            picked[choice == number] = images[rows[choice == number]]
        return to_tensor(picked)

    def _view(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.views.crop_padding:
            images = random_crop(images, self.views.crop_padding, generator)
        return random_horizontal_flip(images, generator) if self.views.horizontal_flip else images
