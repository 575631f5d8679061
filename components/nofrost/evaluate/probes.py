"""Questions put to the model itself, apart from any attack: are its gradients and outputs fit for attacking?"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.sample import Rows, batches, spaced_rows

PROBED_IMAGES = 256


def probed(rows: Rows) -> Rows:
    """Return up to 256 of these rows, evenly spaced."""
    return rows[spaced_rows(len(rows), PROBED_IMAGES)]


def zero_gradients(measurement: Measurement, rows: Rows) -> int:
    """Return for how many of these images the gradient of the cross-entropy is zero in every pixel, or NaN.

    In float32 it vanishes exactly when the right class leads by 104 or more; rounding and other steps without a slope
    make it vanish everywhere.
    """
    count = 0
    for part in batches(rows, measurement.batch_size):
        images, labels, _ = measurement.sample.batch(part, measurement.device)
        images.requires_grad_()
        loss = F.cross_entropy(measurement.model(images), labels, reduction="sum")
        gradient = torch.autograd.grad(loss, images, allow_unused=True)[0] if loss.requires_grad else None
        if gradient is None:
            count += len(part)
        else:
            useless = (gradient == 0) | gradient.isnan()
            count += int(useless.flatten(1).all(1).sum())
    return count


@torch.no_grad()
def looks_like_probabilities(measurement: Measurement, rows: Rows) -> bool:
    """Return whether the outputs are non-negative and sum to 1 on every one of these images: a softmax is inside."""
    for part in batches(rows, measurement.batch_size):
        images, _, _ = measurement.sample.batch(part, measurement.device)
        outputs = measurement.model(images).double()
        if bool((outputs < 0).any()) or not torch.allclose(outputs.sum(1), outputs.new_ones(()), atol=1e-4):
            return False
    return True


@torch.no_grad()
def answers_at_random(measurement: Measurement, rows: Rows) -> bool:
    """Return whether two passes over the same images differ by more than the rounding of float32."""
    for part in batches(rows, measurement.batch_size):
        images, _, _ = measurement.sample.batch(part, measurement.device)
        first, second = measurement.model(images), measurement.model(images)
        if not torch.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True):
            return True
    return False
