"""A study as the other stages leave it on disk, with plausible numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nofrost.config import Study, load_study
from nofrost.files import read_json, write_json
from nofrost.results import (
    Epoch,
    Overfitting,
    ParameterGroup,
    PhaseMetrics,
    Proportion,
    Selection,
    StepRecord,
    Timing,
    TrainMetrics,
    TrainRecord,
    write_result,
)
from tests.report.dataset_on_disk import make_augmentation, make_dataset
from tests.report.evaluations_on_disk import CLEAN_ACCURACY, EPS, ROBUST_ACCURACY, make_evaluations, record_fields


def study(*overrides: str) -> Study:
    return load_study("digits", overrides)


class Tree:
    """A study on disk that a test can change before it makes the report."""

    def __init__(self, root: Path, study: Study) -> None:
        self.root, self.study = root, study
        self.dataset = make_dataset(root / "dataset")
        self.augmentation = make_augmentation(root / "augmentation", self.dataset)
        self.runs = root / "runs"
        for recipe in study.runs.recipe:
            for seed in study.runs.seed:
                make_run(self.runs, study, recipe, seed)

    def report(self, out: str = "report", augmentation: bool = True) -> Path:
        from nofrost.report import run

        folder = self.root / out
        run(self.dataset, self.augmentation if augmentation else None, self.runs, self.study, folder)
        return folder

    def run_again(self, recipe: str, samples: int) -> None:
        """Replace a run by one that was evaluated on other test images."""
        make_run(self.runs, self.study, recipe, 0, samples)

    def change(self, path: str, change: Callable[[Any], Any]) -> None:
        """Replace what the JSON file at `path` (below runs/) holds."""
        file = self.runs / path
        write_json(file, change(read_json(file)))


def make_run(runs: Path, study: Study, recipe: str, seed: int, samples: int = 360) -> Path:
    folder = runs / recipe / f"seed-{seed}"
    rng = np.random.default_rng([seed, *recipe.encode()])
    _train(folder / "train", study, recipe, seed, rng)
    make_evaluations(folder, study, recipe, seed, samples, rng)
    return folder


def _train(folder: Path, study: Study, recipe: str, seed: int, rng: np.random.Generator) -> None:
    epochs = study.recipes[recipe].schedule.epochs
    clean, robust = CLEAN_ACCURACY.get(recipe, 0.9), ROBUST_ACCURACY.get(recipe, 0.5)
    adversarial = recipe != "st"
    metrics = TrainMetrics(
        recipe=recipe,
        seed=seed,
        parameters=78_042,
        trained_parameters=78_042,
        phases={"train": PhaseMetrics(epochs=epochs, trained_parameters=78_042)},
        epochs=epochs,
        best_epoch=max(1, epochs - 1),
        selection=Selection(
            clean=Proportion.of(round(clean * 144), 144),
            attacked=Proportion.of(round(robust * 144), 144) if adversarial else None,
            score=0.8,
        ),
        training_images=1293,
        overfitting=Overfitting(catastrophic=None, robust=None),
        stopped_early=None,
    )
    write_result(folder / "metrics.json", metrics)
    write_result(folder / "curves.json", _curves(epochs, clean, robust if adversarial else None, rng))
    timing = Timing(seconds=83.7, images_per_second=1234.5, data_wait=0.03, device="cpu (2 threads)")
    write_result(folder / "timing.json", timing)
    record = TrainRecord(**record_fields("train"), device="cpu", steps={"train": _step(adversarial)}, window=None)
    write_result(folder / "record.json", record)


def _curves(epochs: int, clean: float, robust: float | None, rng: np.random.Generator) -> list[Epoch]:
    grow = 1 - np.exp(-np.arange(1, epochs + 1) / 2.5)
    noise = rng.normal(0, 0.01, epochs)
    return [
        Epoch(
            epoch=epoch + 1,
            phase="train",
            loss=2.2 * float(np.exp(-epoch / 4)) + (0.02 if robust is None else 0.4),
            lr=0.1,
            eps=EPS,
            train_clean=clean * float(grow[epoch]),
            train_augmented=None,
            train_adversarial=None if robust is None else robust * float(grow[epoch]) + 0.01 * epoch,
            selection_clean=float(np.clip(clean * grow[epoch] + noise[epoch], 0, 1)),
            selection_attacked=None if robust is None else float(np.clip(robust * grow[epoch] + noise[epoch], 0, 1)),
        )
        for epoch in range(epochs)
    ]


def _step(adversarial: bool) -> StepRecord:
    return StepRecord(
        images={"clean": 64, "adversarial": 64} if adversarial else {"clean": 64},
        image_size=(16, 16),
        attack={"name": "pgd", "steps": 7} if adversarial else None,
        forward_train=2 if adversarial else 1,
        forward_eval=7 if adversarial else 0,
        backward=8 if adversarial else 1,
        batch_norm_updates={"clean": 1, "adversarial": 1} if adversarial else {"bn": 1},
        updates=1,
        trained_parameters=78_042,
        optimiser={"weights": ParameterGroup(parameters=78_042, weight_decay=5e-4, lr_scale=1.0)},
        world_size=1,
        images_per_rank=64,
        accumulation=1,
    )
