"""How long our attacks take beside torchattacks' on one model, images and machine: `python benchmarks/attack_speed.py`.

A small convolutional net is trained on handwritten digits (scikit-learn's, enlarged to 16 x 16) against PGD, so that
some of the test digits survive. Then ours and theirs attack the same 400 digits in turn, several times, and the median
of the ratios of each turn is printed with both robust accuracies. A ratio under 1 means ours is faster. "full" takes as
many gradients as theirs; the others stop working on images that are already misclassified, which is our default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchattacks
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from nofrost.attacks import create_attack

EPS = 0.15
TEST_IMAGES = 400
Perturb = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Row:
    """One comparison: medians of the seconds, of the ratio ours/theirs per turn, and robust accuracies."""

    attack: str
    ours_seconds: float
    theirs_seconds: float
    ratio: float
    ours_accuracy: float
    theirs_accuracy: float


def digits() -> Batch:
    """Return 1,797 digits, [N, 1, 16, 16] in [0, 1], with labels."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    return F.interpolate(images, scale_factor=2, mode="bilinear"), torch.tensor(bunch.target, dtype=torch.int64)


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    """Return a net trained for a few seconds on PGD images."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    attack = create_attack("pgd", eps=EPS, steps=3, keep="last")
    for _ in range(6):
        for rows in torch.randperm(len(images)).split(100):
            views = attack(model, images[rows], labels[rows], indices=rows)
            optimiser.zero_grad()
            F.cross_entropy(model(views), labels[rows]).backward()
            optimiser.step()
    return model.eval()


def contests(model: nn.Module) -> dict[str, tuple[Perturb, Perturb]]:
    """Return ours and theirs by the name of the attack, with equal steps and step sizes."""
    pgd = torchattacks.PGD(model, eps=EPS, alpha=EPS / 8, steps=20)
    apgd = torchattacks.APGD(model, norm="Linf", eps=EPS, steps=100)

    def ours(name: str, **settings: Any) -> Perturb:
        attack = create_attack(name, eps=EPS, **settings)
        return lambda images, labels: attack(model, images, labels)

    return {
        "pgd-20": (ours("pgd", steps=20, step_size=EPS / 8), pgd),
        "pgd-20, full": (ours("pgd", steps=20, step_size=EPS / 8, keep="last"), pgd),
        "apgd-ce-100": (ours("apgd-ce", steps=100), apgd),
        "apgd-ce-100, full": (ours("apgd-ce", steps=100, early_stop=False), apgd),
    }


def timed(perturb: Perturb, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Return the seconds that an attack took, and its images."""
    begin = time.perf_counter()
    adversarial = perturb(images, labels)
    return time.perf_counter() - begin, adversarial


def compare(name: str, pair: tuple[Perturb, Perturb], model: nn.Module, batch: Batch, turns: int) -> Row:
    """Run ours and theirs `turns` times in turn, after one turn to warm up."""
    seconds: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        (first, ours), (second, theirs) = timed(pair[0], *batch), timed(pair[1], *batch)
        if turn:
            seconds.append((first, second))
    with torch.no_grad():
        accuracies = [float((model(each).argmax(1) == batch[1]).double().mean()) for each in (ours, theirs)]
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    return Row(name, medians[0], medians[1], statistics.median(a / b for a, b in seconds), accuracies[0], accuracies[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--turns", type=int, default=5, help="how often each pair runs (default: %(default)s)")
    arguments = parser.parse_args()
    images, labels = digits()
    model = trained(images[TEST_IMAGES:], labels[TEST_IMAGES:])
    batch = images[:TEST_IMAGES], labels[:TEST_IMAGES]
    print(f"{TEST_IMAGES} digits, linf {EPS}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'attack':<20}{'ours s':>8}{'theirs s':>10}{'ratio':>8}{'ours acc.':>11}{'theirs acc.':>13}")
    rows = []
    for name, pair in contests(model).items():
        row = compare(name, pair, model, batch, arguments.turns)
        rows.append(row)
        print(
            f"{row.attack:<20}{row.ours_seconds:>8.2f}{row.theirs_seconds:>10.2f}{row.ratio:>8.2f}"
            f"{row.ours_accuracy:>11.1%}{row.theirs_accuracy:>13.1%}"
        )
    if arguments.json:
        conditions = {
            "data": f"{TEST_IMAGES} scikit-learn digits at 16 x 16",
            "threat": f"linf {EPS}",
            "turns": arguments.turns,
            "device": f"CPU, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
        }
        report = conditions | {"rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
