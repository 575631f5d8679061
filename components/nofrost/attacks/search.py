"""The best points of a search so far, image by image, over steps and restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def improve_rows(self, rows: Tensor, points: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Keep the better point of each of the images `rows`, which have these points."""
        best = self[rows]
        best.improve(points, loss, fooled)
        self[rows] = best

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
    """

    def __init__(self, start: Tensor, early_stop: bool) -> None:
        loss = start.new_full(start.shape[:1], -torch.inf)
        self._active = Best(start, loss, torch.zeros_like(loss, dtype=torch.bool))
        self._early_stop = early_stop
        self._all: Best | None = None
        self._rows = torch.arange(len(start), device=start.device)

    def record(self, points: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Record the current points of the active images."""
        self._active.improve(points, loss, fooled, only_unfooled=self._early_stop)

    def narrow(self) -> Tensor | None:
        """Drop finished images; return the positions of those to keep in the batch, None to keep all."""
        if not self._early_stop:
            return None
        done = int(self._active.fooled.sum())
        total = len(self._rows)
        if done < max(1, total * DONE_SHARE):
            return None
        active = (~self._active.fooled).nonzero().squeeze(1)
        self._store()
        self._rows, self._active = self._rows[active], self._active[active]
        return active

    def result(self) -> Best:
        """Return the best points of all images."""
        return self._store()

    def _store(self) -> Best:
        if self._all is None:
            self._all = self._active
        else:
            self._all[self._rows] = self._active
        return self._all


Attempt = Callable[[Tensor, Tensor, Noise], Best]
"""One run of an attack: from images [N, C, H, W], labels (int64, N rows) and noise to its best points."""


def in_turn(attempts: Sequence[Attempt], images: Tensor, labels: Tensor, noise: Noise, early_stop: bool) -> Tensor:
    """Return the best points [N, C, H, W] over several attempts, each with a noise stream of its own.

    Args:
        attempts: at least 1.
        images: [N, C, H, W].
        labels: int64, N rows.
        noise: of the N images.
        early_stop: run further attempts only on images without a misclassified point.
    """
    best = attempts[0](images, labels, noise.stream(0))
    for turn, attempt in enumerate(attempts[1:], start=1):
        rows = (~best.fooled | (not early_stop)).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        result = attempt(images[rows], labels[rows], noise[rows].stream(turn))
        best.improve_rows(rows, result.points, result.loss, result.fooled)
    return best.points
