"""Small real models: a convolutional net on handwritten digits, trained without and with attacks; and an exact one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from nofrost.attacks import Attack, create_attack

Batch = tuple[Tensor, Tensor]


@pytest.fixture(scope="session")
def digits() -> tuple[Batch, Batch]:
    """Training (1,397) and test (400) digits: images [N, 1, 8, 8] float32 in [0, 1], labels [N] int64."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    return (images[400:], labels[400:]), (images[:400], labels[:400])


@pytest.fixture(scope="session")
def natural_model(digits: tuple[Batch, Batch]) -> nn.Module:
    return _trained(*digits[0], epochs=6, eps=0.0)


@pytest.fixture(scope="session")
def robust_model(digits: tuple[Batch, Batch]) -> nn.Module:
    return _trained(*digits[0], epochs=8, eps=0.2)


@pytest.fixture
def batch(digits: tuple[Batch, Batch]) -> Batch:
    """The first 40 test digits."""
    return digits[1][0][:40], digits[1][1][:40]


@pytest.fixture
def quick() -> Callable[..., Attack]:
    """Make an attack with few steps and two restarts, as far as it has such settings, at a budget at which
    `natural_model` keeps some digits and loses others."""

    def make(name: str, norm: str, **settings: Any) -> Attack:
        plain = create_attack(name, eps=0)
        norm = norm if norm in plain.norms else plain.norms[0]
        known = {field.name for field in fields(plain)}
        defaults = {"steps": 4, "queries": 50, "targets": 2, "restarts": 2, "eps": {"linf": 0.1, "l2": 0.5}[norm]}
        # Adam takes more steps than an ascent whose steps cross the ball.
        defaults |= {"steps": 20, "search_steps": 3, "initial_c": 1.0, "learning_rate": 0.1} if name == "cw-l2" else {}
        given = {key: value for key, value in defaults.items() if key in known} | settings
        return create_attack(name, norm=norm, **given)

    return make


@pytest.fixture
def smooth_model() -> nn.Module:
    """A small float64 net without batch-dependent rounding to speak of, for 4 classes of 3 x 4 x 4 images."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4
    return model


@pytest.fixture
def smooth_batch(smooth_model: nn.Module) -> Batch:
    """24 images [N, 3, 4, 4] float64 in [0, 1] with the labels that `smooth_model` gives them."""
    images = torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return images, smooth_model(images).argmax(1)


def _trained(images: Tensor, labels: Tensor, epochs: int, eps: float) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Flatten(), nn.Linear(384, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        attack = create_attack("pgd", eps=eps, steps=5, keep="last")
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(100):
                views = attack(model, images[rows], labels[rows], indices=rows)
                optimiser.zero_grad()
                F.cross_entropy(model(views), labels[rows]).backward()
                optimiser.step()
        optimiser.zero_grad()
    return model.eval()
