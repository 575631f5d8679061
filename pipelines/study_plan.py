"""The plan of a study: its runs, and the configuration of each stage, which the graph is compiled with."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nofrost.config import DatasetSpec, OodSuite, Study, TestSets, study_as_yaml
from nofrost.config.base import Schema
from nofrost.config.trainings import starts_in
from nofrost.errors import UserError
from nofrost.tasks import check_study
from nofrost.tasks.ascii_text import to_ascii
from nofrost.tasks.test_set_task import is_remote
from nofrost.tasks.workspace import is_ref


@dataclass(frozen=True)
class RunPlan:
    """One recipe with one seed.

    Attributes:
        recipe: the recipe as JSON.
        start: id of the recipe whose training with this seed has done the first phases of this one; empty for none.
        dataset: name of the further dataset that it is on; empty for the dataset of the study.
    """

    recipe_id: str
    seed: str
    recipe: str
    start: str = ""
    dataset: str = ""


@dataclass(frozen=True)
class PlannedDataset:
    """A further dataset and its augmentation, as JSON.

    Attributes:
        is_inside: whether its path is inside the source of the dataset of the study: it begins with the name of that.
    """

    name: str
    dataset: str
    augmentation: str
    is_inside: bool = True


@dataclass(frozen=True)
class PlannedSuite:
    """One suite: `suite` is the suite as JSON.

    Attributes:
        test_sets: the further test sets of an ood suite, as JSON, with paths inside the source of the dataset.
    """

    suite_id: str
    suite: str
    test_sets: str = "{}"


@dataclass(frozen=True)
class StudyPlan:
    """A study as text in ASCII: each stage gets only its own part, and runs again only if that part changes.

    Attributes:
        study: all of it, as YAML.
        dataset, augmentation: its parts, as JSON.
        further: its further datasets.
        champion: the name of the study if it has a gate; empty otherwise.
        gate_suites: the suites that the gate compares on: an adversarial one, and an ood suite if there is one.
    """

    study: str
    dataset: str
    augmentation: str
    adversarial: tuple[PlannedSuite, ...]
    ood: tuple[PlannedSuite, ...]
    runs: tuple[RunPlan, ...]
    champion: str = ""
    gate_suites: tuple[PlannedSuite | None, PlannedSuite | None] = (None, None)
    further: tuple[PlannedDataset, ...] = ()

    @property
    def has_starts(self) -> bool:
        """Whether a training starts from another."""
        return any(run.start for run in self.runs)


def plan_study(study: Study, gpus: int, nodes: int) -> StudyPlan:
    """Check a study and return its plan.

    Args:
        gpus: on each node of a training.
        nodes: of each training.

    Raises:
        UserError: the study is wrong, needs a file of this machine, or has a batch that its processes cannot share.
    """
    study = check_study(study)
    _check_files(study)
    _check_batches(study, gpus, nodes)
    recipes = {name: _as_text(study.recipes[name]) for name in study.runs.recipes}
    adversarial = {name: PlannedSuite(name, _as_text(suite)) for name, suite in study.suites.adversarial.items()}
    ood = {
        name: PlannedSuite(name, _as_text(suite), _as_text(_inside_source(study, name, suite)))
        for name, suite in study.suites.ood.items()
    }
    first = starts_in(study.trainings | study.further.trainings, study.runs.recipes)
    attacked, shifted = study.gate_suites if study.gate else (None, None)
    return StudyPlan(
        study=to_ascii(study_as_yaml(study)),
        dataset=_as_text(study.dataset),
        augmentation=_as_text(study.augmentation),
        adversarial=tuple(adversarial.values()),
        ood=tuple(ood.values()),
        runs=tuple(
            RunPlan(name, str(seed), recipes[name], first.get(name, ""), dataset)
            for dataset, names in study.runs.by_dataset.items()
            for name in _in_order(names, first)
            for seed in study.runs.seed
        ),
        champion=study.name if study.gate else "",
        gate_suites=(adversarial.get(attacked or ""), ood.get(shifted or "")),
        further=tuple(
            PlannedDataset(name, _as_text(spec), _as_text(study.augmentations[name]), is_inside)
            for name in study.datasets
            for spec, is_inside in [_with_place(study, name)]
        ),
    )


def _in_order(recipes: Iterable[str], first: Mapping[str, str]) -> list[str]:
    """Return recipes, each after the one that it starts from."""

    def depth(recipe: str) -> int:
        return 1 + depth(first[recipe]) if recipe in first else 0

    return sorted(recipes, key=depth)


def _check_files(study: Study) -> None:
    """Raise UserError if a task would need a file of this machine, other than the source data."""
    from nofrost.augment import resolve_methods

    methods = resolve_methods(study.augmentation, study.name, ("augmentation",))
    for name in study.augmentation.methods:
        for setting in methods[name].files():
            raise UserError(
                f"augmentation.{name}.{setting} is a file of one machine, which containers do not have: omit it"
            )
    for name, recipe in study.recipes.items():
        if recipe.model.weights is not None and not is_ref(recipe.model.weights):
            raise UserError(
                f"recipes.{name}.model.weights is a file of one machine, which containers do not have: store it "
                "with `nofrost store push` and use the ref that it prints"
            )


def _inside_source(study: Study, suite_id: str, suite: OodSuite) -> TestSets:
    """Return the further test sets of a suite as a task finds them: paths begin with the name of ``dataset.path``.

    Raises:
        UserError: one is elsewhere on this machine.
    """
    from nofrost.prepare import resolve_test_set

    specs = {}
    for name, spec in suite.test_sets.items():
        source = resolve_test_set(name, spec, None, study.name, ("suites", "ood", suite_id, "test_sets"))
        where = f"suites.ood.{suite_id}.test_sets.{name}.path"
        path = _place(study, spec.path, where) if source.needs_path else spec.path
        specs[name] = spec.model_copy(update={"path": path})
    return TestSets(test_sets=specs)


def _with_place(study: Study, name: str) -> tuple[DatasetSpec, bool]:
    """Return a further dataset as a task finds it, and whether its path begins with the name of ``dataset.path``.

    Raises:
        UserError: it is elsewhere on this machine.
    """
    from nofrost.prepare import resolve_source

    spec = study.datasets[name]
    if not resolve_source(spec, study.name, ("datasets", name)).needs_path:
        return spec, False
    path = _place(study, spec.path, f"datasets.{name}.path")
    return spec.model_copy(update={"path": path}), not is_remote(path)


def _place(study: Study, path: str, where: str) -> str:
    """Return a path inside of ``dataset.path`` with the name of that as its beginning; a remote one as it is."""
    from nofrost.prepare import resolve_source

    root, inside = Path(os.path.normpath(study.dataset.path)), Path(os.path.normpath(path))
    needs_path = resolve_source(study.dataset, study.name, ("dataset",)).needs_path
    if is_remote(path):
        return path
    if needs_path and not is_remote(study.dataset.path) and inside.is_relative_to(root):
        return (root.name / inside.relative_to(root)).as_posix()
    raise UserError(
        f"{where} is not inside dataset.path, and containers have no other files of this machine: move it there, or "
        "store it with `nofrost store push` and use the ref that it prints"
    )


def _check_batches(study: Study, gpus: int, nodes: int) -> None:
    """Raise UserError if the processes of a training cannot share a batch equally, which each would say on its node."""
    from nofrost.train.shares import check_batches

    for name in study.runs.recipes:
        try:
            check_batches(study.recipes[name], nodes * max(gpus, 1))
        except UserError as error:
            raise UserError(f"recipes.{name} with --gpus {gpus} --nodes {nodes}: {error}") from None


def _as_text(part: Schema) -> str:
    """Return a part of a study as JSON in ASCII; :func:`from_ascii` comes before it is parsed.

    Settings are stated at their defaults too, unless these are null or empty: so an image with other defaults trains
    what was compiled, and a default that changes also changes the text, by which Kubeflow caches and jobs are named.
    It has no blanks, since up to KFP 2.16 the recipes of all runs are one argument of a program.
    """
    return to_ascii(json.dumps(part.as_json(), ensure_ascii=False, separators=(",", ":")))
