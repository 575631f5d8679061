"""Square: a random search that sees only the model's outputs (Andriushchenko et al. 2020)."""

from bisect import bisect_left
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, register
from nofrost.attacks.losses import margin
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.random import Noise
from nofrost.attacks.search import DONE_SHARE, AttemptBatch, Best, run_attempts
from nofrost.attacks.square_walks import DRAW_BITS, WALKS
from nofrost.config.base import Share
from nofrost.registry import configurable

# The windows' share of the pixels is halved after each of these queries; they are meant for 10,000
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SCHEDULED = 10_000
# Number of queries for which random numbers are drawn at once
_BLOCK = 32


def window_share(query: int, queries: int, initial_share: float, rescale: bool) -> float:
    """Return the share of the pixels that a window covers at a `query`; query 0 is the start.

    Args:
        query: from 1 to `queries` - 1.
        queries: their number.
        initial_share: the share of the first windows.
        rescale: whether the schedule, made for 10,000 queries, is scaled to `queries`.
    """
    scheduled = query * _SCHEDULED // queries if rescale else query
    return float(initial_share / 2 ** bisect_left(_HALVINGS, scheduled))


@register("square")
@configurable
class Square(Attack):
    """Random search with square windows on the margin between logits (Andriushchenko et al. 2020).

    For ``linf`` it starts from vertical stripes and gives a window one sign per channel; for ``l2`` it starts from a
    grid of bumps and moves what two windows have spent into one. A step that does not raise the margin is taken back.
    An image is done once it is misclassified. Windows are drawn per image and may touch every border; in AutoAttack's
    code all images share them and the last row and column are out of reach.

    Args:
        queries: how many versions of an image the model sees in a restart, at least 1, the start included. AutoAttack
            takes 5,000, wang2022 took 400.
        restarts: how many random starts, at least 1; later ones only for images without a misclassified point.
        initial_share: the share of the pixels in the first windows, in [0, 1]; the paper's p.
        rescale_schedule: shrink windows over `queries` as the paper does over 10,000, as its authors' own code does.
            Without it they shrink after the same number of queries always, as in AutoAttack.
    """

    access: ClassVar[Access] = "outputs"

    queries: PositiveInt = 5000
    restarts: PositiveInt = 1
    initial_share: Share = 0.8
    rescale_schedule: bool = False

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        def attempt(batch: AttemptBatch) -> Best:
            return self._attempt(model, batch.of(images), batch.of(labels), batch.noise(noise))

        return run_attempts(attempt, self.restarts, images, early_stop=True).points

    def _attempt(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Best:
        walk = WALKS[self.norm].begin(images, self.eps, noise.stream(0))
        # not a copy: the walk updates its points in place and reverts rejected steps
        best = Best(walk.points, *model.loss(walk.points, labels, margin))
        batch_best = _BatchBest(best)
        for query in range(1, self.queries):
            block, position = divmod(query - 1, _BLOCK)
            if position == 0:
                draws = noise.stream(block + 1).integers((_BLOCK, walk.draws(images.shape[1])), 1 << DRAW_BITS)
            if (active := batch_best.narrow(best)) is not None:
                if len(active) == 0:
                    return batch_best.all_best
                labels, noise, draws, walk = labels[active], noise[active], draws[active], walk[active]
                best = Best(walk.points, best.loss[active], best.fooled[active])
            share = window_share(query, self.queries, self.initial_share, self.rescale_schedule)
            walk.step(walk.side(share), draws[:, position])
            loss, fooled = model.loss(walk.points, labels, margin)
            accepted = ~best.fooled & (fooled | (loss > best.loss))
            walk.settle(accepted)
            best.loss, best.fooled = torch.where(accepted, loss, best.loss), best.fooled | fooled
        return batch_best.result(best)


class _BatchBest:
    """The best points of all images, while the search continues on those that are not finished.

    Args:
        best: of all images; shared with the caller until the first images are dropped.
    """

    def __init__(self, best: Best) -> None:
        self.all_best = best
        self._rows = torch.arange(len(best.loss), device=best.loss.device)

    def narrow(self, best: Best) -> Tensor | None:
        """Drop finished images; return the positions of those to keep in the batch, None to keep all."""
        done = int(best.fooled.sum())
        if done < max(1, DONE_SHARE * len(best.fooled)):
            return None
        active = (~best.fooled).nonzero().squeeze(1)
        self.result(best)
        self._rows = self._rows[active]
        return active

    def result(self, best: Best) -> Best:
        """Return the best points of all images; `best` holds those of the active ones."""
        if best is not self.all_best:
            self.all_best[self._rows] = best
        return self.all_best
