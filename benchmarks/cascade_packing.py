"""What it saves to pack the images that a cascade leaves anew: `python benchmarks/cascade_packing.py`.

Both sides evaluate the same model on the same images with the same suite, in turn: once as it is, and once with each
attack on what is left of every original batch, as before. Given is the median of the ratios of each turn, packed / as
cut: under 1 means that packing is faster. The flags of all images must agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nofrost import load_model
from nofrost.config import AdversarialSuite, load_suite
from nofrost.data import read_split
from nofrost.evaluate import RobustnessResult, robustness
from nofrost.evaluate.measuring import engine
from nofrost.models.device import device_name, hardware_name

RESULTS = Path(__file__).parent / "results"
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
SIDES = {"as cut": 1, "packed": engine.GROUP}  # batches whose remaining images are packed together


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="output folder of nofrost prepare")
    add("--checkpoint", type=Path, required=True, help="output folder of nofrost train")
    add("--suite", default="adversarial-standard", help="a suite with a cascade (default: %(default)s)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the suite, such as batch_size=64")
    add("--turns", type=int, default=3, help="how often each side runs (default: %(default)s)")
    add("--clock", choices=CLOCKS, default="wall", help="processor time is steadier beside other work, for one thread")
    add("--results", type=Path, default=RESULTS, help="folder of cascade_packing.json (default: this one's)")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    suite = load_suite(arguments.suite, arguments.set)
    assert isinstance(suite, AdversarialSuite)
    model, split, clock = (
        load_model(arguments.checkpoint),
        read_split(arguments.dataset, "test"),
        CLOCKS[arguments.clock],
    )
    images, labels, indices = split.batch(np.arange(len(split)))
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    results: dict[str, RobustnessResult] = {}
    for _ in range(arguments.turns):
        for side, group in SIDES.items():
            engine.GROUP = group
            begin = clock()
            results[side] = robustness(model, images, labels, suite, indices=indices)
            seconds[side].append(clock() - begin)
    cut, packed = results["as cut"], results["packed"]
    differing = {name: int((flags != packed.flags[name]).sum()) for name, flags in cut.flags.items()}
    device = torch.device(packed.protocol.device)
    row = {
        "suite": arguments.suite,
        "settings": arguments.set,
        "model": model.signature.arch,
        "images": len(images),
        "batch_size": suite.batch_size,
        "left": {name: proportion.correct for name, proportion in packed.accuracy.items()},
        "device": f"{hardware_name(device)}, {device_name(device)}",
        "torch": torch.__version__,
        "clock": arguments.clock,
        "turns": arguments.turns,
        "seconds": {side: round(statistics.median(each), 2) for side, each in seconds.items()},
        "ratio": round(statistics.median(np.divide(seconds["packed"], seconds["as cut"]).tolist()), 3),
        "flags_that_differ": sum(differing.values()),
    }
    print(json.dumps(row, indent=1))
    path = arguments.results / "cascade_packing.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    key = ("suite", "settings", "model", "images", "device")
    others = [each for each in rows if any(each[name] != row[name] for name in key)]
    path.write_text(json.dumps([*others, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
