"""Does a model's answer for an image depend on anything but the image: on the rest of its batch, or on earlier calls?

Batch norms without running statistics, adaptation at test time, preprocessing by the statistics of a batch and dynamic
quantisation do that. Then a number belongs to one batch size and one order of the images.

Small batches of one size are compared, whatever the batch size of the evaluation, so that the verdict does not depend
on that and a device that holds few images holds them. One comparison is as large as a batch of the evaluation: what
only large batches show matters where there are such. Random numbers are fixed, so that a model that draws them from
torch's generators gets the same ones in every evaluation.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.attacks.session import isolated_torch
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.sample import Rows, spaced_rows
from nofrost.models.device import out_of_memory

PROBED_IMAGES = 32
PROBED_ALONE = 8
PROBED_AT_ONCE = 8  # and twice as many in a larger batch
REPEATS = 6  # a model that answers by turns shows up to so many different answers; one that adapts has time to do so
# Changes of logits that are put down to rounding: as a share of their spread over the classes, and of the largest. The
# kernels that libraries choose by batch size move the logits of deep networks by up to about 1e-5 of their spread
SPREAD, LARGEST = 2e-4, 5e-6
# A model that draws random numbers changes its answers anyway: by so many times what other draws do
BY_CHANCE = 4.0


@dataclass(frozen=True)
class BatchEffect:
    """`changed` of `compared` images got another answer than in a small batch of probed images; `where`, in words."""

    where: str
    changed: int
    compared: int


@torch.no_grad()
def batch_effects(engine: Engine, model: EvaluatedModel, predicted: NDArray[np.int64]) -> list[BatchEffect]:
    """Compare the answers for up to 32 images in small batches with those alone, in another order, beside other images,
    when asked again, and in the batches of the evaluation.

    No batch is larger than 16 images or, where that is more, a batch of the evaluation. A comparison that the model
    refuses, as one does that takes batches of one size only, is left out. Call inside ``engine.ready``.

    Args:
        predicted: [N], the classes that the model predicted at first, in the batches of the evaluation.
    """
    # A model of its own, as answers that are NaN here, such as for an image alone, must not end the evaluation.
    probe = _Probe(EvaluatedModel(model.network, engine.sample.labels, engine.device).logits)
    rows = spaced_rows(len(engine.sample), PROBED_IMAGES)
    first_classes = torch.from_numpy(predicted[rows]).to(engine.device)
    images, _, _ = engine.sample.batch(rows, engine.device)
    crowd = _crowd(engine, rows)
    size = engine.within_memory(PROBED_AT_ONCE)
    while True:
        try:
            return list(_effects(probe, images, first_classes, crowd, size))
        except Exception as error:
            if not out_of_memory(error):
                raise
        if crowd is None and size == 1:
            return []
        crowd, size = None, size if crowd is not None else size // 2


def _crowd(engine: Engine, rows: Rows) -> Tensor | None:
    """Return a batch as large as those of the evaluation that begins with the probed `rows`; None if it is no larger
    than those that are compared anyway."""
    others = np.setdiff1d(np.arange(len(engine.sample)), rows)
    crowd = np.concatenate([rows, others])[: engine.within_memory(engine.batch_size)]
    return engine.sample.batch(crowd, engine.device)[0] if len(crowd) > 2 * PROBED_AT_ONCE else None


@dataclass(frozen=True)
class _Probe:
    """A model that is asked for logits; whatever it draws from torch's generators is fixed by a seed."""

    model: Callable[[Tensor], Tensor]

    def answers(self, images: Tensor, seed: int = 0) -> Tensor | None:
        """Return the logits, in double precision where there is one, or None if the model refuses such a batch."""
        try:
            with isolated_torch(images.device, seed), torch.no_grad():
                answers = self.model(images)
        except Exception as error:
            # The code of a model may refuse a batch by any exception.
            if out_of_memory(error):
                raise
            return None
        return answers.double() if answers.device.type != "mps" else answers.float()

    def joined(self, batches: Iterable[Tensor], firsts: Iterable[Tensor]) -> Tensor | None:
        """Return the answers for all batches, of each for as many of its first images as `firsts` has; None if the
        model refuses one."""
        answers = [(self.answers(batch), len(first)) for batch, first in zip(batches, firsts, strict=True)]
        kept = [each[:count] for each, count in answers if each is not None]
        return torch.cat(kept) if len(kept) == len(answers) else None


