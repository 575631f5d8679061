"""One attack at one budget, as a suite asks for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from nofrost import attacks
from nofrost.attacks.batch import check_budget
from nofrost.attacks.model import NoGradientError
from nofrost.config import AttackSpec
from nofrost.errors import UserError


@dataclass(frozen=True)
class Condition:
    """One attack at one budget. Conditions that are equal in all but their key are the same measurement.

    Args:
        key: where the suite names it, for error messages.
        attack: name and settings.
        norm, eps: the threat, `eps` in pixels of [0, 1].
        seed: of the attack's random choices.
        after: the attack before it in a cascade: this one is run only on images that are still right after that one.
            None: on every image that is right when clean.
    """

    key: str = field(compare=False)
    attack: AttackSpec
    norm: str
    eps: Fraction
    seed: int
    after: Condition | None = None

    def create(self) -> attacks.Attack:
        """Return the attack.

        Raises:
            UserError: no attack has this name or setting; the message names the key of the suite.
        """
        settings = self.attack.settings()
        with self.named():
            return attacks.create_attack(self.attack.name, norm=self.norm, eps=self.eps, seed=self.seed, **settings)

    def check(self, classes: int, images: Tensor) -> None:
        """Check that the attack is defined for a model of `classes` classes and for such images, [n, C, H, W].

        Raises:
            UserError: there are too few classes, or the budget is larger than an image; the message names the key.
        """
        attack = self.create()
        with self.named():
            attack.check_classes(classes)
            check_budget(self.norm, float(self.eps), images)

    def check_inside(self, adversarial: Tensor, images: Tensor) -> None:
        """Check that adversarial images are inside the threat and the pixel range.

        Raises:
            RuntimeError: the attack left the ball or [0, 1] by more than rounding, or returned NaN.
        """
        order = torch.inf if self.norm == "linf" else 2
        size = torch.linalg.vector_norm((adversarial - images).flatten(1), ord=order, dim=1)
        inside = (size <= float(self.eps) * (1 + 1e-5) + 1e-6).all()
        if not bool(inside & (adversarial >= 0).all() & (adversarial <= 1).all()):
            raise RuntimeError(f"attack {self.attack.name} left its threat ({self.norm} {self.eps})")

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let the message of a UserError inside name the key of the suite."""
        try:
            yield
        except NoGradientError:
            raise
        except UserError as error:
            raise UserError(f"suite: {self.key}: {error}") from None

    @property
    def name(self) -> str:
        """A file name that is the same for equal conditions."""
        settings = {name: str(value) for name, value in self.attack.settings().items()}
        before = self.after.name if self.after else None
        identity = json.dumps([self.attack.name, settings, self.norm, str(self.eps), self.seed, before], sort_keys=True)
        return f"{self.attack.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    @property
    def title(self) -> str:
        """The attack, its settings and its budget in words."""
        settings = "".join(f", {name} {value}" for name, value in self.attack.settings().items())
        return f"{self.attack.name}{settings}, {self.norm} {float(self.eps):.4g}"
