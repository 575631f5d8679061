"""A study as the other stages leave it on disk, with plausible numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nofrost.config import Study, Threat, load_study
from nofrost.data import Manifest, checksum, write_manifest, write_split
from nofrost.data.augmentation_set import AugmentationManifest, write_augmentation_manifest
from nofrost.files import read_json, write_json
from nofrost.results import (
    AdversarialMetrics,
    Alarm,
    AttackUse,
    BudgetCurve,
    BudgetPoint,
    CorruptionAccuracy,
    Epoch,
    EvaluationRecord,
    OodMetrics,
    Overfitting,
    ParameterGroup,
    PhaseMetrics,
    Proportion,
    Protocol,
    Selection,
    SeverityPoint,
    StepRecord,
    StepsCurve,
    StepsPoint,
    Timing,
    TrainMetrics,
    TrainRecord,
    write_result,
)

CLASSES = ("<zero> & co", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLEAN_ACCURACY = {"st": 0.985, "sat": 0.96, "mbnat": 0.972, "nofrost": 0.953}
ROBUST_ACCURACY = {"st": 0.02, "sat": 0.60, "mbnat": 0.45, "nofrost": 0.63}
STRENGTH = {"fgsm": 0.12, "pgd-20": 0.02, "apgd-ce-100": 0.0}
EPS = 32 / 255


def mean(accuracies: list[float]) -> dict[str, float]:
    value = float(np.mean(accuracies))
    return {"mean_accuracy": value, "mean_low": value - 0.031, "mean_high": value + 0.029}


@functools.cache
def digits(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    images = np.repeat(np.repeat(bunch.images, size // 8, 1), size // 8, 2)
    return (images * 255 / 16).round().astype(np.uint8)[..., None], bunch.target.astype(np.int64)


def make_dataset(folder: Path, test_images: int = 360) -> Path:
    images, labels = digits()
    splits = {}
    bounds = {"test": (0, test_images), "selection": (360, 504), "train": (504, 1797)}
    for name in ("train", "selection", "test"):
        rows = slice(*bounds[name])
        indices = np.arange(rows.start, rows.stop)
        splits[name] = write_split(folder / name, [images[rows]], (16, 16, 1), labels[rows], indices, 10)
    manifest = Manifest(
        name="digits",
        classes=CLASSES,
        image_size=(16, 16),
        channels=1,
        mean=(0.31,),
        std=(0.38,),
        splits=splits,
        provenance={"origin": "scikit-learn load_digits (Alpaydin & Kaynak 1998)", "digits": f"sha256:{'ab' * 32}"},
        licence="CC BY 4.0",
        config={},
    )
    write_manifest(folder, manifest)
    return folder


def make_augmentation(folder: Path, dataset: Path) -> Path:
    images, _ = digits()
    sets = {"deepaugment": 255 - images[504:], "tda": images[504:, ::-1]}
    for method, pixels in sets.items():
        (folder / method).mkdir(parents=True)
        np.save(folder / method / "images.npy", pixels)
    manifest = AugmentationManifest(
        dataset=checksum(dataset), count=1293, sha256=dict.fromkeys(sets, "0" * 64), provenance={}, config={}
    )
    write_augmentation_manifest(folder, manifest)
    return folder


def make_run(runs: Path, study: Study, recipe: str, seed: int, samples: int = 360) -> Path:
    folder = runs / recipe / f"seed-{seed}"
    rng = np.random.default_rng([seed, *recipe.encode()])
    _train(folder / "train", study, recipe, seed, rng)
    flags = _flags(study, recipe, seed, samples, rng)
    _attacked(folder / "evaluate-adversarial", study, recipe, flags, rng)
    _corrupted(folder / "evaluate-ood", study, recipe, samples)
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
    timing = Timing(seconds=83.7, images_per_second=1234.5, device="cpu (2 threads)")
    write_result(folder / "timing.json", timing)
    record = TrainRecord(**_record("train"), device="cpu", steps={"train": _step(adversarial)})
    write_result(folder / "record.json", record)


def _record(stage: str) -> dict[str, Any]:
    libraries = {"torch": "2.13.0", "torchvision": "0.28.0", "numpy": "2.4.6"}
    return {"stage": stage, "nofrost": "0.1.0", "config": {}, "inputs": {}, "seeds": {}, "libraries": libraries}


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
    )


def _flags(study: Study, recipe: str, seed: int, samples: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    jitter = int(rng.integers(-4, 5)) if seed else 0
    difficulty = np.random.default_rng(0).uniform(size=samples) * 0.8 + rng.uniform(size=samples) * 0.2
    order = np.argsort(np.argsort(difficulty))
    clean, robust = CLEAN_ACCURACY.get(recipe, 0.9), ROBUST_ACCURACY.get(recipe, 0.5)
    flags = {"clean": order < round(clean * samples)}
    for name in study.suites.adversarial.attacks:
        flags[name] = order < round((robust + STRENGTH.get(name, 0.05)) * samples) + jitter
    flags["worst-case"] = np.logical_and.reduce(list(flags.values()))
    return flags


def _attacked(folder: Path, study: Study, recipe: str, flags: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    suite = study.suites.adversarial
    samples = len(flags["clean"])
    clean, robust = CLEAN_ACCURACY.get(recipe, 0.9), ROBUST_ACCURACY.get(recipe, 0.5)
    branches = {}
    if study.recipes[recipe].model.normaliser == "mbn":
        by_branch = {"clean": (0.98, 0.2), "adversarial": (0.9, 0.6)}
        branches = {
            branch: {
                name: Proportion.of(round(accuracy * samples), samples)
                for name, accuracy in zip(("clean", "pgd-20"), accuracies, strict=True)
            }
            for branch, accuracies in by_branch.items()
        }
    masked = recipe == "mbnat"
    metrics = AdversarialMetrics(
        kind="adversarial",
        title=suite.title,
        protocol=suite.protocol,
        samples=samples,
        seed=suite.seed,
        threat=suite.threat,
        subset=False,
        cascade=suite.cascade,
        attacks={
            name: AttackUse(name=name, cumulative=suite.cascade and place > 0)
            for place, name in enumerate(suite.attacks)
        },
        accuracy={name: Proportion.of_flags(flag) for name, flag in flags.items()},
        not_converged=("apgd-ce-100", "worst-case") if masked and "apgd-ce-100" in suite.attacks else (),
        branches=branches,
        steps_curve=_steps_curve(clean, robust, samples, masked),
        budget_curve=_budget_curve(clean, robust, samples),
        alarms=_alarms(recipe, masked),
        properties={},
        weight_norms=None,
        batch_norm=(),
        indices_sha256=f"{samples:064d}",
    )
    write_result(folder / "metrics.json", metrics)
    record = EvaluationRecord(
        **_record("evaluate-adversarial"), split="test", protocol=_protocol(suite.title, suite.threat, samples)
    )
    write_result(folder / "record.json", record)
    images, labels = digits()
    predictions = np.where(flags["clean"], labels[:samples], (labels[:samples] + 1) % 10)
    arrays = {f"correct/{name}": flag for name, flag in flags.items()}
    np.savez(
        folder / "flags.npz", indices=np.arange(samples), labels=labels[:samples], predictions=predictions, **arrays
    )
    clean_images = images[:8].astype(np.float32) / 255
    adversarial = np.clip(clean_images + rng.choice([-EPS, EPS], clean_images.shape), 0, 1).astype(np.float32)
    np.savez(
        folder / "examples.npz",
        images=clean_images,
        adversarial=adversarial,
        labels=labels[:8],
        predictions=predictions[:8],
        adversarial_predictions=(labels[:8] + rng.integers(0, 2, 8)) % 10,
        attack=np.array(["pgd-20"]),
    )


def _steps_curve(clean: float, robust: float, samples: int, masked: bool) -> StepsCurve:
    points = tuple(
        StepsPoint.of(round((robust + (clean - robust) * np.exp(-n / 6)) * samples), samples, steps=n)
        for n in (1, 2, 5, 10, 20, 50, 100)
    )
    reason = f"falls by {'3.1' if masked else '0.0'} points from 50 to 100 steps"
    return StepsCurve(attack="apgd-ce", points=points, converged=not masked, slope_reason=reason)


def _budget_curve(clean: float, robust: float, samples: int) -> BudgetCurve:
    budgets = (
        ("8/255", "1/4", 8 / 255),
        ("16/255", "1/2", 16 / 255),
        ("32/255", "1", 32 / 255),
        ("48/255", "3/2", 48 / 255),
        ("64/255", "2", 64 / 255),
        ("1", "255/32", 1.0),
    )

    def remaining(value: float) -> int:
        return round(clean * np.exp(-((value / EPS) ** 1.5) * np.log(clean / max(robust, 0.01))) * samples)

    points = tuple(
        BudgetPoint.of(
            remaining(value), samples, eps=eps, multiple=multiple, value=value, norm="linf", unbounded=value == 1
        )
        for eps, multiple, value in budgets
    )
    return BudgetCurve(attack="pgd-20", points=points)


def _alarms(recipe: str, masked: bool) -> tuple[Alarm, ...]:
    falls = "Accuracy still falls by 3.1 points from 50 to 100 steps." if masked else "It is flat from 50 to 100 steps."
    return (
        Alarm(name="iterative at least as strong as single-step", status="pass", reason="PGD-20 is below FGSM."),
        Alarm(name="whole pixel range", status="pass", reason="Accuracy falls to 0.0 % in a ball of size 1."),
        Alarm(name="steps converged", status="fail" if masked else "pass", reason=falls),
        Alarm(
            name="attack agreement",
            status="warn" if recipe == "st" else "pass",
            reason="APGD-CE finds 2.2 points more than PGD at like steps.",
        ),
    )


def _protocol(title: str, threat: Threat, samples: int) -> Protocol:
    return Protocol(
        suite=title,
        suite_sha256="5" * 64,
        threat=threat,
        samples=samples,
        indices_sha256=f"{samples:064d}",
        data_sha256="d" * 64,
        seeds={"suite": 0},
        batch_size=256,
        reduced_batch_sizes={},
        dtype="float32",
        tf32=False,
        autocast=False,
        deterministic=True,
        device="cpu",
        devices=("A processor",),
        versions={"nofrost": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
    )


def _corrupted(folder: Path, study: Study, recipe: str, samples: int) -> None:
    suite = study.suites.ood
    clean = CLEAN_ACCURACY.get(recipe, 0.9)
    corruptions = {}
    for index, name in enumerate(suite.corruptions):
        severities = tuple(
            SeverityPoint.of(round(clean * (1 - 0.02 * (index + 1) * severity) * samples), samples, severity=severity)
            for severity in suite.severities
        )
        corruptions[name] = CorruptionAccuracy(severities=severities, **mean([point.accuracy for point in severities]))
    metrics = OodMetrics(
        kind="ood",
        title=suite.title,
        samples=samples,
        seed=suite.seed,
        clean=Proportion.of(round(clean * samples), samples),
        corruptions=corruptions,
        **mean([corruption.mean_accuracy for corruption in corruptions.values()]),
        averaging="unweighted mean over all corruptions and severities",
        indices_sha256=f"{samples:064d}",
    )
    write_result(folder / "metrics.json", metrics)
    images, labels = digits()
    image = images[0].astype(np.float32) / 255
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 0.2, (len(suite.corruptions), *image.shape)), 0, 1)
    np.savez(
        folder / "examples.npz",
        image=image,
        label=labels[:1],
        corrupted=noisy.astype(np.float32),
        names=np.array(suite.corruptions),
        severity=np.array([max(suite.severities)]),
    )


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


def study(*overrides: str) -> Study:
    return load_study("digits", overrides)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Return a function that makes a study on disk from the digits study and overrides."""
    return lambda *overrides: Tree(tmp_path, study(*overrides))


@pytest.fixture
def tree(make_tree: Callable[..., Tree]) -> Tree:
    return make_tree("runs.recipe=[st, mbnat]", "suites.ood.corruptions=[contrast]")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """The study with all four recipes and its report; not to be changed."""
    tree = Tree(tmp_path_factory.mktemp("whole"), study())
    return tree, tree.report()


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """Two recipes with three seeds each and their report; not to be changed."""
    tree = Tree(tmp_path_factory.mktemp("seeded"), study("runs.recipe=[sat, nofrost]", "runs.seed=[0, 1, 2]"))
    return tree, tree.report()
