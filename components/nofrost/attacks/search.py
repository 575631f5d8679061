"""The best points of a search so far, image by image, over steps and restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nofrost.attacks.norms import per_image
from nofrost.attacks.random import Noise

# Finished images are dropped from the batch once they make up this share of it. That bounds the wasted work, keeps the
# copying of the others cheap beside a step, and gives an accelerator few different batch sizes
DONE_SHARE = 1 / 50


@dataclass
class Best:
    """The best point per image: a misclassified one before others, then the one with the highest loss.

    Args:
        points: [N, C, H, W].
        loss: [N].
        fooled: [N] bool, whether the point is misclassified.
    """

    points: Tensor
    loss: Tensor
    fooled: Tensor

    def improve(self, points: Tensor, loss: Tensor, fooled: Tensor, only_unfooled: bool = False) -> None:
        """Keep the better point of each image; with `only_unfooled` images with a misclassified point keep theirs."""
        better = (fooled & ~self.fooled) | ((fooled == self.fooled) & (loss > self.loss))
        if only_unfooled:
            better &= ~self.fooled
        self.points = torch.where(per_image(better), points, self.points)
        self.loss = torch.where(better, loss, self.loss)
        self.fooled = self.fooled | fooled

    def improve_rows(
        self, rows: Tensor, points: Tensor, loss: Tensor, fooled: Tensor, only_unfooled: bool = False
    ) -> None:
        """Keep the better point of each of the images `rows`, which have these points; otherwise as `improve`."""
        best = self[rows]
        best.improve(points, loss, fooled, only_unfooled)
        self[rows] = best

    def split(self, count: int) -> Iterator[Best]:
        """Yield `count` parts of equal length, in order."""
        return map(Best, self.points.chunk(count), self.loss.chunk(count), self.fooled.chunk(count))

    def __getitem__(self, rows: Tensor) -> Best:
        return Best(self.points[rows], self.loss[rows], self.fooled[rows])

    def __setitem__(self, rows: Tensor, best: Best) -> None:
        self.points[rows], self.loss[rows], self.fooled[rows] = best.points, best.loss, best.fooled


class Search:
    """The best points of one run of an iterative attack, and which images are still active.

    The best point of an image does not depend on when others leave the batch, so results do not either.

    Args:
        start: [N, C, H, W], where the run begins.
        early_stop: stop on an image as soon as it has a misclassified point.
        attempts: how many attempts on the same images are side by side, see `AttemptBatch`. With `early_stop` an
            attempt stops on an image also when one before it has a misclassified point, which is the one that counts.
    """

    def __init__(self, start: Tensor, early_stop: bool, attempts: int = 1) -> None:
        loss = start.new_full(start.shape[:1], -torch.inf)
        self._active = Best(start, loss, torch.zeros_like(loss, dtype=torch.bool))
        self._early_stop = early_stop
        self._attempts = attempts
        self._all: Best | None = None
        self._rows = torch.arange(len(start), device=start.device)

    def record(self, points: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Record the current points of the active images."""
        self._active.improve(points, loss, fooled, only_unfooled=self._early_stop)

    def narrow(self) -> Tensor | None:
        """Drop finished images; return the positions of those to keep in the batch, None to keep all."""
        if not self._early_stop:
            return None
        done = self._done()
        if int(done.sum()) < max(1, len(self._rows) * DONE_SHARE):
            return None
        active = (~done).nonzero().squeeze(1)
        self._store()
        self._rows, self._active = self._rows[active], self._active[active]
        return active

    def result(self) -> Best:
        """Return the best points of all images."""
        return self._store()

    def _done(self) -> Tensor:
        if self._attempts == 1:
            return self._active.fooled
        fooled = (self._active if self._all is None else self._all).fooled.clone()
        fooled[self._rows] = self._active.fooled
        first_ones = fooled.view(self._attempts, -1).cumsum(0) > 0
        return first_ones.flatten()[self._rows]

    def _store(self) -> Best:
        if self._all is None:
            self._all = self._active
        else:
            self._all[self._rows] = self._active
        return self._all


@dataclass(frozen=True)
class AttemptBatch:
    """Attempts `first`, `first` + 1, ... on some images, side by side in one batch: all images of one, then of another.

    Args:
        rows: [n] int64, the images, in order.
        first: the number of the first of these attempts.
        count: how many attempts these are.
    """

    rows: Tensor
    first: int
    count: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return the entries of a tensor [N, ...] that belong to these images, [count * n, ...]."""
        chosen = tensor if len(self.rows) == len(tensor) else tensor[self.rows]
        return chosen if self.count == 1 else chosen.repeat(self.count, *[1] * (tensor.ndim - 1))

    def column(self, table: Tensor) -> Tensor:
        """Return the entries of a table [N, attempts] that belong to these images and attempts, [count * n]."""
        return table[self.rows, self.first : self.first + self.count].T.flatten()

    def noise(self, noise: Noise, offset: int = 0) -> Noise:
        """Return the noise of these images, each attempt with the stream of its number plus `offset`."""
        streams = range(offset + self.first, offset + self.first + self.count)
        return Noise.joined([noise[self.rows].stream(number) for number in streams])


Attempt = Callable[[AttemptBatch], Best]
"""Runs an attack for a batch: [count * n] best points."""


def run_attempts(
    attempt: Attempt, count: int, images: Tensor, *, early_stop: bool, at_once: int = 1, best: Best | None = None
) -> Best:
    """Return the best points over several attempts, to which an image is the same whatever is beside it in the batch.

    Attempts on few images share a batch. The result is that of one after the other, as what an attempt finds on an
    image that one before it has fooled is dropped.

    Args:
        attempt: runs one attempt or more; each is to have random numbers of its own.
        count: of attempts, at least 1.
        images: [N, C, H, W].
        early_stop: run further attempts only on images without a misclassified point.
        at_once: how many images a batch may hold at most; one attempt at a time where that is fewer than 2 N.
        best: the best points [N] before, which are changed in place. Default: the first attempt gives the first ones.
    """
    number = 0
    while number < count:
        if best is None:
            rows = torch.arange(len(images), device=images.device)
        else:
            rows = (~best.fooled | (not early_stop)).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        batch = AttemptBatch(rows, number, min(count - number, max(1, at_once // len(rows))))
        for result in attempt(batch).split(batch.count):
            if best is None:
                best = result
            else:
                best.improve_rows(rows, result.points, result.loss, result.fooled, only_unfooled=early_stop)
        number += batch.count
    assert best is not None
    return best
