"""Read the runs of a study, and check every file against the study."""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite, Study, Suite
from nofrost.data import Manifest
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.report import text
from nofrost.report.collect_ood import check_alike, check_ood
from nofrost.report.flags import read_flags, read_ood_flags
from nofrost.report.prepared_dataset import PreparedDataset
from nofrost.report.recorded_suite import WORDS_AND_BATCHES, check_recorded_suite
from nofrost.report.runs import (
    CLEAN,
    WORST_CASE,
    Attacked,
    AttackedRun,
    Collected,
    RecipeRuns,
    Run,
    Shifted,
    ShiftedRun,
)
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

_TRAINING = ("metrics.json", "curves.json", "timing.json", RECORD)
_EVALUATION = ("metrics.json", RECORD, "flags.npz", "examples.npz")
# Exists only where the suite asks for properties of the layers.
LAYER_ARRAYS = "properties.npz"
# The accuracies are right whatever these were: a table says on how many images, and the view is checked as it was used.
_OF_NO_NUMBER = (*WORDS_AND_BATCHES, "view", "max_images")
R = TypeVar("R", bound=Run)
M = TypeVar("M", Attacked, Shifted)


def stages_of(study: Study) -> dict[str, tuple[str, ...]]:
    """Return the stages of a run, by their folders below that of the run, with the files that the report reads."""
    evaluations: dict[str, tuple[str, ...]] = {f"evaluate-{key}": _EVALUATION for key in study.suites.by_key}
    return {"train": _TRAINING, **evaluations}


def collect(dataset: Path, augmentation: Path | None, runs: Path, study: Study, gate: Path | None = None) -> Collected:
    """Read everything that the report shows.

    Args:
        dataset: output of the prepare stage. Further datasets are beside it, in ``datasets/<name>``.
        augmentation: output of the augment stage, or None when the study has no augmentation sets. Those of further
            datasets are beside it, in ``augmentations/<name>``.
        runs: folder that holds ``<recipe>/seed-<seed>/`` for every run of the study.
        study: the study the runs belong to.
        gate: file in which a gate wrote its decision on these runs; None if there was none.

    Raises:
        UserError: a run is missing, a file is damaged, or a run or the decision belongs to another study.
    """
    places = [
        PreparedDataset(
            name, dataset.with_name("datasets") / name, augmentation and augmentation.with_name("augmentations") / name
        )
        if name
        else PreparedDataset(name, dataset, augmentation)
        for name in study.runs.by_dataset
    ]
    inputs: dict[str, str] = {}
    for place in places:
        inputs |= place.inputs()
    positions = {name: position for position, name in enumerate(study.runs.recipes)}
    recipes: dict[str, list[RecipeRuns[Run]]] = {}
    for place in places:
        for name in study.runs.by_dataset[place.name]:
            recipe_runs = tuple(_read_run(runs, name, seed, study) for seed in study.runs.seed)
            title = place.title if study.datasets else ""
            made = RecipeRuns(name, positions[name], study.recipes[name], recipe_runs, title)
            recipes.setdefault(place.name, []).append(made)
            inputs |= {f"runs/{run.name}": _checksum(run.folder, study) for run in recipe_runs}
            if study.datasets:
                place.check_trained(recipe_runs)
    attacked = {place.name: _all_measured(Attacked, study, place, recipes[place.name]) for place in places}
    shifted = {place.name: _all_measured(Shifted, study, place, recipes[place.name]) for place in places}
    for each in itertools.chain(*shifted.values()):
        check_alike(list(each.runs))
    if study.datasets:
        for place in places:
            evaluated: list[Attacked | Shifted] = [*attacked[place.name], *shifted[place.name]]
            for of_suite in evaluated:
                place.check_evaluated(of_suite.runs)
    decided = read_result(GateMetrics, gate) if gate else None
    if decided and gate:
        inputs["gate"] = sha256_file(gate)
        on_dataset = {run.name for each in recipes[""] for run in each.runs}
        if decided.study != study.name or decided.challenger.name not in on_dataset:
            raise UserError(f"{gate} is about {decided.challenger.name} of study {decided.study}: run the gate again")
    parts = [
        Collected(
            **place.seen(study),
            recipes=tuple(recipes[place.name]),
            attacked=attacked[place.name],
            shifted=shifted[place.name],
            gate=None if place.name else decided,
            inputs=inputs,
        )
        for place in places
    ]
    if not study.datasets:
        return parts[0]
    return replace(
        parts[0],
        recipes=tuple(itertools.chain(*recipes.values())),
        attacked=tuple(itertools.chain(*attacked.values())),
        shifted=tuple(itertools.chain(*shifted.values())),
        parts=tuple(parts),
    )


