"""Reading a study's runs: every file is checked against the study before a number of it is shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nofrost.config import Study
from nofrost.data import checksum, read_manifest
from nofrost.data.augmentation_set import augmentation_checksum
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.report.arrays import read_flags
from nofrost.report.runs import CLEAN, WORST_CASE, Collected, RecipeRuns, Run
from nofrost.results import (
    AdversarialMetrics,
    Epoch,
    EvaluationRecord,
    OodMetrics,
    Timing,
    TrainMetrics,
    TrainRecord,
    read_result,
    read_results,
)

FILES = {
    "train": ("metrics.json", "curves.json", "timing.json", "record.json"),
    "evaluate-adversarial": ("metrics.json", "record.json", "flags.npz", "examples.npz"),
    "evaluate-ood": ("metrics.json", "examples.npz"),
}
OF_LAYERS = "evaluate-adversarial/properties.npz"  # only where the suite asks for properties of the layers
_EVALUATE = "nofrost evaluate --study STUDY --suite {suite} --dataset DATASET --checkpoint {folder}/train"
COMMANDS = {
    "train": "nofrost train --study STUDY --recipe {recipe} --seed {seed} --dataset DATASET",
    "evaluate-adversarial": _EVALUATE.replace("{suite}", "adversarial"),
    "evaluate-ood": _EVALUATE.replace("{suite}", "ood"),
}


def collect(dataset: Path, augmentation: Path | None, runs: Path, study: Study) -> Collected:
    """Read everything the report shows.

    Args:
        dataset: output of the prepare stage.
        augmentation: output of the augment stage, or None when the study has no augmentation sets.
        runs: folder that holds ``<recipe>/seed-<seed>/`` for every run of the study.
        study: the study the runs belong to.

    Raises:
        UserError: a run is missing, a file is damaged, or a run was made with another study than this one.
    """
    inputs = {"dataset": checksum(dataset)}
    if augmentation is not None:
        inputs["augmentation"] = augmentation_checksum(augmentation)
    recipes = []
    for position, name in enumerate(study.runs.recipe):
        of_recipe = tuple(_read_run(runs, name, seed, study) for seed in study.runs.seed)
        inputs |= {f"runs/{run.name}": _checksum(run.folder) for run in of_recipe}
        recipes.append(RecipeRuns(name, position, study.recipes[name], of_recipe))
    return Collected(study, dataset, read_manifest(dataset), augmentation, tuple(recipes), inputs)


def _read_run(runs: Path, recipe: str, seed: int, study: Study) -> Run:
    folder = runs / recipe / f"seed-{seed}"
    _require_files(folder, recipe, seed)
    attacked = read_result(AdversarialMetrics, folder / "evaluate-adversarial" / "metrics.json")
    run = Run(
        recipe=recipe,
        seed=seed,
        folder=folder,
        train=read_result(TrainMetrics, folder / "train" / "metrics.json"),
        curves=read_results(Epoch, folder / "train" / "curves.json"),
        timing=read_result(Timing, folder / "train" / "timing.json"),
        record=read_result(TrainRecord, folder / "train" / "record.json"),
        adversarial=attacked,
        protocol=read_result(EvaluationRecord, folder / "evaluate-adversarial" / "record.json").protocol,
        ood=read_result(OodMetrics, folder / "evaluate-ood" / "metrics.json"),
        flags=read_flags(folder / "evaluate-adversarial" / "flags.npz", attacked),
    )
    _check_against(study, run)
    return run


def _require_files(folder: Path, recipe: str, seed: int) -> None:
    for stage, names in FILES.items():
        for name in names:
            path = folder / stage / name
            if not path.is_file():
                _refuse_shard(path.parent)
                missing = path if path.parent.is_dir() else path.parent
                command = COMMANDS[stage].format(recipe=recipe, seed=seed, folder=folder)
                made = f"make it with `{command} --out {folder / stage}`, or all runs with `dvc repro`"
                raise UserError(f"{missing} is missing: {made}")


def _refuse_shard(folder: Path) -> None:
    path = folder / "metrics.json"
    measured = read_json(path) if path.is_file() else None
    if isinstance(measured, dict) and "shard" in measured:
        raise UserError(
            f"{folder} holds only shard {measured['shard']} of an evaluation: merge all shards into this folder with "
            "`nofrost evaluate --merge SHARD`"
        )


def _check_against(study: Study, run: Run) -> None:
    suite, attacked, folder = study.suites.adversarial, run.adversarial, run.folder
    if (run.train.recipe, run.train.seed) != (run.recipe, run.seed):
        raise UserError(
            f"{folder / 'train'} holds recipe {run.train.recipe} with seed {run.train.seed}: train this run again"
        )
    found: tuple[tuple[str, str, object, object], ...] = (
        ("evaluate-adversarial", "protocol", attacked.protocol, suite.protocol),
        ("evaluate-adversarial", "norm", attacked.threat.norm, suite.threat.norm),
        ("evaluate-adversarial", "budget", attacked.threat.eps, suite.threat.eps),
        ("evaluate-ood", "corruptions", ", ".join(sorted(run.ood.corruptions)), _sorted(study)),
    )
    for stage, what, is_, wanted in found:
        if is_ != wanted:
            raise UserError(f"{folder / stage} has {what} {is_}, the study {wanted}: evaluate this run again")
    for condition in (CLEAN, *suite.attacks, WORST_CASE):
        if condition not in attacked.accuracy:
            raise UserError(f"{folder / 'evaluate-adversarial'} lacks {condition}: evaluate this run again")


def _sorted(study: Study) -> str:
    return ", ".join(sorted(study.suites.ood.corruptions))


def _checksum(folder: Path) -> str:
    """Return one SHA-256 for the files of a run that the report reads."""
    names = [f"{stage}/{name}" for stage, files in FILES.items() for name in files]
    if (folder / OF_LAYERS).is_file():
        names.append(OF_LAYERS)
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()
