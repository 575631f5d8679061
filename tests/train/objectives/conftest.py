"""What the tests of objectives share: small float64 models, a batch of random images, and adversaries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.config import AttackSpec
from nofrost.models import Classifier, create_model
from nofrost.train.objectives import Adversary, Batch, Losses, create_objective

Step = Callable[..., list[Losses]]


@pytest.fixture
def small() -> Callable[..., Classifier]:
    """Make the same float64 model with a normaliser, in train mode, for 4 classes of 1 x 16 x 16 images."""

    def make(normaliser: str, **settings: object) -> Classifier:
        torch.manual_seed(1)
        model = create_model(
            "resnet8",
            normaliser=normaliser,
            num_classes=4,
            image_size=16,
            channels=1,
            **settings,  # type: ignore[arg-type]
        )
        return model.double().train()

    return make


@pytest.fixture(scope="session")
def batch() -> Batch:
    """12 images [N, 1, 16, 16] float64 in [0, 1] of 4 classes, with flipped views."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 16, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (12,), generator=generator)
    views = {"augmented": images.flip(3), "augmix": images.flip(2), "augmix-2": images.flip(2, 3)}
    return Batch(images, labels, torch.arange(100, 112), views)


@pytest.fixture(scope="session")
def adversarial(batch: Batch) -> Tensor:
    """Images near those of the batch, in place of adversarial ones."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(batch.images.shape, generator=generator, dtype=torch.float64)
    return (batch.images + 0.1 * noise).clamp(0, 1)


@pytest.fixture
def fixed(adversarial: Tensor) -> Adversary:
    """An adversary whose images are those of `adversarial`, whatever the attack."""

    class Fixed(Adversary):
        def craft(self, model: nn.Module, batch: Batch, attack: Attack | None = None) -> Tensor:
            return adversarial

    return Fixed(AttackSpec(name="pgd", steps=2, keep="last"), "linf", 0.1, 0)


@pytest.fixture
def descend(batch: Batch) -> Step:
    """Take one step of plain gradient descent for each update of an objective, and return its losses."""

    def step(
        model: nn.Module,
        adversary: Adversary,
        name: str,
        batch: Batch = batch,
        memory: dict[str, Tensor] | None = None,
        **settings: object,
    ) -> list[Losses]:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        memory = {} if memory is None else memory
        seen = []
        for losses in create_objective(name, **settings).updates(model, batch, adversary, memory):
            optimiser.zero_grad()
            losses.loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            seen.append(losses)
        return seen

    return step
