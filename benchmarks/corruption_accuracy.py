"""A model's accuracy under our corruptions beside that under imagecorruptions-imaug's: minutes.

    python benchmarks/corruption_accuracy.py

A small network, trained on CIFAR-10 here, sees the same test images with each of the 19 corruptions and 5 severities,
made by us and by the peer, with the parameters of ImageNet-C, which are the only ones that the peer has. The intervals
are of the difference between two accuracies on the same images: Newcombe's at one severity, a bootstrap over images for
the mean of the five. Where something is drawn, the peer draws twice, and its two accuracies stand beside each other
too: that much is chance. Of 95 intervals of 95 %, some five miss a difference of 0 by chance as well.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest.models import test_images, trained
from corruptions import NAMES, SEVERITIES, ours, peer_of
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from nofrost.files import write_json, write_text
from nofrost.statistics import bootstrap_interval, paired_interval
from nofrost.transforms.corruptions import CORRUPTIONS

RESULTS = Path(__file__).parent / "results"
MODEL = "cifar10-natural"
Flags = NDArray[np.bool_]
# Why an accuracy may differ; where nothing is written, ours differ from theirs by their draws and by rounding.
REASONS = {
    "frost": "other textures: ours are procedural and five, theirs six photographs",
    "impulse_noise": "chance: other values are drawn",
    "zoom_blur": "theirs is cut off to whole levels, ours rounded",
    "spatter": "the distance to an edge is Euclidean, OpenCV's a sum of steps",
    "elastic_transform": "compared without the affine map, which theirs leaves out",
    "brightness": "theirs goes to HSV and back",
    "saturate": "theirs goes to HSV and back",
}


@torch.inference_mode()
def right(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Flags:
    """Return on which images the model is right, bool [N]."""
    answers = torch.cat([model(some).argmax(1) for some in images.split(256)])
    return (answers == labels).numpy()


def made_by_peer(name: str, photographs: list[Image.Image], severity: int, seed: int) -> torch.Tensor:
    """Return the peer's images, cut off to whole levels as its users store them, in [0, 1]."""
    np.random.seed(seed)  # noqa: NPY002  (the peer draws from the global generator)
    function = peer_of(name)
    levels = np.stack([np.uint8(function(each, severity)) for each in photographs])
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float().div_(255)


def compared(first: list[Flags], second: list[Flags]) -> dict[str, Any]:
    """Return both mean accuracies, their difference, and how many of the severities' intervals miss 0."""
    apart = np.mean([one.astype(float) - other for one, other in zip(first, second, strict=True)], axis=0)
    low, high = bootstrap_interval(lambda rows: apart[rows].mean(axis=1), len(apart))
    intervals = [paired_interval(one, other) for one, other in zip(first, second, strict=True)]
    return {
        "first": [float(flags.mean()) for flags in first],
        "second": [float(flags.mean()) for flags in second],
        "difference": float(apart.mean()),
        "low": low,
        "high": high,
        "intervals": intervals,
        "outside": [severity for severity, (a, b) in zip(SEVERITIES, intervals, strict=True) if not a <= 0 <= b],
    }


def measured(name: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Return the comparison of one corruption, and of the peer with itself where it draws."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    photographs = [Image.fromarray(each) for each in pixels]
    mine = [right(model, ours(images, name, severity), labels) for severity in SEVERITIES]

    def theirs(seed: int) -> list[Flags]:
        return [right(model, made_by_peer(name, photographs, severity, seed), labels) for severity in SEVERITIES]

    first = theirs(0)
    row = compared(mine, first)
    return row | {"again": compared(theirs(1), first)} if CORRUPTIONS[name].random else row


def table_of(results: dict[str, Any]) -> str:
    lines = [
        "# Accuracy under our corruptions and under imagecorruptions-imaug's",
        "",
        f"Written by `benchmarks/corruption_accuracy.py`; {results['environment']}.",
        "",
        f"A small convolutional network that gets {100 * results['clean']:.1f} % of {results['images']:,} clean test",
        "images of CIFAR-10 right, with the parameters of ImageNet-C. Accuracies are the mean of five severities;",
        "the difference has a 95 % interval by bootstrap over images, in points. The last columns name the severities",
        "whose own interval (Newcombe's, paired) misses 0, and how far the peer's second draw is from its first.",
        "",
        "| corruption | ours % | theirs % | difference | severities apart | theirs drawn again | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["corruptions"].items():
        again = f"{_points(row['again'])}; {_named(row['again'])}" if "again" in row else "nothing is drawn"
        lines.append(
            f"| {name} | {100 * np.mean(row['first']):.1f} | {100 * np.mean(row['second']):.1f} | {_points(row)} "
            f"| {_named(row)} | {again} | {REASONS.get(name, '')} |"
        )
    rows = results["corruptions"].values()
    drawn = [row["again"] for row in rows if "again" in row]
    lines += [
        "",
        f"{sum(len(row['outside']) for row in rows)} of {len(SEVERITIES) * len(rows)} intervals miss 0; of the peer's "
        f"{len(SEVERITIES) * len(drawn)} comparisons with itself it is {sum(len(row['outside']) for row in drawn)}.",
    ]
    return "\n".join(lines) + "\n"


def _points(row: dict[str, Any]) -> str:
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def _named(row: dict[str, Any]) -> str:
    return " ".join(map(str, row["outside"])) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder with cifar10 (default: %(default)s)")
    add("--cache", type=Path, default=Path("runs/benchmarks"), help="folder of the model (default: %(default)s)")
    add("--images", type=int, default=2000, help="test images (default: %(default)s)")
    add("--corruptions", nargs="+", metavar="NAME", default=NAMES, help="some of them only")
    add(
        "--results", type=Path, default=RESULTS, help="folder of corruption_accuracy.json and .md (default: this one's)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    model = trained(MODEL, arguments.data, arguments.cache)
    images, labels = test_images(MODEL, arguments.data, arguments.cache, arguments.images)
    results: dict[str, Any] = {
        "environment": f"torch {torch.__version__}, one core",
        "images": len(images),
        "clean": float(right(model, images, labels).mean()),
        "corruptions": {},
    }
    for name in arguments.corruptions:
        results["corruptions"][name] = row = measured(name, model, images, labels)
        print(
            f"{name}: {_points(row)}, severities apart: {_named(row)}; {time.perf_counter() - begin:.0f} s", flush=True
        )
    arguments.results.mkdir(parents=True, exist_ok=True)
    write_json(arguments.results / "corruption_accuracy.json", json.loads(json.dumps(results)))
    write_text(arguments.results / "corruption_accuracy.md", table_of(results))


if __name__ == "__main__":
    main()
