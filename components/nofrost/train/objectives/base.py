"""What an objective is: settings, and from model and batch to a loss; no optimiser inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.attacks import Attack, create_attack, settings
from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import has_mixture
from nofrost.registry import configurable


@dataclass(frozen=True)
class Batch:
    """Images of one step.

    Attributes:
        images: clean ones, [N, C, H, W] in [0, 1].
        labels: [N] int64.
        indices: [N] int64, the images' places in their dataset: they pick an attack's random numbers.
        augmented: further views of the same images, by their name in the objective's `augmented_views`.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    augmented: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Adversary:
    """The recipe's attack at one step of the training.

    Attributes:
        spec: its name and settings.
        norm: of the threat.
        eps: budget of this step in pixels of [0, 1]; smaller than the recipe's while the threat warms up.
        seed: of this step.
        epochs_done: how far the phase has come, for objectives whose adversary grows with it.
    """

    spec: AttackSpec
    norm: str
    eps: float
    seed: int
    epochs_done: float = 0.0

    def settings(self) -> dict[str, Any]:
        """Return all settings of the attack, those of the threat and the seed among them."""
        return {"norm": self.norm, "eps": self.eps, "seed": self.seed, **self.spec.settings()}

    def attack(self) -> Attack:
        """Return the attack."""
        return create_attack(self.spec.name, **self.settings())

    def craft(self, model: nn.Module, batch: Batch, attack: Attack | None = None) -> Tensor:
        """Return adversarial images of the batch, made with the model as it stands, in evaluation mode.

        Args:
            attack: in place of the recipe's, for an objective that has its own.
        """
        return (attack or self.attack())(model, batch.images, batch.labels, indices=batch.indices)


@dataclass
class Losses:
    """The loss to descend on and, by kind of image, how many of the batch were right (as tensors: no sync)."""

    loss: Tensor
    correct: dict[str, Tensor] = field(default_factory=dict)


@configurable
class Objective(ABC):
    """A training loss. Its fields are its settings; it keeps no state.

    Args:
        label_smoothing: of the cross-entropy in training, from 0 to below 1; attacks use the plain one.

    Attributes:
        fixes: for an objective that makes its attack itself, with the steps of the recipe's ``pgd``: the settings that
            it leaves no choice of. None: the recipe's attack is made, whichever it is.

    Raises:
        UserError: a setting is out of its range.
    """

    name: ClassVar[str]
    fixes: ClassVar[Mapping[str, object] | None] = None

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if settings.number("label_smoothing", self.label_smoothing, minimum=0) >= 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}: it must be less than 1, such as 0.1")

    @property
    @abstractmethod
    def robust_weight(self) -> float:
        """The share of attacked accuracy in what the best checkpoint is chosen by; 0 when nothing is attacked."""

    @property
    def augmented_views(self) -> tuple[str, ...]:
        """The augmented views that a batch must bring: ``augmented`` for one of the recipe's augmentation sets drawn
        per image, or the name of a set."""
        return ()

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        """Check that this objective can train `model` against `attack`, and passes over no setting of that.

        Raises:
            UserError: it cannot; the sentence says what to change.
        """
        if has_mixture(model):
            raise UserError(f"objective {self.name!r} cannot train mixture batch norm: use objective mbnat or alp")
        if self.fixes is not None and attack.name != "pgd":
            raise UserError(
                f"objective {self.name!r} makes its own attack with settings of pgd: set attack.name to pgd"
            )
        for setting, value in (self.fixes or {}).items():
            if attack.setting(setting) not in (None, value):
                raise UserError(
                    f"objective {self.name!r} makes its own attack, which knows no attack.{setting} "
                    f"{attack.setting(setting)}: set it to {value}"
                )

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        """Return the loss of one update, with a graph to every parameter that trains."""

    def updates(
        self, model: nn.Module, batch: Batch, adversary: Adversary, memory: dict[str, Tensor]
    ) -> Iterator[Losses]:
        """Yield the loss of each update on this batch; the caller descends on one before it asks for the next.

        Args:
            memory: tensors carried from batch to batch, which are saved with the training.
        """
        yield self.loss(model, batch, adversary)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy with this objective's label smoothing."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many of the logits [N, K] are right, as a tensor."""
    return (logits.detach().argmax(1) == labels).sum()
