"""Handwritten digits at 8 x 8 pixels and small models trained on them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from nofrost import models
from nofrost.config import AdversarialSuite, OodSuite
from nofrost.data import Manifest, from_tensor, write_manifest, write_split
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.models.checkpoint import save_checkpoint

EPS = 0.12
TRAINED = 1300  # digits before this one are trained on


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 digits [N, 1, 8, 8] in [0, 1] and their labels."""
    source = load_digits()
    return torch.tensor(source.images, dtype=torch.float32)[:, None] / 16, torch.tensor(source.target)


@pytest.fixture(scope="session")
def test_digits(digits: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """120 digits that no model here was trained on."""
    images, labels = digits
    return images[-120:], labels[-120:]


def fit(model: nn.Module, digits: tuple[torch.Tensor, torch.Tensor], eps: float, epochs: int) -> nn.Module:
    """Train on clean images and, with a budget, on images of one step from a random start (Wong et al. 2020)."""
    images, labels = digits
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(TRAINED, generator=generator).split(64):
            x, y = images[rows], labels[rows]
            with models.branch(model, "clean"):
                loss = F.cross_entropy(model(x), y)
            if eps:
                start = (x + eps * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1).requires_grad_()
                with models.branch(model, "adversarial"):
                    (slope,) = torch.autograd.grad(F.cross_entropy(model(start), y), start)
                    found = x + (start.detach() + 1.25 * eps * slope.sign() - x).clamp(-eps, eps)
                    loss = loss + F.cross_entropy(model(found.clamp(0, 1)), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="session")
def robust_model(digits: tuple[torch.Tensor, torch.Tensor]) -> nn.Module:
    """A small network after adversarial training."""
    return fit(small_network(), digits, EPS, 8)


@pytest.fixture(scope="session")
def standard_model(digits: tuple[torch.Tensor, torch.Tensor]) -> nn.Module:
    """The same network after standard training."""
    return fit(small_network(), digits, 0, 8)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, digits: tuple[torch.Tensor, torch.Tensor]) -> Path:
    """A dataset folder whose test split holds 60 digits with indices 1000, 1003, ..."""
    images, labels = digits
    folder = tmp_path_factory.mktemp("dataset")
    rows = {"train": slice(0, 40), "selection": slice(40, 60), "test": slice(-60, None)}
    splits = {}
    for name, chosen in rows.items():
        pixels, classes = from_tensor(images[chosen]), labels[chosen].numpy().astype(np.int64)
        places = 1000 + 3 * np.arange(len(classes), dtype=np.int64)
        splits[name] = write_split(folder / name, [pixels], (8, 8, 1), classes, places, 10)
    manifest = Manifest(
        name="digits",
        classes=tuple("0123456789"),
        image_size=(8, 8),
        channels=1,
        mean=(0.3,),
        std=(0.4,),
        splits=splits,
        provenance={},
        licence="",
        config={},
    )
    write_manifest(folder, manifest)
    return folder


def checkpoint(folder: Path, model: models.Classifier) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "best.safetensors", model, {})
    return folder


@pytest.fixture(scope="session")
def mixture_checkpoint(tmp_path_factory: pytest.TempPathFactory, digits: tuple[torch.Tensor, torch.Tensor]) -> Path:
    """A mixture-BN network after one epoch of training each branch on its images."""
    torch.manual_seed(0)
    model = models.create_model("resnet8", normaliser="mbn", num_classes=10, image_size=8, channels=1)
    fit(model, digits, EPS, 1)
    return checkpoint(tmp_path_factory.mktemp("mixture"), model)


@pytest.fixture(scope="session")
def plain_checkpoint(tmp_path_factory: pytest.TempPathFactory, digits: tuple[torch.Tensor, torch.Tensor]) -> Path:
    """A network with plain BN after one epoch of adversarial training."""
    torch.manual_seed(0)
    model = models.create_model("resnet8", normaliser="bn", num_classes=10, image_size=8, channels=1)
    fit(model, digits, EPS, 1)
    return checkpoint(tmp_path_factory.mktemp("plain"), model)


@pytest.fixture(scope="session")
def checkpoint_with(plain_checkpoint: Path, mixture_checkpoint: Path) -> Callable[[str], Path]:
    """Return the checkpoint of the network with this normaliser, bn or mbn."""
    return lambda normaliser: {"bn": plain_checkpoint, "mbn": mixture_checkpoint}[normaliser]


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Make the checkpoint of an untrained model with these arguments of `create_model`."""

    def make(**arguments: object) -> Path:
        settings: dict[str, object] = {"num_classes": 10, "image_size": 8, "channels": 1, **arguments}
        torch.manual_seed(1)
        return checkpoint(tmp_path / "train", models.create_model("resnet8", **settings))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_suite() -> Callable[..., AdversarialSuite]:
    """Make a suite of two short attacks without curves, with keys replaced by the arguments."""

    def make(**keys: object) -> AdversarialSuite:
        values: dict[str, object] = {
            "kind": "adversarial",
            "title": "Short",
            "citation": "this test",
            "protocol": "quick",
            "threat": {"norm": "linf", "eps": EPS},
            "attacks": {"fgsm": {"name": "fgsm"}, "apgd-ce-5": {"name": "apgd-ce", "steps": 5}},
            **keys,
        }
        return AdversarialSuite.model_validate(values)

    return make


@pytest.fixture(scope="session")
def make_ood_suite() -> Callable[..., OodSuite]:
    """Make a suite of two corruptions at two severities, with keys replaced by the arguments."""

    def make(**keys: object) -> OodSuite:
        values: dict[str, object] = {
            "kind": "ood",
            "title": "Two corruptions",
            "citation": "this test",
            "corruptions": ["gaussian_noise", "contrast"],
            "severities": [1, 5],
            **keys,
        }
        return OodSuite.model_validate(values)

    return make


class Started(list[str]):
    """Titles of the measurements that were started, clean images aside; raises KeyboardInterrupt after `limit`."""

    limit = 1000


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Record every measurement that is computed, and not read from a cache."""
    started = Started()
    original = Engine._computed

    def watch(self: Engine, measurement: Measurement, pending: Any, shown: Any) -> Any:
        if not measurement.title.startswith("clean images"):
            started.append(measurement.title)
            if len(started) > started.limit:
                raise KeyboardInterrupt
        return original(self, measurement, pending, shown)

    monkeypatch.setattr(Engine, "_computed", watch)
    return started
