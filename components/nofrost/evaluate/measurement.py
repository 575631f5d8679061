"""Counting what a model gets right: on clean images, and on images that an attack was let loose on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost import models
from nofrost.attacks.model import NoGradientError
from nofrost.errors import UserError
from nofrost.evaluate.engine import Engine
from nofrost.evaluate.plan import Condition
from nofrost.evaluate.sample import Flags, Rows

Branch = Literal["clean", "adversarial"]
BRANCHES: tuple[Branch, ...] = ("clean", "adversarial")
"""The branches of a mixture-BN model; None stands for the mixture that it is deployed with."""


class Measurement(Engine):
    """What a model gets right. Every count is over all N images.

    An image that the model gets wrong when clean is wrong under every attack and is not attacked.
    """

    def predictions(self, branch: Branch | None = None) -> NDArray[np.int64]:
        """Return the classes [N] that the model gives the clean images."""

        def predict(images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
            with self._on(branch):
                return self.classify(images, "clean images")

        return self.per_image(task_name(None, branch), predict, dtype=np.int64, title="clean images")

    def correct(self, branch: Branch | None = None) -> Flags:
        """Return whether the model is right on each clean image, [N]."""
        return np.equal(self.predictions(branch), self.sample.labels)

    def attacked(self, condition: Condition, branch: Branch | None = None) -> Flags:
        """Return whether the model is still right on each image [N] after the attack.

        In a cascade (``condition.after``) that is: after this attack and all those before it.

        Args:
            condition: the attack and its budget.
            branch: of a mixture-BN model; model and attacker both use it.
        """
        right = self.correct(branch) if condition.after is None else self.attacked(condition.after, branch)
        return self._let_loose(task_name(condition, branch), condition, right, attacker=branch, judge=branch)

    def attacked_through(self, condition: Condition, branch: Branch) -> Flags:
        """Return whether a mixture-BN model, as deployed, is still right on each image [N] that was made against one
        of its branches: what an attacker finds who sees that branch alone."""
        right = self.correct() if condition.after is None else self.attacked_through(condition.after, branch)
        return self._let_loose(through_name(condition, branch), condition, right, attacker=branch, judge=None)

    def _let_loose(
        self, name: str, condition: Condition, right: Flags, *, attacker: Branch | None, judge: Branch | None
    ) -> Flags:
        def still_right(images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
            with self._on(attacker):
                adversarial = self._attack(condition, images, labels, indices)
            with self._on(judge):
                return self.classify(adversarial, f"images attacked by {condition.attack.name}") == labels

        seen = "" if attacker is None else f", {'' if judge else 'through the '}{attacker} branch"
        title = f"{_in_words(condition)}{seen}"
        return self.per_image(name, still_right, dtype=np.bool_, start=right, rows=right, title=title)

    def adversarial(self, condition: Condition, rows: Rows) -> torch.Tensor:
        """Return the adversarial images of these rows, float32 [n, C, H, W] on the CPU, right or wrong when clean."""
        images, labels, indices = self.sample.batch(rows, self.device)
        return self._attack(condition, images, labels, indices).cpu()

    def classify(self, images: torch.Tensor, what: str) -> torch.Tensor:
        """Return the classes int64 [n] of images on the device; `what` names the images in an error.

        Raises:
            UserError: the model's answer is not logits [n, K], or holds NaN or +infinity.
        """
        with torch.no_grad():
            logits = self.model(images)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
            form = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UserError(f"the model returned {form} for {len(images)} images: it must return logits [N, classes]")
        if not bool((logits < torch.inf).all()):  # false for NaN too; -inf is a class that the model rules out
            raise UserError(f"the model returned NaN or infinity on {what}: check its weights and its layers")
        return logits.argmax(1)

    def _attack(
        self, condition: Condition, images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor
    ) -> torch.Tensor:
        try:
            adversarial = condition.create()(self.model, images, labels, indices=indices)
        except NoGradientError:
            return images  # found nothing: attacks without gradients go on, and the alarm gradients-not-zero fails
        except UserError as error:
            raise UserError(f"suite key {condition.key}: {error}") from None
        check_inside(adversarial, images, condition)
        return adversarial

    def _on(self, branch: Branch | None) -> AbstractContextManager[None]:
        return nullcontext() if branch is None else models.branch(self.model, branch)


def check_inside(adversarial: torch.Tensor, images: torch.Tensor, condition: Condition) -> None:
    """Check that an attack kept to its threat, without which its result means nothing.

    Raises:
        RuntimeError: it left the ball or [0, 1] by more than rounding, or returned NaN.
    """
    order = torch.inf if condition.norm == "linf" else 2
    size = torch.linalg.vector_norm((adversarial - images).flatten(1), ord=order, dim=1)
    inside = (size <= float(condition.eps) * (1 + 1e-5) + 1e-6).all()
    if not bool(inside & (adversarial >= 0).all() & (adversarial <= 1).all()):
        raise RuntimeError(f"attack {condition.attack.name} left its threat ({condition.norm} {condition.eps})")


def task_name(condition: Condition | None, branch: Branch | None) -> str:
    """Return the name under which a measurement is stored; no condition means the predictions on clean images."""
    name = "predictions" if condition is None else condition.name
    return name if branch is None else f"{name}-{branch}-branch"


def _in_words(condition: Condition) -> str:
    settings = "".join(f", {name} {value}" for name, value in condition.attack.settings().items())
    return f"{condition.attack.name}{settings}, {condition.norm} {float(condition.eps):.4g}"


def through_name(condition: Condition, branch: Branch) -> str:
    """Return the name under which :meth:`Measurement.attacked_through` is stored."""
    return f"{condition.name}-{through_condition(branch)}"


def through_condition(branch: Branch) -> str:
    """Return the condition under which results name what attackers find who see one branch alone."""
    return f"through-{branch}-branch"
