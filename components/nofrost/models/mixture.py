"""Mixture batch norm: one branch for clean and one for adversarial images (xie2020 §4.2; wang2022 §2.2, App. A).

The branch is never guessed: :func:`branch` sets it. Each branch has statistics and affine parameters of its own, in
training and in evaluation. At test time it is unknown whether an image is clean or adversarial, so a deployed model
answers with a :class:`Mixture` of both.
"""

import hashlib
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from nofrost.config.model import MixtureInference
from nofrost.models.layers import ExchangeableBatchNorm


@dataclass(frozen=True)
class Joint:
    """A batch whose first `clean` images are clean and whose others are adversarial: both branches in one pass."""

    clean: int


@dataclass(frozen=True)
class Mixture:
    """How the two branches are combined, the adversarial one with weight γ (wang2022 App. A).

    ``logits``: each branch answers alone and the logits are averaged, (1-γ) z_c + γ z_a. ``all``: one pass, in which
    each mixture layer averages, (1-γ) BN_c(f) + γ BN_a(f). ``random``: two passes side by side, in which a random
    `share` of the mixture layers averages, (1-γ) BN_c(f_c) + γ BN_a(f_a), and hands both passes the same output; the
    others keep two outputs, as do shortcuts past an averaging layer, and the logits are averaged at the end. So
    ``random`` with share 0 is ``logits`` and with share 1 ``all``. wang2022 states neither its shares nor what becomes
    of the two outputs. γ = 0 is the clean branch alone and γ = 1 the adversarial one, for all three.

    Args:
        weight: γ in [0, 1].
        inference: where the branches are averaged.
        share: share of the mixture layers that average under ``random``, in [0, 1].
        seed: selects these layers; see :meth:`averaging`.

    Raises:
        ValueError: a value is out of its range.
    """

    weight: float
    inference: MixtureInference = "logits"
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("weight", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} of a mixture is not in [0, 1]")
        if self.inference not in typing.get_args(MixtureInference):
            raise ValueError(f"inference {self.inference!r} of a mixture is none of logits, all and random")

    @property
    def name(self) -> str:
        """A name that tells it from every other mixture with the same seed: ``logits-0.25``, ``random-0.25-of-0.5``."""
        of_layers = f"-of-{self.share:.12g}" if self.inference == "random" else ""
        return f"{self.inference}-{self.weight:.12g}{of_layers}"

    def simplest(self) -> "Mixture":
        """Return the plainest mixture with the same answers: of one branch alone, of no layer, or of all."""
        if self.weight in (0, 1) or (self.inference == "random" and self.share == 0):
            return Mixture(self.weight)
        if self.inference == "all" or (self.inference == "random" and self.share == 1):
            return Mixture(self.weight, "all")
        return self if self.inference == "random" else Mixture(self.weight)

    @property
    def passes(self) -> int:
        """How many passes through the network an answer takes, 1 or 2."""
        return 1 if self.weight in (0, 1) or self.inference == "all" else 2

    def averaging(self, layers: int) -> frozenset[int]:
        """Return the indices of the round(share · layers) mixture layers that average under ``random``.

        They depend only on the number of layers, share and seed, so a loaded model has the same ones. A larger share
        includes those of a smaller one.
        """
        order = sorted(range(layers), key=lambda index: hashlib.sha256(f"{self.seed}:{index}".encode()).digest())
        return frozenset(order[: round(self.share * layers)])


Branch = Literal["clean", "adversarial"] | Joint | Mixture | float


