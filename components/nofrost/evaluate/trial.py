"""What is tried before anything is measured: does the model take the images, know the labels, and how many at once?"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.memory import fitting_batch_size
from nofrost.evaluate.sample import Sample
from nofrost.evaluate.store import ConditionStore
from nofrost.models.device import out_of_memory


def tried_batch_size(model: nn.Module, sample: Sample, device: torch.device, wanted: int | None) -> int:
    """Return how many images are measured at once, after checking the model on one of them.

    Args:
        wanted: what the suite says; None finds a size by memory, the same on all devices of one kind.

    Raises:
        UserError: the model does not take such images, does not return logits, or does not know all labels.
    """
    trial = Measurement(model, sample, 1, device, ConditionStore(None))
    with trial.ready():
        check_model(trial)
        images, _, _ = sample.batch(np.zeros(1, dtype=np.int64), device)
        return wanted or fitting_batch_size(model, images)


def check_model(measurement: Measurement) -> None:
    """Check on one image that the model takes such images and knows all labels.

    Raises:
        UserError: it does not.
    """
    sample = measurement.sample
    images, _, _ = sample.batch(np.zeros(1, dtype=np.int64), measurement.device)
    with torch.no_grad():
        try:
            logits = measurement.model(images)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as error:
            if out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            shape = " x ".join(map(str, images.shape[1:]))
            raise UserError(f"the model does not take float32 images of {shape} (C x H x W): {reason}") from error
    measurement.classify(images, "clean images")
    low, high = int(sample.labels.min()), int(sample.labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise UserError(f"labels run from {low} to {high}, but the model has {logits.shape[1]} classes (from 0)")
