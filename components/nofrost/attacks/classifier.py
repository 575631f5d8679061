"""The attacked model, with its output checked and its input cast."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks.guard import Model
from nofrost.attacks.losses import Loss
from nofrost.attacks.validation import FLOATS
from nofrost.errors import UserError


class Classifier:
    """Calls a model for an attack, in the dtype of its parameters, and refuses output that would make an attack lie.

    NaN is looked for in every output and gradient but reported by `check_finite`, so that a step on an accelerator need
    not wait.

    Args:
        model: maps images to logits.
        labels: [N] int64, the labels that are going to be used; checked against the number of classes.
    """

    def __init__(self, model: Model, labels: Tensor) -> None:
        self._model = model
        self._labels = labels
        self._dtype = _parameter_dtype(model)
        self._classes: int | None = None
        self._finite = torch.ones((), dtype=torch.bool, device=labels.device)
        self._finite_gradient = self._finite.clone()

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logits [N, C] of `points` [N, C, H, W], in the dtype of `points`.

        Raises:
            UserError: the output is not [N, C] with C at least 2, or a label is not in [0, C).
        """
        output = self._model(points.to(self._dtype or points.dtype))
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(points) or output.shape[1] < 2:
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"the model returned {found} for {len(points)} images: an attack needs logits [N, C] with C at least 2"
            )
        # -inf is a class that the model rules out; +inf makes a loss NaN
        self._finite &= (output.detach() < torch.inf).all()
        if self._classes is None:
            self._classes = output.shape[1]
            self._check_labels(self._classes)
            self.check_finite()
        return output.to(points.dtype)

    def classes(self, points: Tensor) -> int:
        """Return the number of classes, asking the model about one of `points` if it was not called yet."""
        if self._classes is None:
            with torch.no_grad():
                self(points[:1])
        assert self._classes is not None
        return self._classes

    @torch.no_grad()
    def judge(self, points: Tensor, labels: Tensor, loss: Loss, goals: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what `differentiate` does but for the gradient: the cheaper half of its work."""
        logits = self(points)
        return loss(logits, labels if goals is None else goals), logits.argmax(1) != labels

    def differentiate(
        self, points: Tensor, labels: Tensor, loss: Loss, goals: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return of each of `points` the loss [N], whether it is misclassified ([N] bool), and the loss' gradient.

        Args:
            points: [N, C, H, W].
            labels: [N] int64, the true classes.
            loss: what the attack maximises.
            goals: [N] int64, the classes that `loss` is about where those are not the true ones.

        Raises:
            UserError: the output does not depend on the images by differentiable steps.
        """
        points = points.detach().requires_grad_()
        logits = self(points)
        values = loss(logits, labels if goals is None else goals)
        # summed, not averaged: an image's gradient must not depend on how many others there are
        gradient = torch.autograd.grad(values.sum(), points, allow_unused=True)[0] if values.requires_grad else None
        if gradient is None:
            raise UserError(
                "the model's logits have no gradient with respect to the images: "
                "remove detach, no_grad or rounding from its forward, or use an attack without gradients"
            )
        # the sign of NaN is 0: it would pass for an image that no step makes worse
        self._finite_gradient &= gradient.sum().isfinite()
        return values.detach(), logits.detach().argmax(1) != labels, gradient

    def check_finite(self) -> None:
        """Raise UserError if any output so far was NaN or +inf, or any gradient not finite."""
        if not self._finite:
            raise UserError("the model returned NaN or infinite logits: check its weights and its normaliser")
        if not self._finite_gradient:
            raise UserError("the gradient of the model is NaN or infinite: check its layers for sqrt(0) or 0/0")

    def _check_labels(self, classes: int) -> None:
        low, high = int(self._labels.min()), int(self._labels.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"labels run from {low} to {high}, but the model has {classes} classes: they must be 0 to {classes - 1}"
            )


def without_wrapper(model: Model) -> Model:
    """Return the model inside DistributedDataParallel, whose forward would wait for the other processes.

    They may need fewer calls: an attack is done when every image is.
    """
    return model.module if isinstance(model, DistributedDataParallel) else model


def _parameter_dtype(model: Model) -> torch.dtype | None:
    if not isinstance(model, nn.Module):
        return None
    return next((each.dtype for each in model.parameters() if each.dtype in FLOATS), None)
