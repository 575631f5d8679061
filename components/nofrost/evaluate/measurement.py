"""Counting what a model gets right: on clean images, and on images that an attack was let loose on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nofrost import models
from nofrost.errors import UserError
from nofrost.evaluate.numerics import evaluation_mode, exact_float32
from nofrost.evaluate.plan import Condition
from nofrost.evaluate.sample import Rows, Sample, batches
from nofrost.evaluate.store import ConditionStore
from nofrost.telemetry import Progress

Branch = Literal["clean", "adversarial"]
BRANCHES: tuple[Branch, ...] = ("clean", "adversarial")
"""The branches of a mixture-BN model; None stands for the mixture that it is deployed with."""


class Silent:
    """A progress that nobody sees."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Do nothing."""


@dataclass
class Measurement:
    """A model, the images it is measured on, and what has been measured so far.

    Work inside :meth:`ready`. Every count is over all N images; an image that the model gets wrong when clean is wrong
    under every attack and is not attacked. The others are attacked batch by batch of the N images, so that what else
    is in a batch depends on that batch alone.
    """

    model: nn.Module
    sample: Sample
    batch_size: int
    device: torch.device
    store: ConditionStore
    progress: Progress = field(default_factory=Silent)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Put torch and the model in the state in which numbers are measured; put both back after.

        Raises:
            UserError: inside, the device's memory did not hold a batch.
        """
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            exact_float32(self.device),
            evaluation_mode(self.model, self.device),
        ):
            try:
                yield
            except torch.OutOfMemoryError:
                raise UserError(
                    f"the memory of {self.device} does not hold {self.batch_size} images: lower the suite's batch_size"
                ) from None

    def predictions(self, branch: Branch | None = None) -> NDArray[np.int64]:
        """Return the classes [N] that the model gives the clean images."""
        return self.store.get(task_name(None, branch), lambda: self._predict_all(branch))

    def correct(self, branch: Branch | None = None) -> NDArray[np.bool_]:
        """Return whether the model is right on each clean image, [N]."""
        return np.equal(self.predictions(branch), self.sample.labels)

    def attacked(self, condition: Condition, branch: Branch | None = None) -> NDArray[np.bool_]:
        """Return whether the model is still right on each image [N] after the attack.

        Args:
            condition: the attack and its budget.
            branch: of a mixture-BN model; model and attacker both use it.
        """
        return self.store.get(task_name(condition, branch), lambda: self._attack_all(condition, branch))

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

    def _predict_all(self, branch: Branch | None) -> NDArray[np.int64]:
        classes = np.empty(len(self.sample), dtype=np.int64)
        with self._on(branch):
            for rows in batches(np.arange(len(self.sample)), self.batch_size):
                images, _, _ = self.sample.batch(rows, self.device)
                classes[rows] = self.classify(images, "clean images").cpu().numpy()
                self.progress.advance(len(rows))
        return classes

    def _attack_all(self, condition: Condition, branch: Branch | None) -> NDArray[np.bool_]:
        right = self.correct(branch).copy()
        note = f"{condition.attack.name}, {condition.norm} {float(condition.eps):.4g}"
        with self._on(branch):
            for rows in batches(np.arange(len(right)), self.batch_size):
                part = rows[right[rows]]
                if len(part):
                    images, labels, indices = self.sample.batch(part, self.device)
                    adversarial = self._attack(condition, images, labels, indices)
                    classes = self.classify(adversarial, f"images attacked by {condition.attack.name}")
                    right[part] = (classes == labels).cpu().numpy()
                self.progress.advance(len(rows), note)
        return right

    def _attack(
        self, condition: Condition, images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor
    ) -> torch.Tensor:
        try:
            adversarial = condition.create()(self.model, images, labels, indices=indices)
        except UserError as error:
            raise UserError(f"suite key {condition.key}: {error}") from None
        check_inside(adversarial, images, condition)
        return adversarial

    def _on(self, branch: Branch | None) -> AbstractContextManager[None]:
        return nullcontext() if branch is None else models.domain(self.model, branch)


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
