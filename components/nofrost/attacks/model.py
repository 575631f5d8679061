"""The model as attacks see it: its logits, losses and gradients, with checks of whatever it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks.batch import FLOATS, form_of
from nofrost.attacks.losses import Loss, targeted_margin
from nofrost.errors import ReportedError, UserError, reason
from nofrost.models.classifier import Classifier
from nofrost.models.contents import is_readable
from nofrost.models.device import device_failed, out_of_memory

Model = nn.Module | Callable[[Tensor], Tensor]
"""What can be attacked: maps images [N, C, H, W] in [0, 1] to logits [N, classes], with its input normaliser inside."""

_NO_GRADIENT = (
    "the model's logits have no gradient with respect to the images: "
    "remove detach, no_grad or rounding from its forward, or use an attack without gradients"
)


class NoGradientError(UserError):
    """The model's output has no gradient with respect to the images."""


class NotFiniteError(UserError):
    """The model's logits or their gradient are NaN or infinite, as those of a model whose training diverged."""


def without_wrapper(model: Model) -> Model:
    """Return the model inside DistributedDataParallel, whose forward would wait for the other processes.

    They may need fewer calls: an attack is done when every image is.
    """
    return model.module if isinstance(model, DistributedDataParallel) else model


def model_std(model: Model) -> Tensor:
    """Return what the normaliser inside a model of this package divides pixels by, [C].

    Raises:
        UserError: the model is not of this package.
    """
    network = without_wrapper(model)
    if not isinstance(network, Classifier):
        raise UserError(
            "the normalised space needs the standard deviation that the model divides pixels by, which only models of "
            "this package have: write space: pixel"
        )
    return network.std.flatten()


