"""Reading a study's runs: every file is checked against the study before a number of it is shown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import Study
from nofrost.data import checksum, read_manifest
from nofrost.data.arrays import read_arrays
from nofrost.data.augmentation_set import augmentation_checksum
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.report.runs import CLEAN, WORST_CASE, Collected, RecipeRuns, Run
from nofrost.results import (
    AdversarialMetrics,
    Epoch,
    EvaluationRecord,
    OodMetrics,
    PropertySummary,
    Timing,
    TrainMetrics,
    TrainRecord,
    WeightNorms,
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


def read_flags(path: Path, metrics: AdversarialMetrics) -> dict[str, NDArray[np.bool_]]:
    """Return for each condition whether each test image was right: bool [N].

    Raises:
        UserError: the flags do not add up to the accuracies of `metrics`.
    """
    flags = {}
    arrays = read_arrays(path)
    for condition, share in metrics.accuracy.items():
        flag = arrays.get(f"correct/{condition}")
        if flag is None or flag.dtype != np.bool_ or flag.shape != (share.total,) or flag.sum() != share.correct:
            raise UserError(
                f"{path}: correct/{condition} is not {share.correct} of {share.total} images as in metrics.json: "
                "evaluate this run again"
            )
        flags[condition] = flag
    return flags


@dataclass(frozen=True)
class BatchNorm:
    """The arrays [C] of one batch norm: `held` by value (mean, variance, weight, bias), and by mini-batch what that
    has for mean and variance."""

    layer: str
    held: dict[str, NDArray[np.float32]]
    mini_batches: dict[str, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class RunProperties:
    """What was measured of one run beside its accuracy; what was not is empty.

    Args:
        summaries: by property.
        values: by property, [N].
        weight_norms: of the layers.
        batch_norms: by branch, the batch norms in the model's order.
    """

    summaries: dict[str, PropertySummary]
    values: dict[str, NDArray[np.float64]]
    weight_norms: WeightNorms | None
    batch_norms: dict[str, list[BatchNorm]]


def read_properties(run: Run) -> RunProperties:
    """Return the properties of a run.

    Raises:
        UserError: a file is damaged, or its values are not those of the summary.
    """
    folder = run.folder / "evaluate-adversarial"
    metrics = run.adversarial
    arrays = read_arrays(folder / "flags.npz") if metrics.properties else {}
    values = {
        name: _checked(arrays.get(f"properties/{name}"), summary, f"{folder / 'flags.npz'}: properties/{name}")
        for name, summary in metrics.properties.items()
    }
    path = folder / "properties.npz"
    of_layers = read_arrays(path) if path.is_file() else {}
    return RunProperties(metrics.properties, values, metrics.weight_norms, _batch_norms(of_layers))


def _checked(values: NDArray[Any] | None, summary: PropertySummary, origin: str) -> NDArray[np.float64]:
    if values is not None and values.dtype == np.float64 and values.shape == (summary.total,):
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else None
        if mean == summary.mean or (mean and summary.mean and math.isclose(mean, summary.mean, rel_tol=1e-9)):
            return values
    raise UserError(f"{origin} is not {summary.total} values of the mean in metrics.json: evaluate this run again")


def _batch_norms(arrays: dict[str, NDArray[Any]]) -> dict[str, list[BatchNorm]]:
    found: dict[str, dict[str, BatchNorm]] = {}
    for branch, layer, value, values in _of_kind("batch_norm", arrays):
        found.setdefault(branch, {}).setdefault(layer, BatchNorm(layer, {}, {})).held[value] = values
    for batch, layer, value, values in _of_kind("mini_batches", arrays):
        for branch in ("all", batch.partition("-")[0]):
            if layer in found.get(branch, {}):
                found[branch][layer].mini_batches.setdefault(batch, {})[value] = values
    return {branch: list(norms.values()) for branch, norms in found.items()}


def _of_kind(kind: str, arrays: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str, str, NDArray[Any]]]:
    """Yield group, layer, value and array of what is called KIND/GROUP/LAYER/VALUE."""
    for name, values in arrays.items():
        if name.startswith(f"{kind}/"):
            _, group, place = name.split("/", 2)
            layer, _, value = place.rpartition("/")
            yield group, layer, value, values
