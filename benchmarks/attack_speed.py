"""How long our attacks take beside those of other packages, and beside the floor: `python benchmarks/attack_speed.py`.

All sides attack, in turn, the same test images that a small model gets right, with equal settings; given are the
medians of the ratios of each turn. Beside a peer's name a ratio is ours / theirs: under 1 means ours is faster. The
floor is what the model alone takes for the passes that our attack needs, which are those on images without an
adversarial point so far: counted in a run apart, and multiplied by the seconds of a pass of that many images, measured
in every turn. Models, data and peers are those of attack_agreement.py.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from contest.floor import CLOCKS, Clock, Passes, Traced
from contest.images import Batch
from contest.models import TRAININGS, test_images, trained
from contest.peers import Perturb, Task, create, installed
from contest.report import write_speed
from contest.settings import CONTESTS, known, ours
from torch import nn

RESULTS = Path(__file__).parent / "results"
WARM_UP = 8  # images


@dataclass(frozen=True)
class Row:
    """One attack: medians over turns of the seconds and of the ratios ours/theirs, by peer, and of ours/floor.

    Args:
        accuracies: share of the images that were right before and withstood, by side.
        wasted: the share of the points that our attack gave to the model although their image was done.
    """

    model: str
    attack: str
    norm: str
    images: int
    seconds: dict[str, float]
    ratios: dict[str, float]
    fastest: str | None
    floor_seconds: float
    floor_ratio: float
    wasted: float
    accuracies: dict[str, float]


def raced(
    contest: str, task: Task, model_name: str, batch: Batch, peers: dict[str, str], turns: int, clock: Clock
) -> Row:
    """Let every side do `task` in turn, `turns` times."""
    sides = {"ours": ours(task)} | {peer: made for peer in peers if (made := create(peer, task)) is not None}
    traced = Traced(task, batch, stops=task.settings.get("keep") != "last")
    ours(replace(task, model=traced))(*batch)
    seconds: dict[str, list[float]] = {side: [] for side in [*sides, "floor"]}
    accuracies = {}
    for perturb in sides.values():
        perturb(batch[0][:WARM_UP].clone(), batch[1][:WARM_UP].clone())
    for _ in range(turns):
        seconds["floor"].append(Passes.measured(task.model, batch[0], clock).seconds(traced.calls))
        for side, perturb in sides.items():
            took, accuracies[side] = timed(perturb, task.model, batch, clock)
            seconds[side].append(took)
    medians = {side: statistics.median(each) for side, each in seconds.items()}
    floor = medians.pop("floor")
    ratios = {side: ratio(seconds["ours"], seconds[side]) for side in seconds if side != "ours"}
    floor_ratio = ratios.pop("floor")
    given, needed = (sum(getattr(call, each) for call in traced.calls) for each in ("points", "needed"))
    fastest = max(ratios, key=ratios.__getitem__, default=None)
    return Row(
        model_name, contest, task.norm, len(batch[0]), medians, ratios, fastest,
        floor, floor_ratio, 1 - needed / given, accuracies,
    )  # fmt: skip


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of each turn."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def timed(perturb: Perturb, model: nn.Module, batch: Batch, clock: Clock) -> tuple[float, float]:
    """Return the seconds that an attack took, and the share of images that withstood."""
    images, labels = batch[0].clone(), batch[1].clone()
    begin = clock()
    adversarial = perturb(images, labels)
    took = clock() - begin
    with torch.no_grad():
        return took, float((model(adversarial).argmax(1) == batch[1]).double().mean())


def right(model: nn.Module, batch: Batch, count: int) -> Batch:
    """Return the first `count` images that the model gets right."""
    with torch.no_grad():
        rows = (model(batch[0]).argmax(1) == batch[1]).nonzero().squeeze(1)[:count]
    return batch[0][rows].clone(), batch[1][rows].clone()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--data", type=Path, default=Path("../shared/data"), help="folder with cifar10 and mnist (default: %(default)s)"
    )
    add("--cache", type=Path, default=Path("runs/benchmarks"), help="folder of the models (default: %(default)s)")
    add("--models", nargs="+", choices=TRAININGS, default=["cifar10-adversarial"], metavar="MODEL")
    add("--attacks", nargs="+", choices=CONTESTS, default=list(CONTESTS), metavar="ATTACK", help="some of them only")
    add("--norms", nargs="+", choices=("linf", "l2"), default=["linf"])
    add("--peers", nargs="+", help="some of those installed only")
    add("--images", type=int, default=200, help="how many, of those that the model gets right (default: %(default)s)")
    add("--turns", type=int, default=3, help="how often each side runs (default: %(default)s)")
    add("--clock", choices=CLOCKS, default="wall", help="processor time is steadier beside other work, for one thread")
    add("--results", type=Path, default=RESULTS, help="folder of attack_speed.json and .md (default: this one's)")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    peers = {name: each for name, each in installed().items() if arguments.peers is None or name in arguments.peers}
    for name in arguments.models:
        model = trained(name, arguments.data, arguments.cache)
        batch = right(model, test_images(name, arguments.data, arguments.cache, 5 * arguments.images), arguments.images)
        for contest, settings in known().items():
            for norm in settings.norms:
                if contest in arguments.attacks and norm in arguments.norms:
                    task = settings.task(model, norm, TRAININGS[name].budgets[norm])
                    row = raced(contest, task, name, batch, peers, arguments.turns, CLOCKS[arguments.clock])
                    print(line(row), flush=True)
                    measured = {"turns": arguments.turns, "clock": arguments.clock}
                    write_speed(arguments.results, peers, asdict(row) | measured)


def line(row: Row) -> str:
    """Return a row to print."""
    ratios = "  ".join(f"{peer} {value:.2f}" for peer, value in row.ratios.items())
    return f"{row.model} {row.norm} {row.attack}: {row.seconds['ours']:.2f} s, floor x {row.floor_ratio:.2f}; {ratios}"


if __name__ == "__main__":
    main()