def _all_measured(
    of_kind: type[M], study: Study, place: PreparedDataset, recipes: Sequence[RecipeRuns[Run]]
) -> tuple[M, ...]:
    """Return what the suites of a kind measured of the runs on one dataset."""
    suites: Mapping[str, Any] = study.suites.adversarial if of_kind is Attacked else study.suites.ood
    read: Callable[..., Any] = _read_attacked if of_kind is Attacked else _read_shifted
    return tuple(
        of_kind(
            **place.seen(study),
            recipes=_measured(recipes, partial(read, name=name, suite=suite, manifest=place.manifest)),
            suite_id=name,
            suite=suite,
            heading=", ".join(filter(None, (_heading(name, suites), place.title if study.datasets else ""))),
            dataset_id=place.name,
        )
        for name, suite in suites.items()
    )


def _heading(name: str, suites: Mapping[str, Suite]) -> str:
    """Return what tells a suite from the others of its kind: its title, and its name where another has that title."""
    if len(suites) == 1:
        return ""
    titles = [suite.title for suite in suites.values()]
    title = suites[name].title
    return title if titles.count(title) == 1 else f"{title} ({name})"


def _measured(recipes: Sequence[RecipeRuns[Run]], read: Callable[[Run], R]) -> tuple[RecipeRuns[R], ...]:
    """Return the runs of all recipes as a suite measured them, given what reads that of a run."""
    return tuple(
        RecipeRuns(each.name, each.position, each.recipe, tuple(read(run) for run in each.runs), each.dataset)
        for each in recipes
    )


def _read_run(runs: Path, recipe: str, seed: int, study: Study) -> Run:
    folder = runs / recipe / f"seed-{seed}"
    _require_files(folder, recipe, seed, study)
    run = Run(
        recipe=recipe,
        seed=seed,
        folder=folder,
        train=read_result(TrainMetrics, folder / "train" / "metrics.json"),
        curves=read_results(Epoch, folder / "train" / "curves.json"),
        timing=read_result(Timing, folder / "train" / "timing.json"),
        record=read_result(TrainRecord, folder / "train" / RECORD),
    )
    if (run.train.recipe, run.train.seed) != (run.recipe, run.seed):
        raise UserError(
            f"{folder / 'train'} contains recipe {run.train.recipe} with seed {run.train.seed}: train this run again"
        )
    return run


def _read_attacked(run: Run, name: str, suite: AdversarialSuite, manifest: Manifest) -> AttackedRun:
    folder = run.folder / "evaluate-adversarial" / name
    metrics = read_result(AdversarialMetrics, folder / "metrics.json")
    record = read_result(EvaluationRecord, folder / RECORD)
    _check_suite(record, suite, manifest, folder)
    for condition in (CLEAN, *suite.attacks, WORST_CASE):
        if condition not in metrics.accuracy:
            raise UserError(f"{folder} lacks {condition}: evaluate this run again")
    flags = read_flags(folder / "flags.npz", metrics)
    return AttackedRun(**vars(run), evaluation=folder, adversarial=metrics, protocol=record.protocol, flags=flags)


