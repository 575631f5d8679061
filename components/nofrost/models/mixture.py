"""Mixture batch normalisation: one batch norm for clean and one for adversarial images (004 §4.2; 001 §2.2, App. A).

Which branch answers is never guessed: :func:`domain` names it. Both statistics and affine parameters are separate,
in training and in evaluation alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Joint:
    """A batch whose first `clean` images are clean and whose others are adversarial: both branches in one pass."""

    clean: int


Domain = Literal["clean", "adversarial"] | Joint | float


@dataclass
class Selector:
    """The domain that all mixture layers of one model share: a branch, a joint batch, or the weight γ in [0, 1] of
    the adversarial branch's logits."""

    domain: Domain


class MixtureBatchNorm2d(nn.Module):
    """Two batch norms over [N, C, H, W]; `selector` says which one an image passes."""

    def __init__(self, channels: int, selector: Selector, *, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.clean = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
        self.adversarial = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
        self.selector = selector

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise the features [N, C, H, W] in the branch of the current domain."""
        match self.selector.domain:
            case "clean":
                return self.clean(features)  # type: ignore[no-any-return]
            case "adversarial":
                return self.adversarial(features)  # type: ignore[no-any-return]
            case Joint(clean=n):
                return torch.cat([self.clean(features[:n]), self.adversarial(features[n:])])
            case weight:
                raise RuntimeError(f"a mixture weight ({weight}) is for whole classifiers: call the model, not a layer")


def has_mixture(model: nn.Module) -> bool:
    """Return whether the model has mixture batch norm layers."""
    return any(isinstance(module, MixtureBatchNorm2d) for module in model.modules())


@contextmanager
def domain(model: nn.Module, value: Domain) -> Iterator[None]:
    """Let the mixture layers of `model` answer for a domain inside the block; a model without any is left alone.

    Args:
        model: any module; wrappers (DDP) are looked through.
        value: ``"clean"`` or ``"adversarial"`` for one branch, ``Joint(n)`` for a batch of n clean images followed
            by adversarial ones, or the weight γ in [0, 1] of the adversarial branch's logits (001 App. A).

    Raises:
        ValueError: `value` is none of these.
    """
    named = value in ("clean", "adversarial") or isinstance(value, Joint)
    if not named and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"domain {value!r}: write 'clean', 'adversarial', Joint(n) or a weight in [0, 1]")
    layers = (module for module in model.modules() if isinstance(module, MixtureBatchNorm2d))
    selectors = list({id(layer.selector): layer.selector for layer in layers}.values())
    before = [selector.domain for selector in selectors]
    try:
        for selector in selectors:
            selector.domain = value
        yield
    finally:
        for selector, earlier in zip(selectors, before, strict=True):
            selector.domain = earlier
