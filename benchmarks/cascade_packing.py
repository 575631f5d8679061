"""What it saves to fill the batches of a cascade: `python benchmarks/cascade_packing.py`.

All sides evaluate the same model on the same images with the same suite, in turn: each attack on what is left of every
original batch; with what is left of four batches packed anew; and with several targets of few images in one batch as
well, as it is. Given is the median over the turns of each side / the first: under 1 means faster. The flags of all
images must agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from nofrost import load_model
from nofrost.config import AdversarialSuite, load_suite
from nofrost.data import read_split
from nofrost.evaluate import RobustnessResult, robustness
from nofrost.evaluate.measuring import engine
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.condition import Condition
from nofrost.models.device import device_name, hardware_name

RESULTS = Path(__file__).parent / "results"
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
# Batches whose remaining images are packed together, and whether targets share a batch
SIDES = {"as cut": (1, False), "packed": (engine.GROUP, False), "targets together": (engine.GROUP, True)}


@contextmanager
def arranged(group: int, targets_together: bool) -> Iterator[None]:
    """Let the engine pack the images of `group` batches, and tell attacks the batch size or not."""
    attack = EvaluatedModel.attack

    def one_after_the_other(
        self: EvaluatedModel,
        condition: Condition,
        images: torch.Tensor,
        labels: torch.Tensor,
        indices: torch.Tensor,
        batch_size: int,
        member: int | None = None,
    ) -> torch.Tensor:
        return attack(self, condition, images, labels, indices, batch_size if targets_together else 1, member)

    with mock.patch.object(engine, "GROUP", group), mock.patch.object(EvaluatedModel, "attack", one_after_the_other):
        yield


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
        for side, arrangement in SIDES.items():
            with arranged(*arrangement):
                begin = clock()
                results[side] = robustness(model, images, labels, suite, indices=indices)
                seconds[side].append(clock() - begin)
    first, *others = results.values()
    differing = sum(int((flags != other.flags[name]).sum()) for other in others for name, flags in first.flags.items())
    ratios = {side: np.divide(each, seconds["as cut"]).tolist() for side, each in seconds.items() if side != "as cut"}
    device = torch.device(first.protocol.device)
    row = {
        "suite": arguments.suite,
        "settings": arguments.set,
        "model": model.signature.arch,
        "images": len(images),
        "batch_size": suite.batch_size,
        "left": {name: proportion.correct for name, proportion in first.accuracy.items()},
        "device": f"{hardware_name(device)}, {device_name(device)}",
        "torch": torch.__version__,
        "clock": arguments.clock,
        "turns": arguments.turns,
        "seconds": {side: round(statistics.median(each), 2) for side, each in seconds.items()},
        "ratios": {side: round(statistics.median(each), 3) for side, each in ratios.items()},
        "flags_that_differ": differing,
    }
    print(json.dumps(row, indent=1))
    path = arguments.results / "cascade_packing.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    key = ("suite", "settings", "model", "images", "device")
    kept = [each for each in rows if any(each[name] != row[name] for name in key)]
    path.write_text(json.dumps([*kept, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