def _effects(
    probe: _Probe, images: Tensor, predicted: Tensor, crowd: Tensor | None, size: int
) -> Iterator[BatchEffect]:
    parts = torch.split(images, size)
    together = probe.joined(parts, parts)
    if together is None:
        return
    history = _History.of(probe, images[: 2 * size])
    rounding = _tolerance(together) + history.chance
    for where, firsts, batches in _circumstances(images, size):
        others = probe.joined(batches, firsts)
        if others is not None:
            compared = torch.cat(firsts)
            yield _effect(where, together[compared], others, rounding[compared])
    if (dimmed := _effect_on_dimmed(probe, images, size, history.chance)) is not None:
        yield dimmed
    if crowd is not None and (beside := probe.answers(crowd)) is not None:
        count = min(len(crowd), len(images))
        where = f"in a batch of {len(crowd)}, as in the evaluation"
        yield _effect(where, together[:count], beside[:count], rounding[:count])
    if history.changed is not None:
        yield BatchEffect("when asked again", int(history.changed.sum()), len(history.changed))
    lead = together.amax(1) - together.gather(1, predicted[:, None]).squeeze(1)
    yield BatchEffect("at first, in the batches of the evaluation", int((lead > rounding).sum()), len(images))


@dataclass(frozen=True)
class _History:
    """What happens to the answers for one batch when it is asked for again.

    Args:
        changed: [n], whether the answer for an image changes though all random numbers are the same, by turns or after
            other images; None if the model refuses the batch.
        chance: by how much other random numbers may change a logit.
    """

    changed: Tensor | None
    chance: float

    @classmethod
    def of(cls, probe: _Probe, images: Tensor) -> "_History":
        again = [probe.answers(images) for _ in range(REPEATS)]
        drawn = [probe.answers(images, seed) for seed in range(1, 1 + REPEATS)]
        # Much brighter or darker ones, for a model that remembers the mean of what it has seen
        strangers = images / 4 + (0.75 if images.mean() < 0.5 else 0.0)
        for _ in range(REPEATS):
            probe.answers(strangers)
        again.append(probe.answers(images))
        answers, drawn_answers = ([each for each in some if each is not None] for some in (again, drawn))
        if len(answers) < len(again) or len(drawn_answers) < len(drawn):
            return cls(None, 0.0)
        # Random numbers that are the model's own cannot be fixed: they change every answer by about as much, where a
        # model with a memory gives one twice, or moves towards one
        own = min(float(_distance(one, other).max()) for one, other in combinations(answers[:REPEATS], 2))
        moved = torch.stack([_distance(answers[0], each) for each in answers]).amax(0)
        chance = max(float(_distance(answers[0], each).max()) for each in drawn_answers)
        return cls(moved > _tolerance(answers[0]) + BY_CHANCE * own, BY_CHANCE * chance)


def _effect(where: str, answers: Tensor, others: Tensor, rounding: Tensor) -> BatchEffect:
    return BatchEffect(where, int((_distance(answers, others) > rounding).sum()), len(answers))


def _effect_on_dimmed(probe: _Probe, images: Tensor, size: int, chance: float) -> BatchEffect | None:
    """Compare darker images among themselves with the same beside images of full range.

    Images as they are may all have the same darkest and brightest pixel, and attacked ones not.
    """
    factors = torch.linspace(0.5, 0.9, len(images), device=images.device)
    dimmed, bright = torch.split(images * factors.view(-1, 1, 1, 1), size), torch.split(images, size)
    together = probe.joined(dimmed, dimmed)
    beside = probe.joined(map(torch.cat, zip(dimmed, bright, strict=True)), dimmed)
    if together is None or beside is None:
        return None
    return _effect("beside brighter images", together, beside, _tolerance(together) + chance)


def _circumstances(images: Tensor, size: int) -> Iterator[tuple[str, tuple[Tensor, ...], list[Tensor]]]:
    """Yield where the images are seen, in words; which images are the first of each batch; and the batches."""
    rows = torch.arange(len(images), device=images.device)
    strangers = 1 - images
    alone = torch.split(torch.from_numpy(spaced_rows(len(images), PROBED_ALONE)).to(rows), 1)
    yield "alone", alone, [images[row] for row in alone]
    if len(images) > 1 and size > 1:
        order = torch.split(rows.flip(0), size)
        yield "in another order", order, [images[part] for part in order]
        halves = torch.split(rows, size // 2)
        others = [strangers[half] for half in (*halves[1:], halves[0])]
        yield (
            "beside other images",
            halves,
            [torch.cat([images[half], other]) for half, other in zip(halves, others, strict=True)],
        )
    parts = torch.split(rows, size)
    yield "in a larger batch", parts, [torch.cat([images[part], strangers[part]]) for part in parts]


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the largest change of a logit, [n]: infinite where only one of the two rules a class out."""
    return torch.where(first == second, 0.0, (first - second).abs()).nan_to_num(torch.inf).amax(1)


def _tolerance(logits: Tensor) -> Tensor:
    """Return by how much rounding may change each image's logits, [n]."""
    known = torch.where(logits.isfinite(), logits, torch.nan)
    largest = known.abs().nan_to_num().amax(1)
    spread = known.nan_to_num(-torch.inf).amax(1) - known.nan_to_num(torch.inf).amin(1)
    # Where all classes are about equal, the rounding is that of the activations before them, as in other images.
    return SPREAD * spread.clamp(min=spread.mean()) + LARGEST * largest.clamp(min=largest.mean())
