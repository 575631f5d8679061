"""What it costs to share a step of PGD-10 adversarial training between processes: `python benchmarks/communication.py`.

The same batch of digits is trained on by one process and by two, each with one thread, in turns: both processes stay,
and the second waits while the first trains alone. Two would take half as long if sharing cost nothing.

- s a step: without reading the batch, with the check of all processes that ends each step; medians over all turns;
- two / one: median of the turns, and their range;
- sent: bytes that a process hands to collectives in a step, by what they are for; DDP's are counted by its
  communication hook, plus the buffers that it broadcasts before each forward pass in training mode;
- check: seconds of `ProcessGroup.any`, called many times in a row; heartbeat: processor seconds of a heartbeat's
  requests to the store for each second. Both as shares of a step;
- load: of the last minute, on so many processors; where it is larger than these, seconds are chance, while bytes and
  memory are not;
- memory: the peak of a fresh process less what it had before its first step, with 256 images in so many micro-batches;
- save: seconds in which the other processes wait for rank 0 to write the state, the median of five.
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
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from nofrost import prepare
from nofrost.config import DatasetSpec, Recipe
from nofrost.data import read_manifest, read_split
from nofrost.files import write_json, write_text
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
ARCH = "cifar-resnet18-w16"
# Settings of the model.
TASKS: tuple[dict[str, Any], ...] = (
    {"normaliser": "gn", "batch_statistics": "process"},
    {"normaliser": "bn", "batch_statistics": "all"},
    {"normaliser": "bn", "batch_statistics": 8},
)
BATCH, MEMORY_BATCH, MICRO_BATCHES = 32, 256, (1, 4)
# What methods of ProcessGroup send; the rest of a step sends batch statistics.
PURPOSES = {"average_gradients": "gradients", "average_buffers": "running statistics", "any": "check"}


def trainer_of(task: dict[str, Any], dataset: Path, group: ProcessGroup, **schedule: int) -> tuple[Trainer, Batch]:
    """Return the trainer of PGD-10 adversarial training in a process of a group, and its rows of the first batch."""
    values = {"title": "PGD-AT", "citation": "own", "objective": {"name": "pgdat"}, "model": {"arch": ARCH, **task}}
    recipe = Recipe.model_validate({**values, "schedule": {"epochs": 1, **schedule}})
    manifest = read_manifest(dataset)
    phases = phases_of(recipe, "pgdat", dataset, manifest, None, group)
    model = new_model(recipe, manifest, None, seed=0)
    trainer = Trainer(model, phases, 0, read_split(dataset, "selection"), group)
    trainer.start_phase()
    training_mode(trainer.model)
    return trainer, next(phases[0].images.epoch(0, 0, 0))


def seconds_of_steps(trainer: Trainer, batch: Batch, steps: int) -> list[float]:
    """Return the seconds of each step; the trace of the first of all steps is recorded, which takes longer."""
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        trainer.train_step(batch)
        trainer.group.any(False)
        seconds.append(time.perf_counter() - begin)
        trainer.state.step = 1
    return seconds


def sent(trainer: Trainer, batch: Batch) -> dict[str, int]:
    """Return the bytes that this process hands to collectives in a step, by their purpose."""
    count: Counter[str] = Counter()
    purpose = ["batch statistics"]

    def sends(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            purpose.append(name)
            try:
                return method(*arguments, **options)
            finally:
                purpose.pop()

        return call

    def counted(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            count[purpose[-1]] += tensor.nbytes
            return collective(tensor, *arguments, **options)

        return call

    with ExitStack() as patches:
        for name in ("all_reduce", "broadcast"):
            patches.enter_context(mock.patch.object(distributed, name, counted(getattr(distributed, name))))
        for name, what in PURPOSES.items():
            patches.enter_context(mock.patch.object(ProcessGroup, name, sends(what, getattr(ProcessGroup, name))))
        seconds_of_steps(trainer, batch, 1)
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


def mean_seconds(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of a call."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def seconds_of_heartbeat(size: int, beats: int = 500) -> float:
    """Return the processor seconds that a heartbeat among `size` processes takes: its own, and a look at the others."""
    store = distributed.TCPStore("127.0.0.1", 0, 1, is_master=True, wait_for_workers=False)
    begin = time.process_time()
    for number in range(beats):
        store.set("sign/0", str(number))
        for _ in range(size - 1):
            store.check(["sign/0"])
            store.get("sign/0")
    return (time.process_time() - begin) / beats


def seconds_of_save(trainer: Trainer) -> float:
    """Return the seconds of a save of the state."""
    with tempfile.TemporaryDirectory(prefix="communication-") as folder:
        trainer.folder = Path(folder)
        return statistics.median(mean_seconds(lambda: trainer.save(time.monotonic()), 1) for _ in range(5))


def peak_mib(task: dict[str, Any], dataset: Path, accumulation: int) -> float:
    """Return the peak of two steps of this process (Linux, CPU)."""
    trainer, batch = trainer_of(task, dataset, ProcessGroup(), batch_size=MEMORY_BATCH, accumulation=accumulation)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    seconds_of_steps(trainer, batch, 2)
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def compared(task: dict[str, Any], dataset: Path, turns: int, steps: int) -> dict[str, Any]:
    """Return what two processes have measured of a task, one of them also alone; to be called in both."""
    with process_group() as group:
        alone = trainer_of(task, dataset, ProcessGroup(), batch_size=BATCH)
        together = trainer_of(task, dataset, group, batch_size=BATCH)
        seconds_of_steps(*together, 1)
        one, two = [], []
        # The first turn is not counted.
        for _ in range(turns + 1):
            one.append(seconds_of_steps(*alone, steps) if group.is_rank_zero else [0.0])
            group.barrier()
            two.append(seconds_of_steps(*together, steps))
        ratios = [statistics.median(b) / (statistics.median(a) or 1) for a, b in zip(one[1:], two[1:], strict=True)]
        step_s = {name: statistics.median(chain.from_iterable(each[1:])) for name, each in (("one", one), ("two", two))}
        check_s = mean_seconds(lambda: group.any(False), 2000)
        return {
            "step_s": step_s,
            "two_over_one": [statistics.median(ratios), min(ratios), max(ratios)],
            "sent": sent(*together),
            "check_share": check_s / step_s["two"],
            "save_s": seconds_of_save(together[0]),
            "sent_by_ddp": sent_by_ddp(*together),
        }


def started(processes: int, what: str, *given: Any) -> Any:
    """Call a function of this module in new processes, and return what the first returned."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, __file__, "--call", json.dumps([what, *given], default=str)]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    if processes > 1:
        shared |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {} for rank in range(processes)]
    group = [subprocess.Popen(command, env={**shared, **rank}, stdout=subprocess.PIPE, text=True) for rank in ranks]
    outputs = [process.communicate()[0] for process in group]
    if any(process.returncode for process in group):
        sys.exit(f"{what} failed")
    return json.loads(outputs[0].splitlines()[-1])


