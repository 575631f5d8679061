"""Whether our attacks are as strong as those of torchattacks, foolbox and ART: `python benchmarks/attack_agreement.py`.

Both sides attack the same test images of the same small models with equal settings; models are trained at the first
run. Every outcome is kept in the cache, so a run that was stopped goes on where it was, and after a change of our
attacks only our side is measured again. The table goes to benchmarks/results. The peers, beside torchattacks, are
installed with `uv pip install --no-deps -r benchmarks/peers.txt`; those that are missing are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contest.images import Batch
from contest.models import TRAININGS, test_images, trained
from contest.outcome import Outcome, code_of_attacks, kept, measure
from contest.peers import Perturb, Task, create, installed
from contest.report import write_agreement
from contest.settings import CONTESTS, known, ours
from torch import nn

from nofrost.files import sha256_file

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bench:
    """A model with its images, and where outcomes are kept."""

    name: str
    model: nn.Module
    batch: Batch
    arguments: argparse.Namespace

    def outcome(self, side: str, version: str, contest: str, task: Task, perturb: Perturb) -> Outcome:
        """Return what the attack of one side achieved."""
        count = min(CONTESTS[contest].images, len(self.batch[0]))
        batch = self.batch[0][:count], self.batch[1][:count]
        weights = sha256_file(self.arguments.cache / f"{self.name}.safetensors")[:16]
        made_by = f"{version} on {weights}, {task.norm} {task.eps}, {sorted(task.settings.items())}"
        name = f"{self.name}-{task.norm}-{contest}-{side}-{count}"

        def compute() -> Outcome:
            found = measure(perturb, task, batch, self.arguments.batch_size)
            print(f"{name}: {found.accuracy():.1%} in {found.seconds:.1f} s", flush=True)
            return found

        return kept(self.arguments.cache, name, made_by, compute)


def rows_of(bench: Bench, contest: str, norm: str, peers: dict[str, str]) -> list[dict[str, Any]]:
    """Return one row for each peer that has the attack."""
    task = CONTESTS[contest].task(bench.model, norm, TRAININGS[bench.name].budgets[norm])
    rows = []
    for peer, version in peers.items():
        if (perturb := create(peer, task)) is None:
            continue
        mine = bench.outcome("ours", code_of_attacks(), contest, task, ours(task))
        theirs = bench.outcome(peer, version, contest, task, perturb)
        rows.append(
            {
                "model": bench.name,
                "attack": contest,
                "norm": norm,
                "eps": task.eps,
                "settings": dict(task.settings),
                "images": len(mine.robust),
                "peer": peer,
                "ours": mine.accuracy(),
                "theirs": theirs.accuracy(),
                "broken_by_ours_only": int((theirs.flags() & ~mine.flags()).sum()),
                "broken_by_theirs_only": int((mine.flags() & ~theirs.flags()).sum()),
                "ours_seconds": mine.seconds,
                "theirs_seconds": theirs.seconds,
            }
        )
    return rows


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--data", type=Path, default=Path("../shared/data"), help="folder with cifar10 and mnist (default: %(default)s)"
    )
    add("--cache", type=Path, default=Path("runs/benchmarks"), help="models and outcomes (default: %(default)s)")
    add("--models", nargs="+", choices=TRAININGS, default=list(TRAININGS), metavar="MODEL", help="some of them only")
    add("--attacks", nargs="+", choices=CONTESTS, default=list(CONTESTS), metavar="ATTACK", help="some of them only")
    add("--norms", nargs="+", choices=("linf", "l2"), default=("linf", "l2"))
    add("--images", type=int, default=1000, help="at most so many; the slowest attacks get 500 (default: %(default)s)")
    add("--batch-size", type=int, default=250)
    add("--results", type=Path, default=RESULTS, help="folder of attack_agreement.json and .md (default: this one's)")
    add("--train", action="store_true", help="train the models that are missing, and stop")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    peers, rows, models = installed(), [], {}
    for name in arguments.models:
        model = trained(name, arguments.data, arguments.cache)
        if arguments.train:
            continue
        batch = test_images(name, arguments.data, arguments.cache, arguments.images)
        bench = Bench(name, model, batch, arguments)
        with torch.no_grad():
            clean = float((model(batch[0]).argmax(1) == batch[1]).double().mean())
        models[name] = {"title": TRAININGS[name].title, "clean_accuracy": clean, "images": len(batch[0])}
        for contest, settings in known().items():
            for norm in settings.norms:
                if contest in arguments.attacks and norm in arguments.norms:
                    rows += rows_of(bench, contest, norm, peers)
                    write_agreement(arguments.results, models, peers, rows)


if __name__ == "__main__":
    main()