class CheckedModel:
    """A model called in the dtype of its parameters, with errors for output that would invalidate an attack.

    Every output and gradient is tested for NaN, but only `check_finite` waits for the result, so that a step on an
    accelerator need not.

    Args:
        model: maps images to logits.
        labels: [N] int64, all labels that will be used; checked against the number of classes.
        fits: is called with the number of classes, once it is known; raises where they are too few.
        batch_size: how many images attempts at several classes may fill a batch with; 1: run them one after the other.
    """

    def __init__(
        self, model: Model, labels: Tensor, fits: Callable[[int], None] | None = None, batch_size: int = 1
    ) -> None:
        self.batch_size = batch_size
        self._model = model
        self._labels = labels
        self._fits = fits
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
        inputs = points.to(self._dtype or points.dtype)
        before = None if inputs.is_inference() else inputs._version
        output: Any = self._output(inputs)
        if before is not None and inputs._version != before:
            raise UserError(
                "the model changes its input images in place: write its normalisation without in-place operations "
                "such as sub_ and div_"
            )
        self._check_form(output, points)
        logits: Tensor = output if output.is_floating_point() else output.to(points.dtype)
        # -inf is a class that the model rules out; +inf makes a loss NaN
        self._finite &= (logits.detach() < torch.inf).all()
        if self._classes is None:
            self._classes = logits.shape[1]
            self._check_labels(self._classes)
            if self._fits is not None:
                self._fits(self._classes)
            self.check_finite()
        return logits.to(points.dtype)

    @property
    def std(self) -> Tensor:
        """What the model divides pixels by, [C]; raises as :func:`model_std`."""
        return model_std(self._model)

    def classes(self, points: Tensor) -> int:
        """Return the number of classes; on first use the model is called with one of `points`."""
        if self._classes is None:
            with torch.no_grad():
                self(points[:1])
        assert self._classes is not None
        return self._classes

    @torch.no_grad()
    def loss(
        self, points: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None = None, passes: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return the loss [N] and the misclassified flags [N] of `loss_and_grad`, without the cost of the gradient."""

        def one_pass() -> tuple[Tensor, ...]:
            logits = self(points)
            return loss(logits, labels if targets is None else targets), logits

        values, logits = _mean(one_pass, passes)
        return values, logits.argmax(1) != labels

    def loss_and_grad(
        self, points: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None = None, passes: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of each point [N], whether it is misclassified ([N] bool), and the gradient of the loss.

        Args:
            points: [N, C, H, W].
            labels: [N] int64, the true classes.
            loss: what the attack maximises.
            targets: N rows, what `loss` compares the logits with; the true classes by default.
            passes: number of passes over which loss, gradient, and the logits that decide whether a point is
                misclassified are averaged, for a model with random outputs.

        Raises:
            NoGradientError: the output has no gradient with respect to the images.
        """
        points = points.detach().requires_grad_()

        def one_pass() -> tuple[Tensor, ...]:
            logits = self(points)
            values = loss(logits, labels if targets is None else targets)
            return values.detach(), logits.detach(), self._gradient(values, points)

        values, logits, gradient = _mean(one_pass, passes)
        return values, logits.argmax(1) != labels, gradient

    def margins(self, points: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for each wrong class, the lead of its logit over the label's, [N], and its gradient [N, C, H, W].

        One forward and C - 1 backward passes. The classes of an image come in the order label + 1, label + 2, ... mod
        C.

        Raises:
            NoGradientError: as in `loss_and_grad`.
        """
        points = points.detach().requires_grad_()
        logits = self(points)
        classes = logits.shape[1]
        for offset in range(1, classes):
            values = targeted_margin(logits, torch.stack([labels, (labels + offset) % classes], 1))
            yield values.detach(), self._gradient(values, points, retain_graph=offset < classes - 1)

    def check_finite(self) -> None:
        """Raise NotFiniteError if any output so far was NaN or +inf, or any gradient not finite."""
        if not self._finite:
            raise NotFiniteError("the model returned NaN or infinite logits: check its weights and its normaliser")
        if not self._finite_gradient:
            raise NotFiniteError("the gradient of the model is NaN or infinite: check its layers for sqrt(0) or 0/0")

    def _gradient(self, values: Tensor, points: Tensor, retain_graph: bool = False) -> Tensor:
        """Return the gradient of `values` [N] for `points`; `retain_graph` allows further ones of the same pass."""
        if not values.requires_grad:
            raise NoGradientError(_NO_GRADIENT)
        # summed, not averaged: an image's gradient must not depend on the size of the batch
        gradient = image_gradient(self._model, values, points, retain_graph)
        if gradient is None:
            raise NoGradientError(_NO_GRADIENT)
        # checked, as the sign of NaN is 0: the attack would silently stand still and the image count as robust
        self._finite_gradient &= gradient.sum().isfinite()
        return gradient

    def _output(self, points: Tensor) -> object:
        try:
            return self._model(points)
        # A model is code of others: whatever it raises is told in a sentence, and sys.exit does not end the process
        except (Exception, SystemExit) as error:
            # The network of a checkpoint or training can refuse the form of the first images; later its bugs are ours
            if _is_not_the_models(error) or (isinstance(self._model, Classifier) and self._classes is not None):
                raise
            remedy = "give it images of the size, channels and dtype that it takes"
            if self._classes is not None:
                remedy = "it took an image before, so look for a fault in its code or its weights"
            raise UserError(f"the model failed on {form_of(points)} ({reason(error)}): {remedy}") from error

    def _check_form(self, output: object, points: Tensor) -> None:
        expected = "an attack needs logits [N, C] with C at least 2"
        if not isinstance(output, Tensor) or not is_readable(output):
            form = form_of(output) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the model returned {form} for {len(points)} images: {expected}")
        if output.ndim != 2 or len(output) != len(points) or output.shape[1] < 2:
            raise UserError(f"the model returned shape {tuple(output.shape)} for {len(points)} images: {expected}")
        if output.shape[1] != (self._classes or output.shape[1]):
            raise UserError(
                f"the model returned {self._classes} and then {output.shape[1]} logits an image: {expected}, always "
                "the same C"
            )
        if output.is_complex():
            raise UserError(f"the model returned {form_of(output)}: {expected}, as real numbers")
        if output.device != points.device:
            raise UserError(
                f"the model returned logits on {output.device} for images on {points.device}: keep it on one device"
            )

    def _check_labels(self, classes: int) -> None:
        low, high = int(self._labels.min()), int(self._labels.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"labels run from {low} to {high}, but the model has {classes} classes: they must be 0 to {classes - 1}"
            )


def image_gradient(model: Model, values: Tensor, points: Tensor, retain_graph: bool = False) -> Tensor | None:
    """Return the gradient of the sum of the model's `values` [N] for its images; None if they do not depend on them.

    Raises:
        UserError: an operation of a model of others has no backward pass, or its own one fails.
    """
    try:
        return torch.autograd.grad(values.sum(), points, retain_graph=retain_graph, allow_unused=True)[0]
    except (Exception, SystemExit) as error:
        if _is_not_the_models(error) or isinstance(model, Classifier):
            raise
        raise UserError(
            f"the model's gradient on {form_of(points)} failed ({reason(error)}): give each of its operations a "
            "backward pass, or use an attack without gradients"
        ) from error


def _is_not_the_models(error: BaseException) -> bool:
    """Return whether an error that a model raised has its sentence already, or is the machine's and not the model's."""
    return isinstance(error, ReportedError) or out_of_memory(error) or device_failed(error)


def _parameter_dtype(model: Model) -> torch.dtype | None:
    if not isinstance(model, nn.Module):
        return None
    return next((parameter.dtype for parameter in model.parameters() if parameter.dtype in FLOATS), None)


def _mean(draw: Callable[[], tuple[Tensor, ...]], passes: int) -> tuple[Tensor, ...]:
    """Return the mean over `passes` calls of `draw`, tensor by tensor."""
    total = draw()
    for _ in range(passes - 1):
        total = tuple(summed + tensor for summed, tensor in zip(total, draw(), strict=True))
    return total if passes == 1 else tuple(tensor / passes for tensor in total)
