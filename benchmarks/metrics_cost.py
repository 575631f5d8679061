"""What metrics for Prometheus cost a training: `python benchmarks/metrics_cost.py`, on a quiet machine.

The limit is 0.5 % of a step. Two ways to see it, for a step without an attack (the shortest there is) and for one of
PGD-10:

- counted: the time that the code of the metrics itself takes, divided by that of a step: of every step (counters and
  clock), of the one step in five seconds that is measured (norm of the gradient, loss, times; on a GPU the wait for
  it), and of a scrape every 15 seconds, as if it stopped the training while it lasts;
- compared: whole epochs with an endpoint that is scraped every second beside epochs without one, in turn; the median of
  the ratios of the processor's time, on a GPU of the time. It is no more exact than an epoch is like the next.

The model is the smallest there is, whose steps are the shortest; on a GPU it is one of use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nofrost.config import DatasetSpec, Recipe
from nofrost.data import read_manifest, read_split
from nofrost.files import write_json, write_text
from nofrost.models import default_device, device_name
from nofrost.prepare import run as prepare
from nofrost.processes import ProcessGroup
from nofrost.results import Selection
from nofrost.results.common import Proportion
from nofrost.telemetry.metrics.exposition import exposed
from nofrost.train.setup import new_model, phases_of
from nofrost.train.step_metrics import INTERVAL_S
from nofrost.train.trainer import Trainer
from pipelines.local_nodes import free_port

RESULTS = Path(__file__).parent / "results"
LIMIT, SCRAPE_S = 0.005, 15.0
OBJECTIVES = {"st": "no attack", "pgdat": "PGD-10"}


class StepsAlone(Trainer):
    """A trainer that neither validates nor saves."""

    def validate(self) -> Selection:
        nothing = Proportion.of(0, 1)
        return Selection(clean=nothing, attacked=nothing, score=0.0)

    def save(self, since: float) -> float:
        return time.monotonic()


def trainer_of(objective: str, arch: str, dataset: Path, batch_size: int) -> Trainer:
    """Return a trainer of a model with batch norms."""
    recipe = Recipe.model_validate(
        {
            "title": objective,
            "citation": "own",
            "model": {"arch": arch, "normaliser": "bn"},
            "objective": {"name": objective},
            "attack": {"name": "pgd", "steps": 10, "step_size": "2/255", "keep": "last"},
            "schedule": {"epochs": 100_000, "batch_size": batch_size},
            "selection": {"every_epochs": 100_000},
        }
    )
    manifest = read_manifest(dataset)
    phases = phases_of(recipe, objective, dataset, manifest, None, ProcessGroup())
    model = new_model(recipe, manifest, None, 0)
    trainer = StepsAlone(model, phases, 0, read_split(dataset, "selection"), ProcessGroup())
    trainer.start_phase()
    return trainer


@contextmanager
def scraped(every_s: float) -> Iterator[list[float]]:
    """Expose this process and ask it all the time; yield the seconds of each answer."""
    port, stop = free_port(), threading.Event()
    os.environ["NOFROST_METRICS_PORT"] = str(port)
    taken: list[float] = []

    def ask() -> None:
        while not stop.wait(every_s):
            began = time.perf_counter()
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read()
            taken.append(time.perf_counter() - began)

    with exposed("train", "benchmark", "0"):
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield taken
        finally:
            stop.set()
            thread.join()
    del os.environ["NOFROST_METRICS_PORT"]


def clock_of(trainer: Trainer) -> Callable[[], float]:
    """Return the clock that the costs are measured by, in seconds."""
    if trainer.device.type == "cpu":
        # With one thread, it is the time on a quiet machine.
        return time.process_time

    def waited() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return waited


def epoch(trainer: Trainer) -> float:
    """Return the seconds of a step, as the mean of an epoch."""
    clock = clock_of(trainer)
    began = clock()
    trainer.train_epoch()
    return (clock() - began) / trainer.phase.images.steps


def every_step(trainer: Trainer, repeats: int = 20_000) -> float:
    """Return the seconds that counting adds to each step."""
    metrics, state = trainer.metrics, trainer.state
    metrics.is_measured = False
    batches = metrics.waits(iter(range(repeats)))  # type: ignore[arg-type]
    clock = clock_of(trainer)
    began = clock()
    for _ in batches:
        with metrics.step(state, 128):
            # As often as in a step of PGD.
            with metrics.part("attack"):
                pass
            with metrics.part("exchange"):
                pass
            with metrics.part("exchange"):
                pass
            metrics.gradient(trainer.model)
        _ = metrics.is_due
    return (clock() - began) / repeats


def measured_step(trainer: Trainer, repeats: int = 50) -> float:
    """Return the seconds that the one step in INTERVAL_S that is measured takes in addition."""
    metrics, state, phase = trainer.metrics, trainer.state, trainer.phase
    metrics.is_measured = True
    sums = {name: torch.tensor(1.0, dtype=torch.float64, device=trainer.device) for name in ("loss", "clean")}
    state.step, state.sums = 1, {}
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    clock = clock_of(trainer)
    began = clock()
    for _ in range(repeats):
        with metrics.step(state, 128):
            with metrics.part("attack"):
                pass
            with metrics.part("exchange"):
                pass
            metrics.gradient(trainer.model)
        metrics.epoch_so_far(state, phase, sums)
    taken = (clock() - began) / repeats
    metrics.is_measured, state.step = False, 0
    trainer.phase_state.optimiser.zero_grad()
    return taken


def costs(objective: str, arch: str, dataset: Path, batch_size: int, turns: int) -> dict[str, float]:
    """Return the times and shares of one objective."""
    trainer = trainer_of(objective, arch, dataset, batch_size)
    epoch(trainer)
    without, ratios = [], []
    for _ in range(turns):
        without.append(epoch(trainer))
        with scraped(1.0):
            ratios.append(epoch(trainer) / without[-1])
    step_s = statistics.median(without)
    with scraped(3600.0):
        epoch(trainer)
        each_s, measured_s = every_step(trainer), measured_step(trainer)
    with scraped(0.01) as scrapes:
        epoch(trainer)
    scrape_s = statistics.median(scrapes)
    share = each_s / step_s + measured_s / INTERVAL_S + scrape_s / SCRAPE_S
    return {
        "step_s": step_s,
        "every_step_s": each_s,
        "measured_step_s": measured_s,
        "scrape_s": scrape_s,
        "counted": share,
        "compared": statistics.median(ratios) - 1,
    }


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = default_device()
    arch, size = ("cifar-resnet18", 32) if device.type == "cuda" else ("resnet8", 16)
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "dataset"
        prepare(DatasetSpec(source="digits", image_size=size), dataset)
        measured = {name: costs(name, arch, dataset, options.batch_size, options.turns) for name in OBJECTIVES}
    rows = [
        f"| {OBJECTIVES[name]} | {row['step_s'] * 1e3:.1f} ms | {row['every_step_s'] * 1e6:.0f} µs "
        f"| {row['measured_step_s'] * 1e3:.2f} ms | {row['scrape_s'] * 1e3:.1f} ms | {row['counted']:.3%} "
        f"| {row['compared']:+.1%} |"
        for name, row in measured.items()
    ]
    text = "\n".join(
        [
            f"Cost of metrics on {device_name(device)}: {arch} at {size} x {size} pixels, batches of "
            f"{options.batch_size}; the limit is {LIMIT:.1%}.",
            "",
            "| step | takes | every step | a measured one (in 5 s) | a scrape (in 15 s) | counted | compared |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )
    print(text)
    options.results.mkdir(parents=True, exist_ok=True)
    write_text(options.results / "metrics_cost.md", text + "\n")
    write_json(
        options.results / "metrics_cost.json", {"device": device_name(device), "limit": LIMIT, "objectives": measured}
    )
    if any(row["counted"] > LIMIT for row in measured.values()):
        raise SystemExit("the metrics cost more than the limit")


if __name__ == "__main__":
    main()
