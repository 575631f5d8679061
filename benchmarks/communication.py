"""What it costs to share a step of PGD-10 adversarial training between processes: `python benchmarks/communication.py`.

The same batch of digits is trained on by one process and by two, each with one thread. Given are medians over the steps
of each, in turn: two would take half as long if sharing cost nothing, and the machine had nothing else to do.

- seconds of a step: without reading the batch, with the check of all processes that ends each step;
- sent: bytes that a process hands to collectives in a step, by what they are for; DDP's are counted by its
  communication hook, plus the buffers that it broadcasts before each forward pass in training mode;
- check: seconds of `ProcessGroup.any`, called many times in a row; heartbeat: processor seconds of its requests
  to the store for each second. Both as shares of a step;
- load: processes that wanted to run, the benchmark's own among them, on so many processors; where they were more than
  these, seconds are chance, while bytes and memory are not;
- memory: the peak of a fresh process less what it had before its first step, with 256 images in so many micro-batches;
- save: seconds in which the other processes wait for rank 0 to write the state.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from nofrost import prepare
from nofrost.config import DatasetSpec, Recipe
from nofrost.data import read_split
from nofrost.files import read_json, write_json, write_text
from nofrost.models import device_name
from nofrost.processes import ProcessGroup
from nofrost.rendezvous import HEARTBEAT_S
from nofrost.train.objectives import Batch
from nofrost.train.partial import training_mode
from nofrost.train.setup import new_model, phases_of
from nofrost.train.stage import process_group
from nofrost.train.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
IMAGE_SIZE = 16
# Model, and batch; `batch_statistics` is of batch norms.
TASKS: tuple[dict[str, Any], ...] = (
    {"arch": "cifar-resnet18-w16", "normaliser": "gn", "batch_statistics": "process", "batch_size": 32},
    {"arch": "cifar-resnet18-w16", "normaliser": "bn", "batch_statistics": "all", "batch_size": 32},
    {"arch": "cifar-resnet18-w16", "normaliser": "bn", "batch_statistics": 8, "batch_size": 32},
)
MICRO_BATCHES, MEMORY_BATCH = (1, 2, 4, 8), 256
SIDES = {"one process": 1, "two processes": 2}
PURPOSES = {
    "average_gradients": "gradients",
    "average_buffers": "running statistics",
    "any": "check",
    "sum_over_subgroup": "batch statistics",
}


def recipe_of(task: dict[str, Any]) -> Recipe:
    """Return PGD-10 adversarial training of the task's model, which nothing but the task changes."""
    model = {key: task[key] for key in ("arch", "normaliser", "batch_statistics")}
    schedule = {"epochs": 1, "batch_size": task["batch_size"], "accumulation": task.get("accumulation", 1)}
    return Recipe.model_validate(
        {"title": "PGD-AT", "citation": "own", "model": model, "objective": {"name": "pgdat"}, "schedule": schedule}
    )


@contextmanager
def trainer_of(task: dict[str, Any], dataset: Path) -> Iterator[tuple[Trainer, Batch]]:
    """Yield the trainer of this process, and its rows of the first batch."""
    recipe = recipe_of(task)
    with process_group() as group:
        phases = phases_of(recipe, "pgdat", dataset, None, group)
        trainer = Trainer(
            new_model(recipe, dataset, None, seed=0), phases, 0, read_split(dataset, "selection"), group
        )  # fmt: skip
        trainer.start_phase()
        training_mode(trainer.model)
        yield trainer, next(phases[0].images.epoch(0, 0, 0))


def timed(trainer: Trainer, batch: Batch, steps: int) -> list[float]:
    """Return the seconds of each step but the first, whose trace is recorded."""
    seconds = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        trainer.train_step(batch)
        trainer.group.any(False)
        seconds.append(time.perf_counter() - begin)
        trainer.state.step = 1
    return seconds[1:]


