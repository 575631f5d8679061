"""The interface of objectives, which turn a model and a batch into losses without an optimiser, and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nofrost.attacks import Attack, create_attack
from nofrost.attacks.base import ATTACKS
from nofrost.config import AttackSpec, ObjectiveSpec
from nofrost.config.base import Schema
from nofrost.errors import UserError
from nofrost.models import Joint, branch, has_mixture
from nofrost.registry import Registry, check_settings, configurable
from nofrost.transforms.texture_debiased import Distortion

Batching = Literal["joint", "separate"]
Clock = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class Batch:
    """Images of one step.

    Attributes:
        images: the clean images, [N, C, H, W] in [0, 1]; of photographs levels, uint8, until :meth:`to`, a quarter of
            the bytes, and of what RandAugment or AugMix has made too.
        labels: [N] int64.
        indices: [N] int64, the index of each image in its dataset, which selects the random numbers of attacks.
        augmented: further views of the same images, by their name in the objective's `augmented_views`.
        groups: of batch statistics, equal chunks of the images (:mod:`nofrost.train.batch_statistics`).
        distortions: of augmented views, still to be applied: :meth:`to` does, on the device that it moves to.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    augmented: Mapping[str, Tensor] = field(default_factory=dict)
    groups: int = 1
    distortions: Mapping[str, Distortion] = field(default_factory=dict)

    def parts(self, count: int, groups: int) -> list[Batch]:
        """Return `count` equal parts of the batch, one after the other, each of so many groups."""
        size = len(self.labels) // count
        split = {view: torch.split(images, size) for view, images in self.augmented.items()}
        parts = zip(*(torch.split(tensor, size) for tensor in (self.images, self.labels, self.indices)), strict=True)
        return [
            Batch(
                images,
                labels,
                indices,
                {view: chunks[part] for view, chunks in split.items()},
                groups,
                {view: drawn[part * size : (part + 1) * size] for view, drawn in self.distortions.items()},
            )
            for part, (images, labels, indices) in enumerate(parts)
        ]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on this device, with all views complete."""
        images, labels, indices = (
            tensor.to(device, non_blocking=True) for tensor in (self.images, self.labels, self.indices)
        )
        images = scaled(images)
        augmented = {view: scaled(tensor.to(device, non_blocking=True)) for view, tensor in self.augmented.items()}
        augmented.update({view: distort(augmented[view]) for view, distort in self.distortions.items()})
        return Batch(images, labels, indices, augmented, self.groups)


def scaled(images: Tensor) -> Tensor:
    """Return images in [0, 1], float32; levels of 0 to 255, if they are uint8, divided by 255."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Adversary:
    """The recipe's attack at one step of the training.

    Attributes:
        spec: its name and settings.
        norm: of the threat.
        eps: budget of this step in pixels of [0, 1]; smaller than the recipe's while the threat warms up.
        seed: of this step.
        epochs_done: how many epochs of the phase are done, for objectives whose adversary grows with them.
        clock: takes the time of a block, called with its name.
    """

    spec: AttackSpec
    norm: str
    eps: float
    seed: int
    epochs_done: float = 0.0
    clock: Clock = field(default=nullcontext, compare=False)

    def settings(self) -> dict[str, Any]:
        """Return all settings of the attack, including those of the threat and the seed."""
        return {"norm": self.norm, "eps": self.eps, "seed": self.seed, **self.spec.settings()}

    def attack(self) -> Attack:
        """Return the attack."""
        return create_attack(self.spec.name, **self.settings())

    def craft(self, model: nn.Module, batch: Batch, attack: Attack | None = None) -> Tensor:
        """Return adversarial images of the batch against the current model in evaluation mode.

        Args:
            attack: replaces the recipe's attack, for an objective that has its own.
        """
        with self.clock("attack"):
            return (attack or self.attack())(model, batch.images, batch.labels, indices=batch.indices)


@dataclass(frozen=True)
class Losses:
    """The loss of one update, and counts of the images that it was computed on.

    Attributes:
        loss: a scalar with a graph to every trainable parameter.
        images: by view, how many images the loss was computed on.
        correct: by view, how many of them were classified correctly; tensors, so that nothing waits for the device.
    """

    loss: Tensor
    images: Mapping[str, int]
    correct: Mapping[str, Tensor]

    @classmethod
    def of(cls, loss: Tensor, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor] | Tensor) -> Losses:
        """Return the loss with the counts from logits [N, K] by view and labels [N] (by view where they differ)."""
        images, correct = {}, {}
        for view, scores in logits.items():
            expected = labels if isinstance(labels, Tensor) else labels[view]
            images[view] = len(scores)
            correct[view] = (scores.detach().argmax(1) == expected).sum()
        return cls(loss, images, correct)


