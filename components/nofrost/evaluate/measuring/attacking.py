"""Measurements of a model: its predictions on clean images, and whether it is still right after an attack."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost import models
from nofrost.attacks.model import CheckedModel, NoGradientError, without_wrapper
from nofrost.errors import UserError
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Compute, Measurement
from nofrost.evaluate.measuring.sample import Rows, Sample, batches
from nofrost.models.contents import check_contents

Branch = Literal["clean", "adversarial"]
BRANCHES: tuple[Branch, ...] = ("clean", "adversarial")
"""The branches of a mixture-BN model; None stands for the mixture that it is deployed with."""

Part = Branch | models.Mixture | None
"""What of a mixture-BN model is measured: one branch, a mixture of both, or, for None, that which it is deployed with.
"""


class EvaluatedModel:
    """The model under evaluation: checks its outputs, and defines the measurements on it.

    An image that is misclassified when clean counts as wrong under every attack and is not attacked.

    Args:
        network: maps images to logits [N, K].
        labels: int64 [N], the true classes of all images of the evaluation; checked against the number of classes.
        device: where the model computes.

    Raises:
        UserError: a parameter or buffer of the network has no values, or cannot be attacked.
    """

    def __init__(self, network: nn.Module, labels: NDArray[np.int64], device: torch.device) -> None:
        check_contents(network)
        self.network = network
        self.device = device
        self.branches: tuple[Branch, ...] = BRANCHES if models.has_mixture(network) else ()
        # Tensors of inference mode cannot be changed outside it.
        with torch.inference_mode(False):
            self._checked = CheckedModel(without_wrapper(network), torch.from_numpy(labels).to(device))

    def classes(self, images: Tensor) -> int:
        """Return the number of classes that the model knows; on first use it is called with one of the images."""
        return self._checked.classes(images)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits [n, K] of images on the device.

        Raises:
            UserError: the model does not take such images, does not return logits, or does not know all labels.
        """
        return self._checked(images)

    def check(self, sample: Sample) -> None:
        """Check on one image that the model takes such images, computes in float32 and knows all labels.

        Raises:
            UserError: as :meth:`classify`, or the model has parameters of another type.
        """
        dtype = next((each.dtype for each in self.network.parameters() if each.is_floating_point()), torch.float32)
        if dtype != torch.float32:
            name = str(dtype).removeprefix("torch.")
            raise UserError(
                f"the model computes in {name}, but is evaluated in float32, as half precision hides small gradients: "
                "convert it with model.float()"
            )
        images, _, _ = sample.batch(np.zeros(1, dtype=np.int64), self.device)
        self.classify(images)

    @torch.no_grad()
    def finite_logits(self, images: Tensor) -> Tensor:
        """Return the logits [n, K] of images on the device, without gradient.

        Raises:
            UserError: as :meth:`logits`, or the logits are NaN or +infinity.
        """
        logits = self.logits(images)
        self._checked.check_finite()
        return logits

    def classify(self, images: Tensor) -> Tensor:
        """Return the classes int64 [n] of images on the device; raises like :meth:`finite_logits`."""
        return self.finite_logits(images).argmax(1)

    def attack(
        self,
        condition: Condition,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        batch_size: int,
        member: int | None = None,
    ) -> Tensor:
        """Return the adversarial images [n, C, H, W]; the images themselves where the model has no gradient.

        Args:
            batch_size: how many images the model may be called with at once, at least n.
            member: run this member of the attack alone, as a number from 0; None: all of them.

        Raises:
            UserError: the model cannot be attacked; the message names the key of the suite.
        """
        attack = condition.create()
        if member is not None:
            attack = attack.members(self.classes(images))[member]
        try:
            with condition.named():
                adversarial = attack(self.network, images, labels, indices=indices, batch_size=batch_size)
        except NoGradientError:
            # The attack counts as unsuccessful; those without gradients go on, and the alarm gradients-not-zero fails.
            return images
        if attack.stays_inside():
            condition.check_inside(adversarial, images)
        return adversarial

    def adversarial(self, condition: Condition, sample: Sample, rows: Rows, batch_size: int) -> Tensor:
        """Return the adversarial images of rows of the sample, float32 [n, C, H, W] on the CPU, right or wrong when
        clean; `batch_size` are attacked at once."""
        parts = batches(rows, batch_size)
        return torch.cat([self.attack(condition, *sample.batch(part, self.device), batch_size).cpu() for part in parts])

    def on(self, part: Part) -> AbstractContextManager[None]:
        """Return a context in which a mixture-BN model uses this part of it."""
        return nullcontext() if part is None else models.branch(self.network, part)

    def clean(self, part: Part = None) -> Measurement:
        """Return the measurement of the classes that the model predicts on clean images."""

        def predict(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
            with self.on(part):
                return self.classify(images)

        return Measurement(*_of_part("predictions", "clean images", part), predict, dtype=np.int64)

    def attacked(self, condition: Condition, part: Part = None) -> Measurement:
        """Return the measurement of whether the model is still right after an attack.

        In a cascade (``condition.after``) that is: after this attack and all those before it. An attack that is itself
        a cascade, such as AutoAttack, is one measurement for each of its members.

        Args:
            condition: the attack and its budget.
            part: of a mixture-BN model; model and attacker both use it.
        """
        measured = self.clean(part) if condition.after is None else self.attacked(condition.after, part)
        name, title = _of_part(condition.name, condition.title, part)
        attack = condition.create()
        members = attack.members(attack.min_classes)
        for number, member in enumerate(members):
            is_last = number == len(members) - 1
            measured = Measurement(
                name if is_last else f"{name}-{number}-{member.name}",
                title if len(members) == 1 else f"{title}, {member.name}",
                self._right_after(condition, attacker=part, target=part, member=number),
                among=(measured,),
                repacked=condition.after is not None or number > 0,
            )
        return measured

    def attacked_through(self, condition: Condition, branch: Branch) -> Measurement:
        """Return the measurement of whether a mixture-BN model, as deployed, is still right on images that were made
        against one of its branches: what an attacker achieves who sees that branch alone."""
        among = self.clean() if condition.after is None else self.attacked_through(condition.after, branch)
        name = f"{condition.name}-{through(branch)}"
        title = f"{condition.title}, through the {branch} branch"
        # A cascade as a whole: its later members leave alone what fools the branch, whether it fools the mixture or not
        right_after = self._right_after(condition, attacker=branch, target=None)
        return Measurement(name, title, right_after, among=(among,), repacked=condition.after is not None)

    def _right_after(self, condition: Condition, attacker: Part, target: Part, member: int | None = None) -> Compute:
        def still_right(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
            with self.on(attacker):
                adversarial = self.attack(condition, images, labels, indices, batch_size, member)
            with self.on(target):
                return self.classify(adversarial) == labels

        return still_right


def _of_part(name: str, title: str, part: Part) -> tuple[str, str]:
    """Return name and title of a measurement for one part of a mixture-BN model."""
    if isinstance(part, models.Mixture):
        return f"{name}-mixture-{part.name}", f"{title}, mixture {part.name}"
    return (name, title) if part is None else (f"{name}-{part}-branch", f"{title}, {part} branch")


def through(branch: Branch) -> str:
    """Return the name of the condition in which the attacker sees one branch only."""
    return f"through-{branch}-branch"
