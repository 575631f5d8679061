"""Probes of the model without an attack: do its gradients and outputs allow attacks to work?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nofrost.attacks.losses import Loss, margin
from nofrost.attacks.model import image_gradient
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.sample import Rows, batches, spaced_rows
from nofrost.models.contents import tensor_checksums

PROBED_IMAGES = 256
PROBED_AT_ONCE = 32  # needs no more memory than a batch under attack
FINE_STEP = 1e-4  # in pixels of [0, 1]: so short that a piecewise linear network is nearly linear along it
VISIBLE = 1e-4  # change of the margin, as a share of the largest logit, that float32 can resolve in a deep network


@dataclass(frozen=True)
class Gradients:
    """Counts, among `probed` images, of those whose gradients are of no use to an attack.

    Args:
        zero: images on which the gradient of the cross-entropy is zero or NaN in every pixel. In float32 it becomes
            exactly zero when the right class leads by 104 or more; rounding and other operations without a slope make
            it zero everywhere.
        saturated: images on which the cross-entropy itself is zero: the right class leads by 17 or more.
        disagree: images on which a step of 1e-4 along the gradient's sign raises the margin loss by less than half, or
            more than one and a half times, of what the gradient predicts.
        astray: images on which the longer step does not raise the margin loss at all.
    """

    probed: int
    zero: int
    saturated: int
    disagree: int
    astray: int


def probed(rows: Rows) -> Rows:
    """Return up to 256 of these rows, evenly spaced."""
    return rows[spaced_rows(len(rows), PROBED_IMAGES)]


def has_gradient(engine: Engine, model: EvaluatedModel) -> bool:
    """Return whether the outputs depend on the images by differentiable steps, tested on one image."""
    images, labels = next(_batches(engine, spaced_rows(len(engine.sample), 1)))
    return _gradient(model, images, labels, margin) is not None


def gradients(engine: Engine, model: EvaluatedModel, rows: Rows, step: float) -> Gradients:
    """Return how many of these images have gradients that are of no use to an attack.

    Args:
        rows: images that the model gets right. Where the gradient of the margin is zero, or predicts less than float32
            can resolve, an image counts neither as disagreeing nor as astray.
        step: the longer of the two steps, in pixels of [0, 1].
    """
    counts = torch.zeros(4, dtype=torch.int64)
    for images, labels in _batches(engine, rows):
        slope = _gradient(model, images, labels, _cross_entropy)
        zero = torch.ones_like(labels, dtype=torch.bool) if slope is None else _is_useless(slope)
        with torch.no_grad():
            saturated = _cross_entropy(model.logits(images), labels) == 0
        disagree, astray = _differences(model, images, labels, step)
        counts += torch.stack([each.sum() for each in (zero, saturated, disagree, astray)]).cpu()
    return Gradients(len(rows), *counts.tolist())


@torch.no_grad()
def looks_like_probabilities(engine: Engine, model: EvaluatedModel, rows: Rows) -> bool:
    """Return whether the outputs are non-negative and sum to 1 on every one of these images: a softmax is inside."""
    for images, _ in _batches(engine, rows):
        outputs = model.logits(images).double()
        if bool((outputs < 0).any()) or not torch.allclose(outputs.sum(1), outputs.new_ones(()), atol=1e-4):
            return False
    return True


@torch.no_grad()
def answers_at_random(engine: Engine, model: EvaluatedModel, rows: Rows) -> bool:
    """Return whether two passes over the same images differ by more than the rounding of float32."""
    for images, _ in _batches(engine, rows):
        first, second = model.logits(images), model.logits(images)
        if not torch.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True):
            return True
    return False


@torch.no_grad()
def effects_of_forward(engine: Engine, model: EvaluatedModel) -> tuple[bool, str | None]:
    """Return what a forward pass does besides answering: whether it switches gradients on where the caller has switched
    them off, and the name of a parameter or buffer that it changes."""
    images, _ = next(_batches(engine, spaced_rows(len(engine.sample), 1)))
    before, watch = tensor_checksums(model.network), _GradientWatch()
    with watch:
        model.logits(images)
    after = tensor_checksums(model.network)
    return watch.seen, next((name for name, checksum in after.items() if checksum != before.get(name)), None)


@torch.no_grad()
def classes(engine: Engine, model: EvaluatedModel) -> int:
    """Return the number of classes that the model knows."""
    images, _ = next(_batches(engine, spaced_rows(len(engine.sample), 1)))
    return model.classes(images)


class _GradientWatch(TorchFunctionMode):
    """Notes whether any torch function is called while gradients are on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= torch.is_grad_enabled()
        return function(*args, **(kwargs or {}))


def _batches(engine: Engine, rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    for part in batches(rows, engine.within_memory(min(PROBED_AT_ONCE, engine.batch_size))):
        images, labels, _ = engine.sample.batch(part, engine.device)
        yield images, labels


def _differences(model: EvaluatedModel, images: Tensor, labels: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return on which images [n] a tiny step disagrees with the gradient of the margin, and on which a longer step does
    not raise the margin."""
    slope = _gradient(model, images, labels, margin)
    if slope is None:
        no_image = torch.zeros_like(labels, dtype=torch.bool)
        return no_image, no_image
    expected, rise, visible = _change(model, images, labels, slope, FINE_STEP)
    disagree = visible & ((rise - expected).abs() > expected / 2)
    _, rise, visible = _change(model, images, labels, slope, step)
    return disagree, visible & (rise <= 0)


@torch.no_grad()
def _change(
    model: EvaluatedModel, images: Tensor, labels: Tensor, slope: Tensor, step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predicted and the actual rise of the margin between two points on either side of each image along the
    sign of `slope`, and whether float32 can resolve the prediction, [n] each. Both points are in [0, 1]."""
    uphill = step * slope.nan_to_num().sign()
    low, high = (images - uphill).clamp(0, 1), (images + uphill).clamp(0, 1)
    before, after = model.logits(low).double(), model.logits(high).double()
    expected = (slope.nan_to_num().double() * (high - low).double()).flatten(1).sum(1)
    visible = expected > VISIBLE * torch.maximum(before.abs().amax(1), after.abs().amax(1))
    return expected, margin(after, labels) - margin(before, labels), visible


def _gradient(model: EvaluatedModel, images: Tensor, labels: Tensor, loss: Loss) -> Tensor | None:
    """Return the gradient of the loss at each image, or None when the outputs do not depend on the images."""
    points = images.detach().requires_grad_()
    values = loss(model.logits(points), labels)
    return image_gradient(model.network, values, points) if values.requires_grad else None


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def _is_useless(slope: Tensor) -> Tensor:
    return ((slope == 0) | slope.isnan()).flatten(1).all(1)
