"""Read the runs of a study, and check every file against the study."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import Study
from nofrost.data import Manifest, checksum, read_manifest
from nofrost.data.arrays import read_arrays
from nofrost.data.augmentation_set import augmentation_checksum
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.report import text
from nofrost.report.collect_ood import check_alike, check_ood
from nofrost.report.flags import read_flags, read_ood_flags
from nofrost.report.runs import CLEAN, WORST_CASE, Collected, RecipeRuns, Run
from nofrost.results import (
    AdversarialMetrics,
    Epoch,
    EvaluationRecord,
    GateMetrics,
    OodMetrics,
    PropertySummary,
    Timing,
    TrainMetrics,
    TrainRecord,
    read_result,
    read_results,
)
from nofrost.stage import RECORD

FILES = {
    "train": ("metrics.json", "curves.json", "timing.json", RECORD),
    "evaluate-adversarial": ("metrics.json", RECORD, "flags.npz", "examples.npz"),
    "evaluate-ood": ("metrics.json", RECORD, "flags.npz", "examples.npz"),
}
# Exists only where the suite asks for properties of the layers.
LAYER_ARRAYS = "evaluate-adversarial/properties.npz"
_EVALUATE = "nofrost evaluate --study STUDY --suite {suite} --dataset DATASET --checkpoint {folder}/train"
COMMANDS = {
    "train": "nofrost train --study STUDY --recipe {recipe} --seed {seed} --dataset DATASET",
    "evaluate-adversarial": _EVALUATE.replace("{suite}", "adversarial"),
    "evaluate-ood": _EVALUATE.replace("{suite}", "ood"),
}


def collect(dataset: Path, augmentation: Path | None, runs: Path, study: Study, gate: Path | None = None) -> Collected:
    """Read everything that the report shows.

    Args:
        dataset: output of the prepare stage.
        augmentation: output of the augment stage, or None when the study has no augmentation sets.
        runs: folder that holds ``<recipe>/seed-<seed>/`` for every run of the study.
        study: the study the runs belong to.
        gate: file in which a gate wrote its decision on these runs; None if there was none.

    Raises:
        UserError: a run is missing, a file is damaged, or a run or the decision belongs to another study.
    """
    inputs = {"dataset": checksum(dataset)}
    if augmentation is not None:
        inputs["augmentation"] = augmentation_checksum(augmentation)
    manifest = read_manifest(dataset)
    recipes = []
    for position, name in enumerate(study.runs.recipe):
        recipe_runs = tuple(_read_run(runs, name, seed, study, manifest) for seed in study.runs.seed)
        inputs |= {f"runs/{run.name}": _checksum(run.folder) for run in recipe_runs}
        recipes.append(RecipeRuns(name, position, study.recipes[name], recipe_runs))
    check_alike([run for each in recipes for run in each.runs])
    decided = read_result(GateMetrics, gate) if gate else None
    if decided and gate:
        inputs["gate"] = sha256_file(gate)
        if decided.study != study.name or decided.challenger.name not in {
            run.name for each in recipes for run in each.runs
        }:
            raise UserError(f"{gate} is about {decided.challenger.name} of study {decided.study}: run the gate again")
    return Collected(study, dataset, manifest, augmentation, tuple(recipes), decided, inputs)


def _read_run(runs: Path, recipe: str, seed: int, study: Study, manifest: Manifest) -> Run:
    folder = runs / recipe / f"seed-{seed}"
    _require_files(folder, recipe, seed)
    adversarial = read_result(AdversarialMetrics, folder / "evaluate-adversarial" / "metrics.json")
    ood = read_result(OodMetrics, folder / "evaluate-ood" / "metrics.json")
    ood_record = read_result(EvaluationRecord, folder / "evaluate-ood" / RECORD)
    run = Run(
        recipe=recipe,
        seed=seed,
        folder=folder,
        train=read_result(TrainMetrics, folder / "train" / "metrics.json"),
        curves=read_results(Epoch, folder / "train" / "curves.json"),
        timing=read_result(Timing, folder / "train" / "timing.json"),
        record=read_result(TrainRecord, folder / "train" / RECORD),
        adversarial=adversarial,
        protocol=read_result(EvaluationRecord, folder / "evaluate-adversarial" / RECORD).protocol,
        ood=ood,
        ood_protocol=ood_record.protocol,
        ood_flags=read_ood_flags(folder / "evaluate-ood" / "flags.npz", ood),
        flags=read_flags(folder / "evaluate-adversarial" / "flags.npz", adversarial),
    )
    _check_against(study, run, manifest)
    check_ood(study.suites.ood, ood, ood_record.config, folder / "evaluate-ood")
    return run


def _require_files(folder: Path, recipe: str, seed: int) -> None:
    for stage, names in FILES.items():
        for name in names:
            path = folder / stage / name
            if not path.is_file():
                _check_not_a_shard(path.parent)
                missing = path if path.parent.is_dir() else path.parent
                command = COMMANDS[stage].format(recipe=recipe, seed=seed, folder=folder)
                remedy = f"make it with `{command} --out {folder / stage}`, or all runs with `dvc repro`"
                raise UserError(f"{missing} is missing: {remedy}")


def _check_not_a_shard(folder: Path) -> None:
    path = folder / "metrics.json"
    metrics = read_json(path) if path.is_file() else None
    if isinstance(metrics, dict) and "shard" in metrics:
        raise UserError(
            f"{folder} contains only shard {metrics['shard']} of an evaluation: merge all shards into this folder with "
            "`nofrost evaluate --merge SHARD`"
        )


def _check_against(study: Study, run: Run, manifest: Manifest) -> None:
    suite, adversarial, folder = study.suites.adversarial, run.adversarial, run.folder
    if (run.train.recipe, run.train.seed) != (run.recipe, run.seed):
        raise UserError(
            f"{folder / 'train'} contains recipe {run.train.recipe} with seed {run.train.seed}: train this run again"
        )
    settings: tuple[tuple[str, str, object, object], ...] = (
        ("evaluate-adversarial", "protocol", adversarial.protocol, suite.protocol),
        ("evaluate-adversarial", "norm", adversarial.threat.norm, suite.threat.norm),
        ("evaluate-adversarial", "budget", adversarial.threat.eps, suite.threat.eps),
        ("evaluate-adversarial", "view", text.view(run.protocol.view), text.view(suite.view or manifest.view)),
        ("evaluate-ood", "view", text.view(run.ood_protocol.view), text.view(study.suites.ood.view or manifest.view)),
    )
    for stage, name, actual, expected in settings:
        if actual != expected:
            raise UserError(f"{folder / stage} has {name} {actual}, the study {expected}: evaluate this run again")
    for condition in (CLEAN, *suite.attacks, WORST_CASE):
        if condition not in adversarial.accuracy:
            raise UserError(f"{folder / 'evaluate-adversarial'} lacks {condition}: evaluate this run again")


def _checksum(folder: Path) -> str:
    """Return one SHA-256 for the files of a run that the report reads."""
    names = [f"{stage}/{name}" for stage, files in FILES.items() for name in files]
    if (folder / LAYER_ARRAYS).is_file():
        names.append(LAYER_ARRAYS)
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class BatchNorm:
    """Arrays [C] of one batch norm: its state (mean, variance, weight, bias), and mean and variance by mini-batch."""

    layer: str
    state: dict[str, NDArray[np.float32]]
    mini_batches: dict[str, dict[str, NDArray[np.float32]]]


def read_property_values(run: Run) -> dict[str, NDArray[np.float64]]:
    """Return the values [N] of each property of a run; empty where the suite did not ask for any.

    Raises:
        UserError: a file is damaged, or its values are not those of the summary.
    """
    path, summaries = run.folder / "evaluate-adversarial" / "flags.npz", run.adversarial.properties
    arrays = read_arrays(path) if summaries else {}
    return {
        name: _property_values(arrays.get(f"properties/{name}"), summary, f"{path}: properties/{name}")
        for name, summary in summaries.items()
    }


def read_batch_norms(run: Run) -> dict[str, list[BatchNorm]]:
    """Return by branch the batch norms of a run in the model's order; empty where the suite did not ask for them.

    Raises:
        UserError: the file is damaged.
    """
    path = run.folder / LAYER_ARRAYS
    return _batch_norms(read_arrays(path) if path.is_file() else {})


def _property_values(values: NDArray[Any] | None, summary: PropertySummary, origin: str) -> NDArray[np.float64]:
    if values is not None and values.dtype == np.float64 and values.shape == (summary.total,):
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else None
        if mean == summary.mean or (mean and summary.mean and math.isclose(mean, summary.mean, rel_tol=1e-9)):
            return values
    raise UserError(f"{origin} is not {summary.total} values of the mean in metrics.json: evaluate this run again")


def _batch_norms(arrays: dict[str, NDArray[Any]]) -> dict[str, list[BatchNorm]]:
    norms: dict[str, dict[str, BatchNorm]] = {}
    for branch, layer, value, values in _split_names("batch_norm", arrays):
        norms.setdefault(branch, {}).setdefault(layer, BatchNorm(layer, {}, {})).state[value] = values
    for batch, layer, value, values in _split_names("mini_batches", arrays):
        # A mini-batch of clean images passes the clean branch of a mixture, or a batch norm without branches.
        for branch in ("all", batch.partition("-")[0]):
            if layer in norms.get(branch, {}):
                norms[branch][layer].mini_batches.setdefault(batch, {})[value] = values
    return {branch: list(by_layer.values()) for branch, by_layer in norms.items()}


def _split_names(prefix: str, arrays: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str, str, NDArray[Any]]]:
    """Yield group, layer, value and array of each array that is called PREFIX/GROUP/LAYER/VALUE."""
    for name, values in arrays.items():
        if name.startswith(f"{prefix}/"):
            _, group, path = name.split("/", 2)
            layer, _, value = path.rpartition("/")
            yield group, layer, value, values
