"""The training batches of an epoch; their order and their views are a function of (seed, epoch, step)."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nofrost.config.model import Statistics
from nofrost.config.recipe import Recipe, ViewSpec
from nofrost.data import Split, to_tensor
from nofrost.errors import UserError, closest
from nofrost.processes import ProcessGroup
from nofrost.seeds import derive_seed
from nofrost.train.batch_statistics import check_groups
from nofrost.train.objectives import Batch
from nofrost.transforms.crops import crop_boxes, crop_offsets, flip, flips, padded_crop, resized_crop

# The view that draws one of the augmentation sets for each image.
ANY_SET = "augmented"


def check_shares(batch_size: int, accumulation: int, statistics: Statistics, processes: int) -> None:
    """Check that the processes share a batch equally, in whole micro-batches and in whole groups for batch statistics.

    Args:
        accumulation: micro-batches of a batch.

    Raises:
        UserError: they cannot.
    """
    if batch_size % processes:
        per_process = max(1, batch_size // processes)
        raise UserError(
            f"schedule.batch_size {batch_size} cannot be shared equally by {processes} processes: set it to a "
            f"multiple, such as {per_process * processes}, or change the number of processes"
        )
    images = batch_size // processes
    if images % accumulation:
        fitting = next(number for number in (*range(accumulation, images), images) if images % number == 0)
        of_each = f" that each of {processes} processes has" if processes > 1 else ""
        raise UserError(
            f"schedule.accumulation {accumulation} does not divide the {images} images{of_each} of "
            f"schedule.batch_size {batch_size}: set it to a divisor, such as {fitting}"
        )
    check_groups(statistics, images // accumulation, accumulation, processes)


def check_batches(recipe: Recipe, processes: int) -> None:
    """Check that the processes share the batches of each phase of a recipe equally.

    Raises:
        UserError: they cannot.
    """
    for name, phase in recipe.in_phases().items():
        schedule = phase.schedule
        try:
            check_shares(schedule.batch_size, schedule.accumulation, recipe.model.batch_statistics, processes)
        except UserError as error:
            if not recipe.phases:
                raise
            raise UserError(f"phases.{name}: {error}") from None


@dataclass(frozen=True)
class TrainingImages:
    """The training split, its augmentation sets, and the transforms of their images.

    Attributes:
        split: clean images, memory-mapped; only this process's rows of a batch are read.
        augmented: images of each augmentation set by its name, row-aligned with the split.
        augmented_views: the augmented views of a batch: the name of a set, or ``augmented`` for a set drawn for each
            image.
        views: the transforms of each image, in this order: resized crop, or resize; crop with padding; flip. Each view
            of an image has its own crop and flip. An `image_size` larger than the stored one enlarges.
        batch_size: of all processes together, each of which has the same number of rows.
        group: the processes that train together. Random numbers are drawn for the whole batch and sliced, so that
            the rows of all processes together equal the batch of a single process, bit for bit.
        accumulation: steps of gradient accumulation: the micro-batches of a batch; each is shared by the processes in
            the order of their ranks, so that the images that share a micro-batch do not depend on their number.
        batch_statistics: of the recipe's batch norms (``model.batch_statistics``).
    """

    split: Split
    augmented: Mapping[str, NDArray[np.uint8]]
    augmented_views: tuple[str, ...]
    views: ViewSpec
    batch_size: int
    group: ProcessGroup = field(default_factory=ProcessGroup)
    accumulation: int = 1
    batch_statistics: Statistics = "process"

    def __post_init__(self) -> None:
        if self.steps == 0:
            raise UserError(
                f"schedule.batch_size {self.batch_size} is larger than the {len(self.split)} training images: lower it"
            )
        check_shares(self.batch_size, self.accumulation, self.batch_statistics, self.group.size)
        self._check_views()

    def _check_views(self) -> None:
        sets = ", ".join(self.augmented) or "none"
        for view in self.augmented_views:
            if not self.augmented or (view != ANY_SET and view not in self.augmented):
                hint = closest(view, ("clean", "adversarial", ANY_SET, *self.augmented)).rstrip()
                raise UserError(
                    f"the objective trains on {view!r} images and views.augmentation_sets has {sets}: name "
                    f"{'a set' if view == ANY_SET else view} there, or choose another objective or other views"
                    f"{f' ({hint})' if hint and view != ANY_SET else ''}"
                )
        used = self.augmented if ANY_SET in self.augmented_views else self.augmented_views
        unused = [name for name in self.augmented if name not in used]
        if unused:
            raise UserError(
                f"views.augmentation_sets has {', '.join(unused)}, which the objective does not train on: leave it "
                "out, or choose an objective that does"
            )

    @property
    def steps(self) -> int:
        """Steps of one epoch; the images that are left after the last full batch are not used in this epoch."""
        return len(self.split) // self.batch_size

    @property
    def images_per_rank(self) -> int:
        """Rows of a batch that this process has."""
        return self.batch_size // self.group.size

    @property
    def micro_batch_size(self) -> int:
        """Images that this process has in memory at once: its rows of a micro-batch (gradient accumulation)."""
        return self.images_per_rank // self.accumulation

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that a batch holds."""
        height, width = self.split.images.shape[1:3]
        return (self.views.image_size,) * 2 if self.views.image_size else (int(height), int(width))

    @property
    def batch_pixels(self) -> int:
        """Pixels of this process's rows of a micro-batch, channels not counted."""
        height, width = self.image_size
        return self.micro_batch_size * height * width

    def epoch(self, seed: int, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield this process's rows of each step's batch, on the CPU; the next ones are read meanwhile.

        They are those of the first micro-batch, then of the second, and so on.
        """
        order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(len(self.split))
        with ThreadPoolExecutor(1, "nofrost-batches") as pool:
            upcoming = None
            for step in range(first_step, self.steps):
                current = upcoming or pool.submit(self._batch, order, seed, epoch, step)
                upcoming = pool.submit(self._batch, order, seed, epoch, step + 1) if step + 1 < self.steps else None
                yield current.result()

    @property
    def _rank_rows(self) -> NDArray[np.int64]:
        """This process's rows of a batch, one micro-batch after the other."""
        rows = np.arange(self.batch_size).reshape(self.accumulation, self.group.size, self.micro_batch_size)
        return rows[:, self.group.rank].ravel()

    def _batch(self, order: NDArray[np.int64], seed: int, epoch: int, step: int) -> Batch:
        rows = order[step * self.batch_size + self._rank_rows]
        generator = torch.Generator().manual_seed(derive_seed(seed, "views", epoch, step))
        images, labels, indices = self.split.batch(rows)
        clean = self._view(images, generator)
        augmented = {
            view: self._view(self._augmented(view, rows, generator), generator) for view in self.augmented_views
        }
        return Batch(clean, labels, indices, augmented)

    def _augmented(self, view: str, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        if view != ANY_SET:
            return to_tensor(self.augmented[view][rows])
        set_numbers = torch.randint(0, len(self.augmented), (self.batch_size,), generator=generator)
        rank_numbers = set_numbers.numpy()[self._rank_rows]
        mixed = np.empty((len(rows), *self.split.images.shape[1:]), np.uint8)
        for number, images in enumerate(self.augmented.values()):
            mixed[rank_numbers == number] = images[rows[rank_numbers == number]]
        return to_tensor(mixed)

    def _view(self, images: Tensor, generator: torch.Generator) -> Tensor:
        views, n, rows = self.views, self.batch_size, self._rank_rows
        if views.random_resized_crop:
            boxes = crop_boxes(n, (views.random_resized_crop, 1.0), generator)
            images = resized_crop(images, boxes[rows], self.image_size)
        elif images.shape[2:] != self.image_size:
            images = F.interpolate(images, self.image_size, mode="bilinear", antialias=True)
        if views.crop_padding:
            images = padded_crop(images, views.crop_padding, crop_offsets(n, views.crop_padding, generator)[rows])
        return flip(images, flips(n, generator)[rows]) if views.horizontal_flip else images
