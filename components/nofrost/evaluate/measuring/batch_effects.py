"""Does a model's answer for an image depend on anything but the image: on the rest of its batch, or on earlier calls?

Batch norms without running statistics, adaptation at test time, preprocessing by the statistics of a batch and dynamic
quantisation do that. Then a number belongs to one batch size and one order of the images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.sample import spaced_rows
from nofrost.models.device import out_of_memory

PROBED_IMAGES = 32
PROBED_ALONE = 8
# Changes of logits that are put down to rounding: as a share of their spread over the classes, and of the largest. The
# kernels that libraries choose by batch size move the logits of deep networks by up to about 1e-5 of their spread
SPREAD, LARGEST = 2e-4, 5e-6
# A model that draws random numbers changes its answers anyway: by so many times what two passes over one batch do
BY_CHANCE = 4.0


@dataclass(frozen=True)
class BatchEffect:
    """`changed` of `compared` images got another answer than in a batch of probed images; `where`, in words."""

    where: str
    changed: int
    compared: int


@torch.no_grad()
def batch_effects(engine: Engine, model: EvaluatedModel, predicted: NDArray[np.int64]) -> list[BatchEffect]:
    """Compare the answers for up to 32 images in one batch with those alone, in another order and beside other images.

    A comparison that the model refuses, as one does that takes batches of one size only, is left out. Call inside
    ``engine.ready``.

    Args:
        predicted: [N], the classes that the model predicted at first, in the batches of the evaluation.
    """
    # A model of its own, as answers that are NaN here, such as for an image alone, must not end the evaluation.
    probed = EvaluatedModel(model.network, engine.sample.labels, engine.device)
    count = engine.within_memory(PROBED_IMAGES)
    while True:
        rows = spaced_rows(len(engine.sample), count)
        images, _, _ = engine.sample.batch(rows, engine.device)
        try:
            return list(_effects(probed.logits, images, torch.from_numpy(predicted[rows]).to(engine.device)))
        except Exception as error:
            if not out_of_memory(error):
                raise
        if len(rows) == 1:
            return []
        count = len(rows) // 2


def _effects(model: Callable[[Tensor], Tensor], images: Tensor, predicted: Tensor) -> Iterator[BatchEffect]:
    together = _answers(model, images)
    if together is None:
        return
    forms: dict[str, tuple[Tensor, Tensor]] = {}
    for where, parts, batches in _circumstances(images):
        answers = [each for each in (_answers(model, batch) for batch in batches) if each is not None]
        if len(answers) == len(parts):
            firsts = [each[: len(part)] for part, each in zip(parts, answers, strict=True)]
            forms[where] = torch.cat(parts), torch.cat(firsts)
    rounding = _rounding(model, images, together)
    for where, (rows, others) in forms.items():
        changed = _distance(together[rows], others) > rounding[rows]
        yield BatchEffect(where, int(changed.sum()), len(rows))
    yield from _effects_on_dimmed(model, images)
    lead = together.amax(1) - together.gather(1, predicted[:, None]).squeeze(1)
    yield BatchEffect("at first, in the batches of the evaluation", int((lead > rounding).sum()), len(images))


def _effects_on_dimmed(model: Callable[[Tensor], Tensor], images: Tensor) -> Iterator[BatchEffect]:
    """Compare darker images among themselves with the same beside images of full range.

    Images as they are may all have the same darkest and brightest pixel, and attacked ones not.
    """
    factors = torch.linspace(0.5, 0.9, len(images), device=images.device)
    dimmed = images * factors.view(-1, 1, 1, 1)
    together, beside = _answers(model, dimmed), _answers(model, torch.cat([dimmed, images]))
    if together is None or beside is None:
        return
    rounding = _rounding(model, dimmed, together)
    changed = _distance(together, beside[: len(images)]) > rounding
    yield BatchEffect("beside brighter images", int(changed.sum()), len(images))


def _circumstances(images: Tensor) -> Iterator[tuple[str, list[Tensor], list[Tensor]]]:
    """Yield where the images are seen, in words; batches; and which images are the first of each batch."""
    rows = torch.arange(len(images), device=images.device)
    strangers = 1 - images
    alone = torch.split(torch.from_numpy(spaced_rows(len(images), PROBED_ALONE)).to(rows), 1)
    yield "alone", list(alone), [images[row] for row in alone]
    if len(images) > 1:
        yield "in another order", [rows.flip(0)], [images.flip(0)]
        halves = torch.tensor_split(rows, 2)
        others = [strangers[half] for half in halves[::-1]]
        batches = [torch.cat([images[half], other]) for half, other in zip(halves, others, strict=True)]
        yield "beside other images", list(halves), batches
    yield "in a larger batch", [rows], [torch.cat([images, strangers])]


def _answers(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor | None:
    """Return the logits, in double precision where there is one, or None if the model refuses such a batch."""
    try:
        answers = model(images)
    except Exception as error:
        # The code of a model may refuse a batch by any exception.
        if out_of_memory(error):
            raise
        return None
    return answers.double() if answers.device.type != "mps" else answers.float()


def _rounding(model: Callable[[Tensor], Tensor], images: Tensor, answers: Tensor) -> Tensor:
    """Return by how much the `answers` for each image, [n], may change by rounding, and by chance."""
    again = _answers(model, images)
    chance = 0.0 if again is None else BY_CHANCE * _distance(answers, again).max()
    return _tolerance(answers) + chance


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
