"""Asking a model about images: a checked batch, a model in evaluation mode, and no trace of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nofrost.attacks.classifier import Classifier, without_wrapper
from nofrost.attacks.guard import Model, attack_mode, plain_torch
from nofrost.attacks.validation import check_batch


@contextmanager
def asking(
    model: Model, images: Tensor, labels: Tensor | None = None, indices: Tensor | None = None, *, seed: int = 0
) -> Iterator[Classifier]:
    """Yield the model, as attacks see it, for questions about images; model and torch are afterwards as before.

    Args:
        model: maps images to logits [N, C], its input normaliser inside. One in DistributedDataParallel is asked
            without that wrapper.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N], the true classes, where the question needs them.
        indices: int64 [N], the images' places in their dataset; only checked.
        seed: of torch's own random numbers inside, for models that draw some.

    Raises:
        UserError: the batch has the wrong form or range, a label is no class of the model, or, at the end, the model
            returned NaN or +infinity.
    """
    classes = torch.zeros(len(images), dtype=torch.int64, device=images.device) if labels is None else labels
    check_batch(images, classes, indices)
    with plain_torch(images.device, seed), attack_mode(model):
        classifier = Classifier(without_wrapper(model), classes)
        yield classifier
        classifier.check_finite()


def searched(images: Tensor) -> Tensor:
    """Return clean `images` as a search begins with them: in float32, or float64 if they are, and exactly in [0, 1]."""
    return images.detach().to(torch.promote_types(images.dtype, torch.float32)).clamp(0, 1)
