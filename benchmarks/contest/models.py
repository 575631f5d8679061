"""The small models that all sides attack, trained here within minutes and kept as safetensors."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from contest.images import Batch, read, source
from nofrost.attacks import create_attack
from nofrost.files import write_bytes
from nofrost.models import create_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training pixels


@dataclass(frozen=True)
class Training:
    """How a model comes about, and the budgets it is attacked with: those that part of its images withstand.

    Args:
        dataset: ``cifar10`` or ``mnist``.
        build: makes the untrained network.
        eps: linf budget of the training images, which rises to it over the first half; 0 for natural training.
        steps: PGD steps for each training image.
        budgets: of the attacks, by norm.
    """

    title: str
    dataset: str
    build: Callable[[], nn.Module]
    eps: float
    steps: int
    epochs: int
    lr: float
    budgets: dict[str, float]


class _Normalised(nn.Module):
    """Convolutions of stride 2 with batch norm, after the input normaliser."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        widths = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers((images - self.mean) / self.std)
        return logits


def _digits() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def _free() -> nn.Module:
    return create_model("resnet8", normaliser="nf", num_classes=10, image_size=32, mean=MEAN, std=STD)


TRAININGS = {
    "cifar10-natural": Training(
        "conv net with batch norm, CIFAR-10, naturally trained",
        "cifar10", _Normalised, eps=0, steps=0, epochs=4, lr=0.1, budgets={"linf": 1 / 255, "l2": 0.15},
    ),
    "cifar10-adversarial": Training(
        "conv net with batch norm, CIFAR-10, PGD adversarial training",
        "cifar10", _Normalised, eps=8 / 255, steps=2, epochs=6, lr=0.1, budgets={"linf": 8 / 255, "l2": 0.5},
    ),
    "cifar10-normaliser-free": Training(
        "normaliser-free ResNet-8, CIFAR-10, PGD adversarial training",
        "cifar10", _free, eps=8 / 255, steps=1, epochs=4, lr=0.05, budgets={"linf": 8 / 255, "l2": 0.5},
    ),
    "mnist-adversarial": Training(
        "conv net without normaliser, MNIST, PGD adversarial training",
        "mnist", _digits, eps=0.2, steps=7, epochs=4, lr=0.05, budgets={"linf": 0.25, "l2": 2.0},
    ),
}  # fmt: skip


def trained(name: str, data: Path, folder: Path) -> nn.Module:
    """Return the model of this name in evaluation mode; trained and kept in `folder` if it is not there yet."""
    training, file = TRAININGS[name], folder / f"{name}.safetensors"
    torch.manual_seed(0)
    model = training.build()
    if file.exists():
        model.load_state_dict(load_file(file))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _train(name, model, read(source(training.dataset, data, folder).train), training)
        write_bytes(file, save({key: value.contiguous() for key, value in model.state_dict().items()}))
    return model.eval().requires_grad_(False)


def test_images(name: str, data: Path, folder: Path, count: int) -> Batch:
    """Return the first `count` test images of the dataset that the model of this name was trained on."""
    part = source(TRAININGS[name].dataset, data, folder).test
    assert part is not None
    return read(part, count)


def _train(name: str, model: nn.Module, images: Batch, training: Training) -> None:
    total = training.epochs * (len(images[0]) // 128)
    optimiser = torch.optim.SGD(model.parameters(), lr=training.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.lr, total_steps=total, pct_start=0.3)
    step, begin = 0, time.perf_counter()
    for epoch in range(training.epochs):
        for rows in torch.randperm(len(images[0])).split(128)[: total // training.epochs]:
            views, labels = _augmented(images[0][rows], training.dataset), images[1][rows]
            eps = training.eps * min(1, 2 * (step + 1) / total)
            if eps:
                attack = create_attack("pgd", eps=eps, steps=training.steps, keep="last", seed=step)
                views = attack(model, views, labels)
            optimiser.zero_grad()
            loss = F.cross_entropy(model.train()(views), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            step += 1
        print(f"{name}: epoch {epoch + 1}, loss {loss:.2f}, {time.perf_counter() - begin:.0f} s", flush=True)


def _augmented(images: Tensor, dataset: str) -> Tensor:
    """Return CIFAR-10's images shifted by up to 4 pixels, the same way for a batch, and half of them mirrored."""
    if dataset != "cifar10":
        return images
    down, right = (int(shift) for shift in torch.randint(0, 9, (2,)))
    shifted = F.pad(images, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(mirrored, shifted.flip(3), shifted)
