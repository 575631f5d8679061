"""What five objectives reach on CIFAR-10 with a small budget: `python benchmarks/training_table.py`.

The study is cifar10_small.yaml; the stages of the package make every run. A finished run is not repeated, and a run
that was stopped continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from contest.images import source

from nofrost import evaluate, prepare, train
from nofrost.config import Study, load_study
from nofrost.files import read_json, write_json, write_text

STUDY = Path(__file__).parent / "cifar10_small.yaml"
RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def prepared(study: Study, data: Path, folder: Path) -> Path:
    """Return the dataset's folder, after making it where it is missing."""
    source("cifar10", data, folder)  # unpacks it
    dataset = folder / study.name / "dataset"
    if not dataset.exists():
        prepare.run(study.dataset.model_copy(update={"path": str(folder)}), dataset)
    return dataset


def measured(study: Study, name: str, dataset: Path, folder: Path) -> Row:
    """Train and evaluate one recipe and return its row."""
    run = folder / study.name / name
    recipe = study.recipes[name]
    if not (run / "train").exists():
        train.run(dataset, None, recipe, name, 0, run / "train")
    if not (run / "evaluate").exists():
        evaluate.run(dataset, run / "train", study.suites.adversarial["pgd-apgd"], run / "evaluate")
    trained, timing = read_json(run / "train" / "metrics.json"), read_json(run / "train" / "timing.json")
    evaluated = read_json(run / "evaluate" / "metrics.json")
    return {
        "recipe": name,
        "citation": recipe.citation,
        "parameters": trained["parameters"],
        "best_epoch": trained["best_epoch"],
        "seconds": timing["seconds"],
        "device": timing["device"],
        "training_images": trained["training_images"],
        "accuracy": {
            name: evaluated["accuracy"][name] for name in ("clean", *study.suites.adversarial["pgd-apgd"].attacks)
        },
    }


def markdown(study: Study, rows: list[Row]) -> str:
    """Return the table."""
    attacks = list(study.suites.adversarial["pgd-apgd"].attacks)
    head = ["recipe", *(f"{name}, %" for name in ("clean", *attacks)), "best epoch", "seconds", "device"]
    lines = [
        f"# {study.title}",
        "",
        f"Written by `benchmarks/training_table.py` from `benchmarks/{STUDY.name}`; torch {torch.__version__}.",
        "",
        study.note,
        "",
        f"{rows[0]['training_images']:,} training images, {study.recipes['st'].schedule.epochs} epochs, one seed; the "
        f"best epoch on 1,000 selection images. Test: {rows[0]['accuracy']['clean']['total']:,} images, linf "
        f"{study.suites.adversarial['pgd-apgd'].threat.eps}, Wilson 95 % intervals. Seconds are wall time "
        "with selection, beside other work: do not compare them.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for row in rows:
        cells = row["accuracy"].values()
        lines.append(
            f"| {row['recipe']} | " + " | ".join(map(_cell, cells)) + f" | {row['best_epoch']} | {row['seconds']:.0f} "
            f"| {row['device']} |"
        )
    return "\n".join(lines) + "\n"


def _cell(accuracy: Row) -> str:
    return f"{100 * accuracy['accuracy']:.1f} ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder with cifar10 (default: %(default)s)")
    add("--cache", type=Path, default=Path("runs/benchmarks"), help="folder of the runs (default: %(default)s)")
    add("--recipes", nargs="+", metavar="RECIPE", help="some of them only; the table is of all that are finished")
    add("--results", type=Path, default=RESULTS, help="folder of training_table.json and .md (default: this one's)")
    arguments = parser.parse_args()
    study = load_study(str(STUDY))
    dataset = prepared(study, arguments.data, arguments.cache)
    for name in arguments.recipes or study.runs.recipe:
        print(measured(study, name, dataset, arguments.cache), flush=True)
    finished = [name for name in study.runs.recipe if (arguments.cache / study.name / name / "evaluate").exists()]
    rows = [measured(study, name, dataset, arguments.cache) for name in finished]
    arguments.results.mkdir(parents=True, exist_ok=True)
    write_json(arguments.results / "training_table.json", {"rows": rows})
    write_text(arguments.results / "training_table.md", markdown(study, rows))


if __name__ == "__main__":
    main()
