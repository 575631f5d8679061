"""How a property asks the model: in evaluation mode, without leaving a trace, with answers that are checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nofrost.attacks.classifier import Classifier, without_wrapper
from nofrost.attacks.guard import Model, attack_mode, plain_torch
from nofrost.attacks.validation import check_batch


@contextmanager
def asking(model: Model, images: Tensor, labels: Tensor | None = None) -> Iterator[Classifier]:
    """Yield the model, as attacks see it, for questions about images; model and torch are afterwards as before.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N], the true classes, where the question needs them.

    Raises:
        UserError: the batch has the wrong form or range, a label is no class of the model, or the model returns NaN,
            +infinity or no logits.
    """
    classes = torch.zeros(len(images), dtype=torch.int64, device=images.device) if labels is None else labels
    check_batch(images, classes, None)
    with plain_torch(images.device, 0), attack_mode(model):
        classifier = Classifier(without_wrapper(model), classes)
        yield classifier
        classifier.check_finite()


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the softmax of `logits` [N, C], in float64 where the device has it.

    A probability of float32 is exactly 1 from a margin of about 17 between logits, which would make its distance to 1,
    and a divergence, vanish.
    """
    return wide(logits).log_softmax(1)


def wide(values: Tensor) -> Tensor:
    """Return `values` in float64, or in float32 on Apple's devices, which have none."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)
