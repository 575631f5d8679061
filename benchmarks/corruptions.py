"""Corruptions beside imagecorruptions-imaug: `python benchmarks/corruptions.py`, minutes, on a quiet machine.

Three tables, on photographs of `--data`/imagenette-mini with the parameters of ImageNet-C, which are the only ones that
the peer has:

- agreement: mean absolute difference in levels of 255, by severity. Where nothing is drawn, between the two results;
  elsewhere how far each side gets from the clean images, and how much the peer's own runs differ in that;
- throughput: milliseconds of processor time for an image at 32 and 224 pixels on one core, from one run. Ours goes from
  a batch of floats to a batch of floats; the peer from an array of bytes to one and to a tensor of floats, which its
  user needs as well;
- memory: the most that a process holds when it corrupts few and many images, a batch after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nofrost.files import write_json, write_text
from nofrost.transforms.corruptions import CORRUPTIONS, FAMILIES, corrupt
from nofrost.transforms.corruptions.digital import elastic_transform
from nofrost.transforms.corruptions.draws import Draws

RESULTS = Path(__file__).parent / "results"
NAMES = [name for family, members in FAMILIES.items() if family != "c-bar" for name in members]
SEVERITIES = (1, 2, 3, 4, 5)
TAKES_PILLOW = ("jpeg_compression", "pixelate", "spatter")
# What stays different, and why
REASONS = {
    "brightness": "scikit-image goes to HSV and back, ours scales the channels",
    "saturate": "scikit-image goes to HSV and back, ours moves the channels",
    "spatter": "the distance to an edge is Euclidean, OpenCV's a sum of steps (2 % off)",
    "frost": "other textures: ours are procedural and five, as published; the peer has six photographs",
    "elastic_transform": "the peer has no affine map, unlike the published code: compared without, with its parameters",
    "motion_blur": "angles are drawn, which matter more than the number of images",
    "fog": "a cloud is drawn, which matters more than the number of images",
}
# What keeps a corruption from ten times the peer's speed
_NUMBERS = "random bits, a table, and passes over floats, which are four times as large as theirs, bytes"
_CODEC = "the same encoder on both sides; ours goes from floats to bytes and back, theirs does not"
LIMITS = {
    "gaussian_noise": _NUMBERS,
    "speckle_noise": _NUMBERS,
    "shot_noise": _NUMBERS,
    "impulse_noise": _NUMBERS,
    "jpeg_compression": _CODEC,
    "pixelate": "Pillow averages bytes, ours floats, and rounds them twice as Pillow does",
    "defocus_blur": "two Fourier transforms; OpenCV's filter in C on theirs",
    "gaussian_blur": "a filter of lines, twice; SciPy's in C on theirs",
    "glass_blur": "two Gaussians, and passes of drawn offsets; compiled loops on theirs",
    "motion_blur": "a sum of some thirty shifted images",
    "snow": "numbers and a sum of shifted images",
    "fog": "numbers and eight levels of a fractal",
    "spatter": "edges, distances to them and an even histogram; OpenCV's C code on theirs",
    "elastic_transform": "two interpolations between pixels",
    "contrast": "few passes over the values on both sides",
    "frost": "a copy of a texture",
}


def peer_of(name: str) -> Callable[[Image.Image, int], np.ndarray[Any, Any]]:
    """Return the peer's function, from an image to an array of its own type, levels of 255."""
    from imagecorruptions import corruptions as peer

    function = getattr(peer, name)
    return lambda image, severity: np.asarray(function(image if name in TAKES_PILLOW else np.asarray(image), severity))


def ours(images: torch.Tensor, name: str, severity: int) -> torch.Tensor:
    if name == "elastic_transform":
        amount = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1] * 0.005
        draws = Draws(0, name, severity, np.arange(len(images)), images.device)
        return elastic_transform(images, draws, amount, 0.01, 0).clamp(0, 1)
    return corrupt(images, name, severity, seed=0, indices=range(len(images)), parameter_set="imagenet")


def tensor_of(photographs: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(each) for each in photographs])).permute(0, 3, 1, 2).float() / 255


def agreement(name: str, photographs: list[Image.Image]) -> list[dict[str, float]]:
    """Return a row for each severity."""
    images = tensor_of(photographs)
    clean = (images * 255).double().numpy().transpose(0, 2, 3, 1)
    rows = []
    for severity in SEVERITIES:
        np.random.seed(severity)  # noqa: NPY002  (the peer draws from the global generator)
        mine = (ours(images, name, severity) * 255).double().numpy().transpose(0, 2, 3, 1)

        def theirs(severity: int = severity) -> np.ndarray[Any, Any]:
            levels = np.stack([peer_of(name)(each, severity) for each in photographs])
            return levels.astype(np.float64).clip(0, 255).round()

        first = theirs()
        row = {"ours": float(np.abs(mine - clean).mean()), "theirs": float(np.abs(first - clean).mean())}
        if CORRUPTIONS[name].random:
            row["theirs_again"] = float(np.abs(theirs() - clean).mean())
        else:
            row["difference"] = float(np.abs(mine - first).mean())
        rows.append(row)
    return rows


