"""The attacked model, with its output checked and its input cast."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks.guard import Model
from nofrost.attacks.losses import Loss, targeted_margin
from nofrost.attacks.validation import FLOATS, form_of
from nofrost.errors import UserError
from nofrost.models.device import out_of_memory

# What modules raise for images of a shape or dtype that they do not take
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)

_NO_GRADIENT = (
    "the model's logits have no gradient with respect to the images: "
    "remove detach, no_grad or rounding from its forward, or use an attack without gradients"
)


class NoGradientError(UserError):
    """The model's output does not depend on the images by differentiable steps: no gradient can be followed."""


class NotFiniteError(UserError):
    """The model's logits or their gradient are NaN or infinite, as those of a model whose training diverged."""


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
            UserError: the model does not take such images, its output is not [N, C] with C at least 2, or a label is
                not in [0, C).
        """
        taken = points.to(self._dtype or points.dtype)
        before = None if taken.is_inference() else taken._version
        output = self._output(taken)
        if before is not None and taken._version != before:
            raise UserError(
                "the model changes the images that it is given: write its normalisation without in-place operations "
                "such as sub_ and div_"
            )
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
    def judge(
        self, points: Tensor, labels: Tensor, loss: Loss, goals: Tensor | None = None, passes: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return what `differentiate` does but for the gradient: the cheaper half of its work."""

        def one_pass() -> tuple[Tensor, ...]:
            logits = self(points)
            return loss(logits, labels if goals is None else goals), logits

        values, logits = _mean(one_pass, passes)
        return values, logits.argmax(1) != labels

    def differentiate(
        self, points: Tensor, labels: Tensor, loss: Loss, goals: Tensor | None = None, passes: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return of each of `points` the loss [N], whether it is misclassified ([N] bool), and the loss' gradient.

        Args:
            points: [N, C, H, W].
            labels: [N] int64, the true classes.
            loss: what the attack maximises.
            goals: int64, N rows, the classes that `loss` is about where those are not the true ones.
            passes: how many passes to take the mean of, for a model that answers at random: of the loss, of its
                gradient, and of the logits that decide whether a point is misclassified.

        Raises:
            NoGradientError: the output does not depend on the images by differentiable steps.
        """
        points = points.detach().requires_grad_()
        values, logits, gradient = _mean(
            lambda: self._differentiate_once(points, loss, labels if goals is None else goals), passes
        )
        return values, logits.argmax(1) != labels, gradient

    def _differentiate_once(self, points: Tensor, loss: Loss, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self(points)
        values = loss(logits, goals)
        return values.detach(), logits.detach(), self._gradient(values, points)

    def margins(self, points: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for each wrong class in turn, by how much its logit exceeds the label's, [N], and that's gradient.

        One forward and C - 1 backwards; an image meets its wrong classes in the order label + 1, label + 2, ... mod C.

        Raises:
            NoGradientError: as `differentiate`.
        """
        points = points.detach().requires_grad_()
        logits = self(points)
        classes = logits.shape[1]
        for further in range(1, classes):
            values = targeted_margin(logits, torch.stack([labels, (labels + further) % classes], 1))
            yield values.detach(), self._gradient(values, points, again=further < classes - 1)

    def _gradient(self, values: Tensor, points: Tensor, again: bool = False) -> Tensor:
        """Return the gradient of `values` [N] for `points`; with `again` more gradients of the same pass can follow."""
        if not values.requires_grad:
            raise NoGradientError(_NO_GRADIENT)
        # summed, not averaged: an image's gradient must not depend on how many others there are
        (gradient,) = torch.autograd.grad(values.sum(), points, retain_graph=again, allow_unused=True)
        if gradient is None:
            raise NoGradientError(_NO_GRADIENT)
        # the sign of NaN is 0: it would pass for an image that no step makes worse
        self._finite_gradient &= gradient.sum().isfinite()
        return gradient

    def check_finite(self) -> None:
        """Raise NotFiniteError if any output so far was NaN or +inf, or any gradient not finite."""
        if not self._finite:
            raise NotFiniteError("the model returned NaN or infinite logits: check its weights and its normaliser")
        if not self._finite_gradient:
            raise NotFiniteError("the gradient of the model is NaN or infinite: check its layers for sqrt(0) or 0/0")

    def _output(self, points: Tensor) -> object:
        if self._classes is not None:
            return self._model(points)
        try:
            return self._model(points)
        except _REFUSALS as error:
            if isinstance(error, UserError) or out_of_memory(error):
                raise
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            raise UserError(
                f"the model failed on {form_of(points)} ({reason}): "
                "give it images of the size, channels and dtype that it takes"
            ) from error

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


def _mean(draw: Callable[[], tuple[Tensor, ...]], passes: int) -> tuple[Tensor, ...]:
    """Return the mean of several draws of some tensors."""
    total = draw()
    for _ in range(passes - 1):
        total = tuple(before + more for before, more in zip(total, draw(), strict=True))
    return total if passes == 1 else tuple(each / passes for each in total)