def row(task: dict[str, Any], dataset: Path, turns: int, steps: int) -> dict[str, Any]:
    """Return what is written of a task."""
    measured = {**task, "turns": turns, "steps": steps, **started(2, "compared", task, dataset, turns, steps)}
    measured["load"] = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()}"
    measured["heartbeat_share"] = seconds_of_heartbeat(2) / HEARTBEAT_S
    measured["peak_mib"] = {count: started(1, "peak_mib", task, dataset, count) for count in MICRO_BATCHES}
    return measured


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    doc = (__doc__ or "").partition("\n\n")[2].strip()
    lines = [f"# A step shared between processes\n\nWritten by `benchmarks/communication.py`.\n\n{doc}\n"]
    lines.append("| normaliser, batch statistics, turns x steps | s a step: one process, two processes | two / one "
                 "| KiB sent a step | of DDP | check | heartbeat | load | MiB by micro-batches | save |")  # fmt: skip
    lines.append("|---" * 10 + "|")
    for each in rows:
        ratio, least, most = each["two_over_one"]
        memory = ", ".join(f"{count}: {peak:.0f}" for count, peak in each["peak_mib"].items())
        lines.append(
            f"| {each['normaliser']}, {each['batch_statistics']}, {each['turns']} x {each['steps']} "
            f"| {each['step_s']['one']:.3f}, {each['step_s']['two']:.3f} | {ratio:.2f} ({least:.2f} to {most:.2f}) "
            f"| {_kib(each['sent'])} | {_kib(each['sent_by_ddp'])} | {each['check_share']:.2%} "
            f"| {each['heartbeat_share']:.3%} | {each['load']} | {memory} | {each['save_s']:.3f} s |"
        )
    device = device_name(torch.device("cpu"))
    lines += ["", f"{ARCH}, {BATCH} images in a batch; {device}, torch {torch.__version__}."]
    return "\n".join(lines) + "\n"


def _kib(by_purpose: dict[str, int]) -> str:
    parts = ", ".join(f"{purpose} {number / 1024:,.1f}" for purpose, number in by_purpose.items())
    return f"{sum(by_purpose.values()) / 1024:,.1f} ({parts})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=7, help="of each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="of each side and turn (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one task in one turn of one step, printed, not written")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        what, *given = json.loads(arguments.call)
        print(json.dumps({"compared": compared, "peak_mib": peak_mib}[what](given[0], Path(given[1]), *given[2:])))
        return
    tasks, turns, steps = (TASKS[1:2], 1, 1) if arguments.quick else (TASKS, arguments.turns, arguments.steps)
    with tempfile.TemporaryDirectory(prefix="communication-") as folder:
        dataset = Path(folder) / "digits"
        prepare.run(DatasetSpec(source="digits", image_size=IMAGE_SIZE, limit=600), dataset)
        rows = [row(task, dataset, turns, steps) for task in tasks]
    print(markdown(rows))
    if not arguments.quick:
        write_json(RESULTS / "communication.json", {"rows": rows})
        write_text(RESULTS / "communication.md", markdown(rows))


if __name__ == "__main__":
    main()
