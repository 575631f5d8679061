"""How long and how much memory a step of PGD-10 adversarial training takes: `python benchmarks/training_speed.py`.

Three sides take the same step on the same images, in turn; given are medians of the ratios of each turn.

- ours: the objective `pgdat`, as `nofrost train` runs it;
- plain: the loop of the papers' code: the attack calls `loss.backward()`, so that it also computes a gradient of every
  weight that is not needed, in full precision and torch's default memory layout;
- floor: eleven forward passes, each with the gradient of its input, and nothing else; in evaluation mode, with frozen
  weights and channels last.

Memory is the peak of a fresh process less what it had before its first step (on a GPU: what torch allocated); on Linux
its allocator gives back every large block at once, as what it would keep is chance. With channels last torch's
convolutions on the CPU hold the gradient of a weight twice for a moment: of cifar-resnet18's largest 9 MiB. Images are
random: values do not change the work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from contest.floor import CLOCKS
from torch import Tensor
from torch.nn import functional as F

from nofrost.config import AttackSpec
from nofrost.files import read_json, write_json, write_text
from nofrost.models import Classifier, create_model, device_name, precision
from nofrost.train.objectives import Adversary, Batch, create_objective

RESULTS = Path(__file__).parent / "results"
EPS, STEP_SIZE, STEPS, LR = 8 / 255, 1 / 255, 10, 0.01
SIDES = ("ours", "plain", "floor")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Step = Callable[[], None]


@dataclass(frozen=True)
class Task:
    """One model and batch; `precision` is that of our side and of the floor."""

    arch: str
    normaliser: str
    image_size: int
    batch_size: int
    device: str
    precision: str

    def model(self) -> Classifier:
        """Return the model, the same weights each time."""
        torch.manual_seed(0)
        return create_model(
            self.arch, normaliser=self.normaliser, num_classes=10, image_size=self.image_size
        ).to(self.device)  # fmt: skip

    def batch(self) -> Batch:
        """Return random images with random labels."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(self.batch_size, 3, self.image_size, self.image_size, generator=generator)
        labels = torch.randint(0, 10, (self.batch_size,), generator=generator)
        return Batch(images.to(self.device), labels.to(self.device), torch.arange(len(images), device=self.device))


TASKS = (
    Task("cifar-resnet18", "bn", 32, 32, "cpu", "float32"),
    Task("resnet26", "nf", 224, 16, "cpu", "float32"),
)


def ours(task: Task) -> Step:
    """Return a step of the objective `pgdat`."""
    model, batch = task.model().train(), task.batch()
    objective = create_objective("pgdat")
    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    attack = AttackSpec.model_validate({"name": "pgd", "steps": STEPS, "step_size": "1/255", "keep": "last"})
    adversary = Adversary(attack, "linf", EPS, seed=0)

    def step() -> None:
        with precision(model, DTYPES[task.precision]):
            for losses in objective.updates(model, batch, adversary, {}):
                losses.loss.backward()
                optimiser.step()
                optimiser.zero_grad()

    return step


def plain(task: Task) -> Step:
    """Return a step of the loop in the papers' code."""
    model, batch = task.model().to(memory_format=torch.contiguous_format), task.batch()
    images, labels = batch.images, batch.labels

    def logits(points: Tensor) -> Tensor:
        return model.network((points - model.mean) / model.std)  # our own forward would lay the images out anew

    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)

    def step() -> None:
        model.eval()
        points = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(STEPS):
            points = points.detach().requires_grad_()
            model.zero_grad()
            F.cross_entropy(logits(points), labels).backward()
            assert points.grad is not None
            moved = points.detach() + STEP_SIZE * points.grad.sign()
            points = moved.clamp(images - EPS, images + EPS).clamp(0, 1)
        model.train()
        optimiser.zero_grad()
        F.cross_entropy(logits(points), labels).backward()
        optimiser.step()

    return step


def floor(task: Task) -> Step:
    """Return the passes that nobody can do without."""
    model, batch = task.model().eval().requires_grad_(False), task.batch()

    def passed() -> Tensor:
        points = batch.images.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(points), batch.labels), points)[0]

    def step() -> None:
        with precision(model, DTYPES[task.precision]):
            for _ in range(STEPS + 1):
                passed()

    return step