def sent(trainer: Trainer, batch: Batch) -> dict[str, int]:
    """Return the bytes that this process hands to collectives in a step, by their purpose."""
    count: Counter[str] = Counter()

    def counting(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            frame = sys._getframe(1)
            while frame.f_code.co_name not in PURPOSES and frame.f_back is not None:
                frame = frame.f_back
            count[PURPOSES[frame.f_code.co_name]] += tensor.nbytes
            return collective(tensor, *arguments, **options)

        return call

    with (
        mock.patch.object(distributed, "all_reduce", counting(distributed.all_reduce)),
        mock.patch.object(distributed, "broadcast", counting(distributed.broadcast)),
    ):
        trainer.train_step(batch)
        trainer.group.any(False)
    return dict(count)


def sent_by_ddp(trainer: Trainer, batch: Batch) -> dict[str, int]:
    """Return the bytes of DDP for the same update of the same model, whose training has one forward pass."""
    model = DistributedDataParallel(trainer.model)
    count: Counter[str] = Counter()

    def hook(state: object, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
        count["gradients"] += bucket.buffer().nbytes
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    model.register_comm_hook(None, hook)
    torch.nn.functional.cross_entropy(model(batch.images), batch.labels).backward()  # type: ignore[no-untyped-call]
    buffers = sum(buffer.nbytes for buffer in trainer.model.buffers())
    return {"gradients": count["gradients"], "running statistics": buffers}


def seconds_of_check(group: ProcessGroup, calls: int = 2000) -> float:
    """Return the seconds of a call of :meth:`ProcessGroup.any`."""
    begin = time.perf_counter()
    for _ in range(calls):
        group.any(False)
    return (time.perf_counter() - begin) / calls


def seconds_of_heartbeat(size: int, count: int = 500) -> float:
    """Return the processor seconds of a heartbeat among `size` processes: to send its own, and to read the others'."""
    store = distributed.TCPStore("127.0.0.1", 0, 1, is_master=True, wait_for_workers=False)
    begin = time.process_time()
    for number in range(count):
        store.set("heartbeat/0", str(number))
        for _ in range(size - 1):
            store.check(["heartbeat/0"])
            store.get("heartbeat/0")
    return (time.process_time() - begin) / count


def peak_mib(trainer: Trainer, batch: Batch) -> float:
    """Return the peak of two steps (Linux, CPU)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    trainer.train_step(batch)
    trainer.train_step(batch)
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def seconds_of_save(trainer: Trainer) -> float:
    """Return the seconds of a save of the state, the median of five."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="communication-") as folder:
        trainer.folder = Path(folder)
        for _ in range(5):
            begin = time.perf_counter()
            trainer.save(time.monotonic())
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def measured(what: str, task: dict[str, Any], dataset: Path, steps: int) -> dict[str, Any]:
    """Return what a process of its own, or each of two, has measured."""
    with trainer_of(task, dataset) as (trainer, batch):
        if what == "memory":
            return {"peak_mib": peak_mib(trainer, batch)}
        result: dict[str, Any] = {"seconds": timed(trainer, batch, steps)}
        if what == "two processes":
            result |= {"sent": sent(trainer, batch), "check_s": seconds_of_check(trainer.group)}
            result |= {"save_s": seconds_of_save(trainer), "ddp": sent_by_ddp(trainer, batch)}
        return result


def started(what: str, processes: int, task: dict[str, Any], dataset: Path, steps: int) -> dict[str, Any]:
    """Measure in processes of their own, and return what the first says."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, __file__, "--steps", str(steps), "--measure", json.dumps([what, task, str(dataset)])]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    if processes > 1:
        shared |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    group = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    outputs = [process.communicate()[0] for process in group]
    if any(process.returncode for process in group):
        sys.exit(f"{what} failed")
    return json.loads(outputs[0].splitlines()[-1])  # type: ignore[no-any-return]


def row(task: dict[str, Any], dataset: Path, turns: int, steps: int) -> dict[str, Any]:
    """Return what is written of a task."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(turns):
        for side, processes in SIDES.items():
            runs[side].append(started(side, processes, task, dataset, steps))
    seconds = {side: statistics.median([s for run in each for s in run["seconds"]]) for side, each in runs.items()}
    two = runs["two processes"][-1]
    memory = {
        count: started("memory", 1, {**task, "batch_size": MEMORY_BATCH, "accumulation": count}, dataset, steps)
        for count in MICRO_BATCHES
    }
    return {
        **task,
        "torch": torch.__version__,
        "on": device_name(torch.device("cpu")),
        "turns": turns,
        "steps": steps,
        "load": f"{os.getloadavg()[1]:.1f} on {os.cpu_count()}",
        "step_s": seconds,
        "two_over_one": seconds["two processes"] / seconds["one process"],
        "sent": two["sent"],
        "sent_by_ddp": two["ddp"],
        "check_share": two["check_s"] / seconds["two processes"],
        "heartbeat_share": seconds_of_heartbeat(2) / HEARTBEAT_S,
        "save_s": two["save_s"],
        "peak_mib": {count: measured["peak_mib"] for count, measured in memory.items()},
    }


def write(folder: Path, new: dict[str, Any]) -> None:
    """Put a row into communication.json, in place of a former one of the same task, and write the table anew."""
    file = folder / "communication.json"
    rows = read_json(file)["rows"] if file.exists() else []
    rows = [each for each in rows if any(each[key] != new[key] for key in TASKS[0])] + [new]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {"rows": rows})
    write_text(folder / "communication.md", markdown(read_json(file)["rows"]))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    doc = (__doc__ or "").partition("\n\n")[2].strip()
    lines = [f"# A step shared between processes\n\nWritten by `benchmarks/communication.py`.\n\n{doc}\n"]
    lines.append("| model, batch, steps | s a step: one process, two processes | two / one "
                 "| KiB sent a step | of DDP | check | heartbeat | load | MiB by micro-batches | save |")  # fmt: skip
    lines.append("|---" * 10 + "|")
    for each in rows:
        model = f"{each['arch']}, {each['normaliser']}, statistics {each['statistics']}, {each['batch_size']} images"
        times = ", ".join(f"{each['step_s'][side]:.3f}" for side in SIDES)
        memory = ", ".join(f"{count}: {peak:.0f}" for count, peak in each["peak_mib"].items())
        lines.append(
            f"| {model}, {each['turns']} x {each['steps']} | {times} | {each['two_over_one']:.2f} "
            f"| {_kib(each['sent'])} | {_kib(each['sent_by_ddp'])} | {each['check_share']:.2%} "
            f"| {each['heartbeat_share']:.3%} | {each['load']} | {memory} | {each['save_s']:.3f} s |"
        )
    lines += ["", f"On {rows[-1]['on']}, torch {rows[-1]['torch']}; `batch_statistics` is `model.batch_statistics`."]
    return "\n".join(lines) + "\n"


def _kib(by_purpose: dict[str, int]) -> str:
    parts = ", ".join(f"{purpose} {number / 1024:,.1f}" for purpose, number in by_purpose.items())
    return f"{sum(by_purpose.values()) / 1024:,.1f} ({parts})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="how often each side runs (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="of each side and turn (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, task, dataset = json.loads(arguments.measure)
        print(json.dumps(measured(what, task, Path(dataset), arguments.steps)))
        return
    with tempfile.TemporaryDirectory(prefix="communication-") as folder:
        dataset = Path(folder) / "digits"
        prepare.run(DatasetSpec(source="digits", image_size=IMAGE_SIZE, limit=600), dataset)
        for task in TASKS:
            new = row(task, dataset, arguments.turns, arguments.steps)
            print({key: new[key] for key in ("batch_statistics", "step_s", "check_share", "peak_mib")}, flush=True)
            write(arguments.results, new)


if __name__ == "__main__":
    main()