class Selector:
    """The branch that all mixture layers of one model use, shared by these layers.

    Attributes:
        branch: one branch, a joint batch, or the mixture that answers.
        deployed: the mixture used outside of :func:`branch` blocks.
        averaging: indices of the layers that average under ``random``.
        layers: how many mixture layers there are.
        doubled: whether the current batch is two passes side by side.
    """

    def __init__(self, weight: float) -> None:
        self.layers = 0
        self.doubled = False
        self.deploy(Mixture(weight))

    def deploy(self, mixture: Mixture) -> None:
        """Make `mixture` the model's default."""
        self.deployed = mixture
        self.choose(mixture)

    def choose(self, value: Branch) -> None:
        """Set the branch; a number is the weight of the deployed mixture."""
        self.branch = replace(self.deployed, weight=value) if isinstance(value, int | float) else value
        is_random = isinstance(self.branch, Mixture) and self.branch.inference == "random"
        self.averaging = self.branch.averaging(self.layers) if is_random else frozenset()  # type: ignore[union-attr]

    @contextmanager
    def two_passes(self) -> Iterator[None]:
        """Mark batches inside the block as two passes side by side, first the clean and then the adversarial one."""
        try:
            self.doubled = True
            yield
        finally:
            self.doubled = False


class MixtureBatchNorm(nn.Module):
    """Two batch norms of one type, over [N, C], [N, C, L] or [N, C, H, W]; `selector` says which one an image uses.

    Args:
        clean, adversarial: the two batch norms.
        selector: shared by all mixture layers of a model.
    """

    def __init__(self, clean: ExchangeableBatchNorm, adversarial: ExchangeableBatchNorm, selector: Selector) -> None:
        super().__init__()
        self.clean, self.adversarial = clean, adversarial
        self.selector = selector
        self.index = selector.layers
        selector.layers += 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise the features [N, C, ...] by the current branch; a branch without images keeps its statistics."""
        match self.selector.branch:
            case "clean" | Mixture(weight=0):
                return self.clean(features)  # type: ignore[no-any-return]
            case "adversarial" | Mixture(weight=1):
                return self.adversarial(features)  # type: ignore[no-any-return]
            case Mixture(weight=weight, inference="all"):
                return torch.lerp(self.clean(features), self.adversarial(features), weight)
            case Joint(clean=clean):
                return self._by_branch(features, clean)
            case mixture if not self.selector.doubled:
                raise RuntimeError(
                    f"{mixture} takes two passes, which Classifier runs: call the model, not its network"
                )
            case Mixture(weight=weight) if self.index in self.selector.averaging:
                first, second = features.chunk(2)
                mixed = torch.lerp(self.clean(first), self.adversarial(second), weight)
                return torch.cat([mixed, mixed])
        return self._by_branch(features, len(features) // 2)

    def _by_branch(self, features: torch.Tensor, clean: int) -> torch.Tensor:
        # split, not slices: the backward pass of split is one copy, that of slices two copies and a sum
        batches = torch.split(features, [clean, len(features) - clean])
        norms = (self.clean, self.adversarial)
        return torch.cat([norm(batch) for norm, batch in zip(norms, batches, strict=True) if len(batch)])


def has_mixture(model: nn.Module) -> bool:
    """Return whether the model has mixture batch norm layers."""
    return any(isinstance(module, MixtureBatchNorm) for module in model.modules())


@contextmanager
def branch(model: nn.Module, value: Branch) -> Iterator[None]:
    """Make the mixture layers of `model` use `value` inside the block; other models are not affected.

    Args:
        model: any module, also inside a wrapper (DDP).
        value: ``"clean"`` or ``"adversarial"`` for one branch, ``Joint(n)`` for a batch of n clean images followed
            by adversarial ones, a :class:`Mixture` of both, or the weight γ in [0, 1] for the model's own mixture
            with another weight.

    Raises:
        ValueError: `value` is none of these.
    """
    is_branch = value in ("clean", "adversarial") or isinstance(value, Joint | Mixture)
    if not is_branch and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"branch {value!r}: write 'clean', 'adversarial', Joint(n), Mixture(γ) or a weight in [0, 1]")
    layers = (module for module in model.modules() if isinstance(module, MixtureBatchNorm))
    selectors = list({id(layer.selector): layer.selector for layer in layers}.values())
    before = [selector.branch for selector in selectors]
    try:
        for selector in selectors:
            selector.choose(value)
        yield
    finally:
        for selector, earlier in zip(selectors, before, strict=True):
            selector.choose(earlier)
