"""The training batches of an epoch; their order and their views are a function of (seed, epoch, step)."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.config.model import Statistics
from nofrost.config.recipe import ViewSpec
from nofrost.data import Images, Photographs, Split
from nofrost.data.order import Rows, block_order, epoch_order, first_window
from nofrost.errors import UserError, closest
from nofrost.processes import ProcessGroup
from nofrost.seeds import derive_seed
from nofrost.train.decoding_threads import DecodingThreads
from nofrost.train.objectives import Batch
from nofrost.train.shares import check_shares, rows_of_process
from nofrost.train.upcoming import Upcoming, check_room
from nofrost.train.views import ANY_SET, AUGMIX, AUGMIX_AGAIN, DRAWN_VIEWS, TEXTURE_DEBIASED, BatchViews, Later, View

# Of photographs: batches that are ready before the training asks for them, and threads that put them together, two so
# that one batch is decoded while another is finished.
AHEAD, BATCH_THREADS = 2, 2


@dataclass(frozen=True)
class TrainingImages:
    """The training split, its augmentation sets, and the transforms of their images.

    Attributes:
        split: clean images, memory-mapped; only this process's rows of a batch are read.
        augmented: images of each augmentation set by its name, row-aligned with the split.
        augmented_views: the augmented views of a batch: the name of a set, ``texture-debiased``, ``augmented`` for one
            of these drawn for each image, ``augmix``, or ``augmix-2`` for a second draw of it.
        views: the transforms of each image, in this order: resized crop, or resize; crop with padding; flip;
            RandAugment; random erasing. Each view of an image has its own. An `image_size` larger than the stored one
            enlarges. The texture-debiased view has its own crop, the flip, and colours; those of AugMix mix the clean
            view. Of photographs, a crop of random size is one of the stored photograph; without it, the evaluation
            view of the dataset takes the place of the image.
        batch_size: of all processes together, each of which has the same number of rows.
        group: the processes that train together. Random numbers are drawn for the whole batch and sliced, so that
            the rows of all processes together equal the batch of a single process, bit for bit.
        accumulation: steps of gradient accumulation: the micro-batches of a batch, each shared by the processes.
        batch_statistics: of the recipe's batch norms (``model.batch_statistics``).
        threads: decode photographs; those of all phases of a training.
        window: shards whose rows are shuffled together, one such window after the other; None for all.
    """

    split: Split
    augmented: Mapping[str, Images]
    augmented_views: tuple[str, ...]
    views: ViewSpec
    batch_size: int
    group: ProcessGroup = field(default_factory=ProcessGroup)
    accumulation: int = 1
    batch_statistics: Statistics = "process"
    threads: DecodingThreads = field(default_factory=DecodingThreads)
    window: int | None = None

    def __post_init__(self) -> None:
        if self.steps == 0:
            raise UserError(
                f"schedule.batch_size {self.batch_size} is larger than the {len(self.split)} training images: lower it"
            )
        check_shares(self.batch_size, self.accumulation, self.batch_statistics, self.group.size)
        for name, images in self.augmented.items():
            if isinstance(images, Photographs) != self.has_photographs:
                kinds = ("photographs", "an array") if self.has_photographs else ("an array", "photographs")
                raise UserError(
                    f"the dataset holds {kinds[0]} and its augmentation set {name} {kinds[1]}: run `nofrost augment` "
                    "on this dataset again"
                )
        self._check_views()
        if self.window is not None:
            self._check_window(self.window)

    def _check_window(self, window: int) -> None:
        if not isinstance(self.split.images, Photographs):
            raise UserError(
                "the training images are an array, which has no shards to be read in windows: leave out --window and "
                "--data stream"
            )
        check_room((self.split.images, *self.augmented.values()), window)

    def _check_views(self) -> None:
        drawn = [view for view, key in DRAWN_VIEWS.items() if getattr(self.views, key)]
        any_set = [*self.augmented, *(view for view in drawn if view == TEXTURE_DEBIASED)]
        known = (*self.augmented, *drawn, *([ANY_SET] if any_set else []))
        for view in self.augmented_views:
            if view not in known:
                raise self._unknown_view(view, known)
        used = {*self.augmented_views, *(any_set if ANY_SET in self.augmented_views else [])}
        unused = [name for name in self.augmented if name not in used]
        if unused:
            raise UserError(
                f"views.augmentation_sets has {', '.join(unused)}, which the objective does not train on: leave it "
                "out, or choose an objective that does"
            )
        for view, others in ((TEXTURE_DEBIASED, (ANY_SET,)), (AUGMIX, (AUGMIX_AGAIN,))):
            if view in drawn and not {view, *others} & used:
                raise UserError(
                    f"views.{DRAWN_VIEWS[view]} makes a view that the objective does not train on: leave it out, or "
                    f"name {' or '.join((view, *others))} in objective.views"
                )

    def _unknown_view(self, view: str, known: tuple[str, ...]) -> UserError:
        if view in DRAWN_VIEWS:
            return UserError(
                f"the objective trains on {view!r} images and views.{DRAWN_VIEWS[view]} is not set: set it to {{}}, "
                "or choose other views"
            )
        sets = ", ".join(self.augmented) or "none"
        hint = closest(view, ("clean", "adversarial", ANY_SET, *known)).rstrip()
        return UserError(
            f"the objective trains on {view!r} images and views.augmentation_sets has {sets}: name "
            f"{'a set' if view == ANY_SET else view} there, or choose another objective or other views"
            f"{f' ({hint})' if hint and view != ANY_SET else ''}"
        )

    @property
    def has_photographs(self) -> bool:
        """Whether the images are photographs in shards, which are decoded for each batch, and not an array."""
        return isinstance(self.split.images, Photographs)

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

    def order(self, seed: int, epoch: int) -> Rows:
        """Return the rows of the split in the order of an epoch: int64 [N]."""
        if self.window is not None and isinstance(self.split.images, Photographs):
            return block_order(self.split.images.index["shard"], seed, epoch, self.window)
        return epoch_order(len(self.split), seed, epoch)

    def epoch(self, seed: int, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield this process's rows of each step's batch, on the CPU; the next ones are read meanwhile.

        They are those of the first micro-batch, then of the second, and so on.
        """
        order = self.order(seed, epoch)
        shards = self._upcoming_shards(order, seed, epoch)
        ahead, batch_threads = (AHEAD, BATCH_THREADS) if self.has_photographs else (1, 1)
        steps = iter(range(first_step, self.steps))
        upcoming: deque[Future[Batch]] = deque()
        self.threads.begin()
        with ThreadPoolExecutor(batch_threads, "nofrost-batches") as pool:
            try:
                for current in range(first_step, self.steps):
                    shards.at(current * self.batch_size)
                    for step in islice(steps, ahead + 1 - len(upcoming)):
                        upcoming.append(pool.submit(self._batch, order, seed, epoch, step))
                    yield self.threads.awaited(upcoming.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _upcoming_shards(self, order: Rows, seed: int, epoch: int) -> Upcoming:
        images, following = self.split.images, order[:0]
        if self.window is not None and isinstance(images, Photographs):
            following = first_window(images.index["shard"], self.order(seed, epoch + 1), self.window)
        return Upcoming((images, *self.augmented.values()), order, following)

    def _batch(self, order: NDArray[np.int64], seed: int, epoch: int, step: int) -> Batch:
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        own = rows_of_process(self.batch_size, self.accumulation, self.group)
        generator = torch.Generator().manual_seed(derive_seed(seed, "views", epoch, step))
        views = BatchViews(self.views, self.image_size, rows, own, generator, self.threads)
        clean = views.view(self.split.images)
        drawn = {view: self._augmented(view, views, clean) for view in self.augmented_views}
        views.decode()
        augmented = {name: view.value for name, view in drawn.items()}
        labels, indices = (
            torch.from_numpy(np.array(each[rows[own]])) for each in (self.split.labels, self.split.indices)
        )
        return Batch(
            clean.value.images,
            labels,
            indices,
            {name: view.images for name, view in augmented.items()},
            distortions={name: view.distortion for name, view in augmented.items() if view.distortion},
        )

    def _augmented(self, name: str, views: BatchViews, clean: Later[View]) -> Later[View]:
        debiased, augmix = self.views.texture_debiased, self.views.augmix
        if name == ANY_SET:
            return views.any_set(list(self.augmented.values()), self.split.images, debiased)
        if name == TEXTURE_DEBIASED and debiased:
            return views.texture_debiased(self.split.images, debiased)
        if name in (AUGMIX, AUGMIX_AGAIN) and augmix:
            return views.augmix(clean, augmix)
        return views.view(self.augmented[name])
