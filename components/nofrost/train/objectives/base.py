"""What an objective is: a function of model, batch and settings to a loss; no optimiser inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from nofrost.config import ObjectiveSpec


@dataclass(frozen=True)
class Batch:
    """Clean images [N, C, H, W] in [0, 1], labels [N] and, for recipes that use augmentation sets, one augmented view
    of each image (else None)."""

    images: torch.Tensor
    labels: torch.Tensor
    augmented: torch.Tensor | None = None


Craft = Callable[[], torch.Tensor]  # makes the adversarial images of the batch, with the model as it stands


@dataclass
class Losses:
    """The loss to descend on and, by kind of image, how many of the batch were right (as tensors: no sync)."""

    loss: torch.Tensor
    correct: dict[str, torch.Tensor] = field(default_factory=dict)


Objective = Callable[[nn.Module, Batch, ObjectiveSpec, Craft], Losses]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, spec: ObjectiveSpec) -> torch.Tensor:
    """Return the mean cross-entropy with the recipe's label smoothing (training only; attacks use the plain one)."""
    return F.cross_entropy(logits, labels, label_smoothing=spec.label_smoothing)


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many of the logits [N, K] are right, as a tensor."""
    return (logits.detach().argmax(1) == labels).sum()