def milliseconds(call: Callable[[], object], images: int) -> float:
    """Return the processor time for an image, the least of seven."""
    call()
    times = []
    for _ in range(7):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) / images * 1000


def throughput(name: str, photographs: list[Image.Image], batch: int, severity: int) -> dict[str, float]:
    images = tensor_of(photographs)
    images = images.repeat(batch // len(images), 1, 1, 1)
    function = peer_of(name)

    def theirs() -> None:
        for each in photographs:
            levels = np.array(function(each, severity), dtype=np.uint8)
            torch.from_numpy(levels).permute(2, 0, 1).float().div_(255)

    def mine() -> object:
        return corrupt(images, name, severity, seed=0, indices=range(len(images)), parameter_set="imagenet")

    row = {"ours": milliseconds(mine, len(images)), "theirs": milliseconds(theirs, len(photographs))}
    return row | {"ratio": row["theirs"] / row["ours"]}


def peak_memory(name: str, count: int) -> float:
    """Return the most MiB that a process holds that corrupts `count` images of 224 pixels in batches of 32."""
    code = (
        "import pathlib, re, torch\n"
        "from nofrost.transforms.corruptions import corrupt\n"
        "torch.set_num_threads(1)\n"
        f"for start in range(0, {count}, 32):\n"
        f"    corrupt(torch.rand(32, 3, 224, 224), {name!r}, 3, seed=0, indices=range(start, start + 32))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024)\n"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def table_of(results: dict[str, Any]) -> str:
    lines = [
        "# Corruptions beside imagecorruptions-imaug",
        "",
        f"Written by `benchmarks/corruptions.py`; {results['environment']}.",
        "",
        "## Agreement",
        "",
        f"Levels of 255, {results['photographs']} photographs of 224 pixels, severities 1 to 5. Where nothing is",
        "drawn: the mean absolute difference between ours and theirs. Where something is: how far ours gets from the",
        "clean image (theirs; theirs drawn again).",
        "",
        "| corruption | 1 | 2 | 3 | 4 | 5 | what stays different |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in results["agreement"].items():
        cells = [
            f"{row['difference']:.3f}"
            if "difference" in row
            else f"{row['ours']:.1f} ({row['theirs']:.1f}; {row['theirs_again']:.1f})"
            for row in rows
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {REASONS.get(name, '')} |")
    for side, rows in results["throughput"].items():
        total = {key: sum(row[key] for row in rows.values()) for key in ("ours", "theirs")}
        lines += [
            "",
            f"## Throughput at {side} pixels",
            "",
            f"Milliseconds of processor time for an image, severity {results['severity']}, one core.",
            "",
            "| corruption | ours | theirs | ratio | why not ten |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['ours']:.3f} | {row['theirs']:.3f} | {row['ratio']:.1f} "
            f"| {LIMITS.get(name, '') if row['ratio'] < 10 else ''} |"
            for name, row in rows.items()
        ]
        ratio = total["theirs"] / total["ours"]
        lines.append(f"| **sum** | {total['ours']:.2f} | {total['theirs']:.2f} | {ratio:.1f} | |")
    lines += ["", "## Memory", "", "MiB that a process holds at most, images of 224 pixels in batches of 32.", ""]
    lines += ["| corruption | 64 images | 512 images |", "|---|---|---|"]
    lines += [f"| {name} | {row['64']:.0f} | {row['512']:.0f} |" for name, row in results["memory"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder with imagenette-mini (default: %(default)s)")
    add("--images", type=int, default=10, help="photographs, at most 500 (default: %(default)s)")
    add("--corruptions", nargs="+", metavar="NAME", default=NAMES, help="some of them only")
    add("--results", type=Path, default=RESULTS, help="folder of corruptions.json and .md (default: this one's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import cv2

    cv2.setNumThreads(1)
    files = sorted((arguments.data / "imagenette-mini" / "val").glob("*/*"))
    chosen = files[:: max(1, len(files) // arguments.images)][: arguments.images]
    photographs = [Image.open(file).convert("RGB").resize((224, 224)) for file in chosen]
    small = [each.resize((32, 32), Image.Resampling.BOX) for each in photographs]
    results: dict[str, Any] = {
        "environment": f"torch {torch.__version__}, numba {version('numba')}, {platform.machine()}, "
        f"one of {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start",
        "photographs": len(photographs),
        "severity": 3,
        "agreement": {},
        "throughput": {"32": {}, "224": {}},
        "memory": {},
    }
    for name in arguments.corruptions:
        results["agreement"][name] = agreement(name, photographs)
        for side, images, batch in (("32", small, 256), ("224", photographs, len(photographs))):
            results["throughput"][side][name] = row = throughput(name, images, max(batch, len(images)), 3)
            print(
                f"{name} at {side}: {row['ours']:.3f} ms, theirs {row['theirs']:.3f} ms: {row['ratio']:.1f}", flush=True
            )
    for name in ("gaussian_noise", "glass_blur", "spatter", "frost"):
        results["memory"][name] = {str(count): peak_memory(name, count) for count in (64, 512)}
    write_json(arguments.results / "corruptions.json", json.loads(json.dumps(results)))
    write_text(arguments.results / "corruptions.md", table_of(results))


if __name__ == "__main__":
    main()