@configurable
class Objective(ABC):
    """A training loss. Its fields are its settings; it has no state.

    Args:
        label_smoothing: of the cross-entropy in training, from 0 to below 1; attacks use none.

    Attributes:
        fixed_settings: for an objective that has its own attack and takes only steps and step size from the recipe's
            ``pgd``: the settings of ``pgd`` that its attack fixes. None: it uses the recipe's attack, whichever it is.
        arch: the only architecture that it trains; None: it trains any.

    Raises:
        UserError: a setting is out of its range.
    """

    name: ClassVar[str]
    fixed_settings: ClassVar[Mapping[str, object] | None] = None
    arch: ClassVar[str | None] = None

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    @abstractmethod
    def robust_weight(self) -> float:
        """The weight of attacked accuracy in the score that selects the best checkpoint; 0 without an attack."""

    @property
    def augmented_views(self) -> tuple[str, ...]:
        """The augmented views that a batch must contain: ``augmented`` for one of the recipe's augmentation sets drawn
        per image, ``texture-debiased``, ``augmix`` and ``augmix-2``, or the name of a set."""
        return ()

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        """Check that this objective can train `model` and uses every setting of `attack`.

        Raises:
            UserError: it cannot, or does not; the message says what to change.
        """
        if has_mixture(model):
            raise UserError(f"objective {self.name!r} cannot train mixture batch norm: use objective mbnat or alp")
        if self.fixed_settings is not None and attack.name != "pgd":
            raise UserError(
                f"objective {self.name!r} makes its own attack with settings of pgd: set attack.name to pgd"
            )
        for setting, value in (self.fixed_settings or {}).items():
            if attack.setting(setting) not in (None, value):
                raise UserError(
                    f"objective {self.name!r} makes its own attack, which has no attack.{setting} "
                    f"{attack.setting(setting)}: set it to {value}"
                )

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        """Return the loss of one update, with a graph to every trainable parameter."""

    def updates(
        self, model: nn.Module, batch: Batch, adversary: Adversary, memory: dict[str, Tensor]
    ) -> Iterator[Losses]:
        """Yield the loss of each update on this batch; the caller makes the update before it requests the next loss.

        Args:
            memory: tensors carried from batch to batch, which are saved with the training.
        """
        yield self.loss(model, batch, adversary)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy with this objective's label smoothing."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def logits_of(model: nn.Module, images: Mapping[str, Tensor], batching: Batching, groups: int = 1) -> dict[str, Tensor]:
    """Return the logits of each view.

    With `batching` ``joint``, all views share one forward pass and therefore one set of batch statistics (xie2020
    §4.2); with ``separate``, each has its own pass (wang2022's code). In both cases mixture batch norms use their
    adversarial branch for ``adversarial`` images and the clean one for all others.

    Args:
        images: [N, C, H, W] by view; N may differ between views, and ``adversarial``, if present, is the last.
        groups: of batch statistics; a pass that views share has the rows of one group after those of another.
    """
    if batching == "separate":
        logits = {}
        for view, inputs in images.items():
            with branch(model, "adversarial" if view == "adversarial" else "clean"):
                logits[view] = model(inputs)
        return logits
    views = list(images.values())
    # The views that share a branch, and so their batch statistics.
    sharing = [views[:-1], views[-1:]] if "adversarial" in images and has_mixture(model) else [views]
    counts = [sum(map(len, together)) for together in sharing]
    with branch(model, Joint(counts[0])):
        rows = model(torch.cat([chunk for together in sharing for chunk in _by_group(together, groups)]))
    by_view = [
        scores
        for part, together in zip(torch.split(rows, counts), sharing, strict=True)
        for scores in _by_view(part, list(map(len, together)), groups)
    ]
    return dict(zip(images, by_view, strict=True))


def _by_group(views: Sequence[Tensor], groups: int) -> list[Tensor]:
    """Return the rows of the first group of every view, then those of the second, and so on."""
    return [chunk for group in zip(*(view.chunk(groups) for view in views), strict=True) for chunk in group]


def _by_view(rows: Tensor, sizes: Sequence[int], groups: int) -> Sequence[Tensor]:
    """Return the views of these sizes whose rows :func:`_by_group` has ordered."""
    if groups == 1:
        return torch.split(rows, list(sizes))
    chunks = torch.split(rows, [size // groups for size in sizes] * groups)
    return [torch.cat(chunks[view :: len(sizes)]) for view in range(len(sizes))]


OBJECTIVES: Registry[Objective] = Registry("objective")
register = OBJECTIVES.register
list_objectives = OBJECTIVES.names
objective_settings = OBJECTIVES.settings
create_objective = OBJECTIVES.create


def check_methods(config: Schema, origin: str, overrides: Sequence[str] = ()) -> None:
    """Check the name and settings of every attack and objective anywhere in a configuration.

    Args:
        config: a recipe, suite or study.
        origin: its file, for the error message.
        overrides: texts `key=value` on top of the file; the message names the one that is wrong.

    Raises:
        UserError: one is wrong; the message names file, key and the settings that the attack or objective has.
    """
    check_settings(config, {AttackSpec: ATTACKS, ObjectiveSpec: OBJECTIVES}, origin, overrides)