def _read_shifted(run: Run, name: str, suite: OodSuite, manifest: Manifest) -> ShiftedRun:
    folder = run.folder / "evaluate-ood" / name
    metrics = read_result(OodMetrics, folder / "metrics.json")
    record = read_result(EvaluationRecord, folder / RECORD)
    _check_suite(record, suite, manifest, folder)
    check_ood(suite, metrics, folder)
    flags = read_ood_flags(folder / "flags.npz", metrics)
    return ShiftedRun(**vars(run), evaluation=folder, ood=metrics, protocol=record.protocol, flags=flags)


def _check_suite(record: EvaluationRecord, suite: Suite, manifest: Manifest, folder: Path) -> None:
    # Where batch norms take the statistics of a batch, its size decides the numbers.
    is_by_batch = isinstance(suite, AdversarialSuite) and suite.batch_statistics == "batch"
    ignored = [key for key in _OF_NO_NUMBER if not (is_by_batch and key == "batch_size")]
    check_recorded_suite(record.config, suite, folder, ignored)
    actual, expected = text.view(record.protocol.view), text.view(suite.view or manifest.view)
    if actual != expected:
        raise UserError(f"{folder} has view {actual}, the study {expected}: evaluate this run again")


def _require_files(folder: Path, recipe: str, seed: int, study: Study) -> None:
    for stage, names in stages_of(study).items():
        for name in names:
            path = folder / stage / name
            if not path.is_file():
                _check_not_a_shard(path.parent)
                missing = path if path.parent.is_dir() else path.parent
                command = _command(stage, recipe, seed, folder, study)
                remedy = f"make it with `{command} --out {folder / stage}`, or all runs with `dvc repro`"
                raise UserError(f"{missing} is missing: {remedy}")


def _command(stage: str, recipe: str, seed: int, folder: Path, study: Study) -> str:
    """Return the command that makes an output of a run, up to its --out."""
    if stage == "train":
        return f"nofrost train --study STUDY --recipe {recipe} --seed {seed} --dataset DATASET"
    key = stage.removeprefix("evaluate-")
    suite = study.suites.by_key[key]
    test_sets = " --test-sets TEST_SETS" if isinstance(suite, OodSuite) and suite.test_sets else ""
    return f"nofrost evaluate --study STUDY --suite {key} --dataset DATASET --checkpoint {folder}/train{test_sets}"


def _check_not_a_shard(folder: Path) -> None:
    path = folder / "metrics.json"
    metrics = read_json(path) if path.is_file() else None
    if isinstance(metrics, dict) and "shard" in metrics:
        raise UserError(
            f"{folder} contains only shard {metrics['shard']} of an evaluation: merge all shards into this folder with "
            "`nofrost evaluate --merge SHARD`"
        )


def _checksum(folder: Path, study: Study) -> str:
    """Return one SHA-256 for the files of a run that the report reads."""
    stages = stages_of(study)
    names = [f"{stage}/{name}" for stage, files in stages.items() for name in files]
    names += [name for stage in stages if (folder / (name := f"{stage}/{LAYER_ARRAYS}")).is_file()]
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class BatchNorm:
    """Arrays [C] of one batch norm: its state (mean, variance, weight, bias), and mean and variance by mini-batch."""

    layer: str
    state: dict[str, NDArray[np.float32]]
    mini_batches: dict[str, dict[str, NDArray[np.float32]]]


def read_property_values(run: AttackedRun) -> dict[str, NDArray[np.float64]]:
    """Return the values [N] of each property of a run; empty where the suite did not ask for any.

    Raises:
        UserError: a file is damaged, or its values are not those of the summary.
    """
    path, summaries = run.evaluation / "flags.npz", run.adversarial.properties
    arrays = read_arrays(path) if summaries else {}
    return {
        name: _property_values(arrays.get(f"properties/{name}"), summary, f"{path}: properties/{name}")
        for name, summary in summaries.items()
    }


def read_batch_norms(run: AttackedRun) -> dict[str, list[BatchNorm]]:
    """Return by branch the batch norms of a run in the model's order; empty where the suite did not ask for them.

    Raises:
        UserError: the file is damaged.
    """
    path = run.evaluation / LAYER_ARRAYS
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