MAKERS: dict[str, Callable[[Task], Step]] = {"ours": ours, "plain": plain, "floor": floor}


def raced(task: Task, turns: int, clock: str) -> dict[str, list[float]]:
    """Return the seconds of each turn by side, after one step of each to warm up."""
    steps = {side: MAKERS[side](task) for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(turns + 1):
        for side, step in steps.items():
            begin = CLOCKS[clock]()
            step()
            if task.device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[side].append(CLOCKS[clock]() - begin)
    return seconds


def peak_memory(task: Task, side: str) -> float:
    """Return the MiB that two steps take in a process of their own."""
    command = [sys.executable, __file__, "--memory", json.dumps([side, asdict(task)])]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def measured_memory(side: str, task: Task) -> float:
    """Return the MiB that two steps of this process take."""
    step = MAKERS[side](task)
    if task.device == "cuda":
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on (Linux)
        before = _resident("VmRSS")
    step()
    step()
    peak = torch.cuda.max_memory_allocated() if task.device == "cuda" else _resident("VmHWM")
    return (peak - before) / 2**20


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def row(task: Task, turns: int, clock: str) -> dict[str, object]:
    """Return what is written of a task."""
    seconds = raced(task, turns, clock)

    def against(first: str, second: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[first], seconds[second], strict=True))

    return {
        **asdict(task),
        "turns": turns,
        "clock": clock,
        "torch": torch.__version__,
        "on": device_name(torch.device(task.device)),
        "images_per_second": {side: task.batch_size / statistics.median(each) for side, each in seconds.items()},
        "plain_over_ours": against("plain", "ours"),
        "ours_over_floor": against("ours", "floor"),
        "peak_mib": {side: peak_memory(task, side) for side in ("ours", "plain")},
    }


def write(folder: Path, new: dict[str, object]) -> None:
    """Put a row into training_speed.json, in place of a former one of the same task, and write the table anew."""
    file = folder / "training_speed.json"
    rows = read_json(file)["rows"] if file.exists() else []
    key = list(Task.__dataclass_fields__)
    rows = [each for each in rows if [each[part] for part in key] != [new[part] for part in key]] + [new]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {"rows": rows})
    write_text(folder / "training_speed.md", markdown(rows))


def markdown(rows: list[dict[str, object]]) -> str:
    """Return the table."""
    doc = (__doc__ or "").partition("\n\n")[2].strip()
    head = "| model | images | precision | on | clock, turns | images/s ours | plain / ours | ours / floor "
    head += "| peak MiB ours / plain |"
    lines = [f"# A step of PGD-10 adversarial training\n\nWritten by `benchmarks/training_speed.py`.\n\n{doc}\n", head]
    lines.append("|---" * head.count(" | ") + "|---|")
    for each in rows:
        speed, memory = each["images_per_second"], each["peak_mib"]
        lines.append(
            f"| {each['arch']}, {each['normaliser']} | {each['batch_size']} of {each['image_size']} px "
            f"| {each['precision']} | {each['on']}, torch {each['torch']} | {each['clock']}, {each['turns']} "
            f"| {speed['ours']:.2f} | {each['plain_over_ours']:.2f} | {each['ours_over_floor']:.2f} "  # type: ignore[index]
            f"| {memory['ours']:.0f} / {memory['plain']:.0f} = {memory['ours'] / memory['plain']:.2f} |"  # type: ignore[index]
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="how often each side runs (default: %(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor time is steadier beside other work")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=DTYPES, default="float32", help="of ours and the floor")
    parser.add_argument("--batch-size", type=int, help="instead of the small ones that suit two cores")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        side, values = json.loads(arguments.memory)
        print(measured_memory(side, Task(**values)))
        return
    for task in TASKS:
        size = arguments.batch_size or task.batch_size
        chosen = Task(task.arch, task.normaliser, task.image_size, size, arguments.device, arguments.precision)
        new = row(chosen, arguments.turns, arguments.clock)
        print({key: new[key] for key in ("arch", "plain_over_ours", "ours_over_floor", "peak_mib")}, flush=True)
        write(arguments.results, new)


if __name__ == "__main__":
    main()
