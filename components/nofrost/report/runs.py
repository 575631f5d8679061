"""The data of the report: a study and its runs, grouped by recipe, and what each of its suites measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, EvaluationView, OodSuite, Recipe, Study
from nofrost.data import Manifest
from nofrost.report.flags import OodFlags
from nofrost.results import (
    AdversarialMetrics,
    Epoch,
    GateMetrics,
    OodMetrics,
    Protocol,
    Timing,
    TrainMetrics,
    TrainRecord,
)

CLEAN, WORST_CASE = "clean", "worst-case"


@dataclass(frozen=True)
class Run:
    """One recipe and seed with everything that its training measured."""

    recipe: str
    seed: int
    folder: Path
    train: TrainMetrics
    curves: tuple[Epoch, ...]
    timing: Timing
    record: TrainRecord

    @property
    def name(self) -> str:
        """Name of the run in machine-readable files, such as ``sat/seed-0``."""
        return f"{self.recipe}/seed-{self.seed}"


@dataclass(frozen=True)
class AttackedRun(Run):
    """A run as one adversarial suite measured it; `evaluation` is the folder of that.

    `protocol` makes its numbers comparable. `flags` says, for each condition (clean, the attacks, worst-case), whether
    the model was right on each test image: bool [N].
    """

    evaluation: Path
    adversarial: AdversarialMetrics
    protocol: Protocol
    flags: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class ShiftedRun(Run):
    """A run as one ood suite measured it; `evaluation` is the folder of that.

    `flags` says how often the model was right on each corrupted image and each image of further test sets.
    """

    evaluation: Path
    ood: OodMetrics
    protocol: Protocol
    flags: OodFlags


R = TypeVar("R", bound=Run)
R_co = TypeVar("R_co", bound=Run, covariant=True)


@dataclass(frozen=True)
class RecipeRuns(Generic[R_co]):
    """The runs of one recipe, one for each seed.

    Attributes:
        position: in the study; it decides colour and marker in figures.
        dataset: the name of the dataset that it is trained on, where the study has several; empty otherwise.
    """

    name: str
    position: int
    recipe: Recipe
    runs: tuple[R_co, ...]
    dataset: str = ""


@dataclass(frozen=True)
class StudyRuns(Generic[R_co]):
    """A study with all its runs, or where it has several datasets with those on one of them.

    Attributes:
        dataset, manifest, augmentation: of the dataset; of all runs, those of the dataset of the study.
    """

    study: Study
    dataset: Path
    manifest: Manifest
    augmentation: Path | None
    recipes: tuple[RecipeRuns[R_co], ...]

    @property
    def runs(self) -> Iterator[R_co]:
        """All runs, recipe by recipe."""
        return (run for recipe in self.recipes for run in recipe.runs)

    @property
    def first(self) -> R_co:
        """The first run, for what all runs share."""
        return self.recipes[0].runs[0]


S_co = TypeVar("S_co", AdversarialSuite, OodSuite, covariant=True)


@dataclass(frozen=True)
class SuiteRuns(StudyRuns[R_co], Generic[R_co, S_co]):
    """A study as one of its suites measured it, of several datasets the runs on one of them.

    Attributes:
        suite_id: its name in the study.
        heading: tells it from the other suites of its kind in the study, and from the same suite on other datasets;
            empty if there are none.
        dataset_id: the name of a further dataset; empty for that of the study.
    """

    suite_id: str
    suite: S_co
    heading: str
    dataset_id: str = ""

    @property
    def anchor(self) -> str:
        """What tells the anchors and ids of its sections from those of the others."""
        return f"{self.suite_id}-{self.dataset_id}" if self.dataset_id else self.suite_id

    @property
    def nav(self) -> str:
        """What tells it from the others in the table of contents."""
        if not self.study.datasets:
            return self.suite_id
        title = self.recipes[0].dataset
        return f"{self.suite_id}, {title}" if self.is_one_of_several else title

    @property
    def is_one_of_several(self) -> bool:
        """Whether the study has other suites of its kind."""
        return len(self.study.suites.adversarial if self.suite.kind == "adversarial" else self.study.suites.ood) > 1

    @property
    def title_of_suite(self) -> str:
        """The title of the suite, with what else is in the heading."""
        if self.study.datasets and not self.is_one_of_several:
            return f"{self.suite.title} ({self.heading})"
        return self.heading or self.suite.title

    @property
    def suffix(self) -> str:
        """The heading as the end of a title."""
        return f": {self.heading}" if self.heading else ""

    @property
    def view(self) -> EvaluationView | None:
        """How images are resized and cropped."""
        return self.suite.view or self.manifest.view


class Attacked(SuiteRuns[AttackedRun, AdversarialSuite]):
    """A study as one of its adversarial suites measured it."""

    @property
    def samples(self) -> int:
        """How many test images the first run was attacked on."""
        return self.first.adversarial.samples

    @property
    def conditions(self) -> tuple[str, ...]:
        """``clean``, the attacks in the study's order, ``worst-case``."""
        return (CLEAN, *self.suite.attacks, WORST_CASE)

    @property
    def cumulative(self) -> tuple[str, ...]:
        """The attacks that ran only on images that survived all attacks before them."""
        uses = self.first.adversarial.attacks
        return tuple(name for name in self.conditions if name in uses and uses[name].cumulative)

    def title(self, condition: str) -> str:
        """Return the column title of a condition: ``+ square`` where its accuracies are cumulative."""
        return f"+\N{NO-BREAK SPACE}{condition}" if condition in self.cumulative else condition

    @property
    def same_images(self) -> bool:
        """Whether all runs were attacked on the same test images."""
        return len({(run.adversarial.samples, run.adversarial.indices_sha256) for run in self.runs}) == 1


class Shifted(SuiteRuns[ShiftedRun, OodSuite]):
    """A study as one of its ood suites measured it."""

    @property
    def samples(self) -> int:
        """How many test images the first run was evaluated on."""
        return self.first.ood.samples

    def same_images(self, name: str | None) -> bool:
        """Whether all runs were evaluated on the same images of a test set (None: the same corrupted images)."""
        found = {run.flags.images.get(name) for run in self.runs}
        return len(found) == 1 and found != {None}


@dataclass(frozen=True)
class Collected(StudyRuns[Run]):
    """A study with all its runs as each of its suites measured them.

    Attributes:
        attacked, shifted: by its adversarial suites and its ood suites, in the order of the study, dataset by dataset.
        gate: what its gate decided, if there is one.
        inputs: checksums of what the report is made from.
        parts: the runs on each dataset, where the study has several; empty otherwise.
    """

    attacked: tuple[Attacked, ...]
    shifted: tuple[Shifted, ...]
    gate: GateMetrics | None
    inputs: dict[str, str]
    parts: tuple[Collected, ...] = ()

    @property
    def by_dataset(self) -> tuple[Collected, ...]:
        """The runs on each dataset: what is compared with each other. Of one dataset it is this itself."""
        return self.parts or (self,)

    @property
    def attacked_runs(self) -> dict[str, dict[str, AttackedRun]]:
        """The runs as each adversarial suite measured them, by the names of run and suite."""
        return _by_run(self.attacked)

    @property
    def shifted_runs(self) -> dict[str, dict[str, ShiftedRun]]:
        """The runs as each ood suite measured them, by the names of run and suite."""
        return _by_run(self.shifted)

    @property
    def samples(self) -> int:
        """How many test images the first run was attacked on, or without attacks evaluated on; of the first suite."""
        return (self.attacked or self.shifted)[0].samples


def _by_run(measured: Sequence[SuiteRuns[R, Any]]) -> dict[str, dict[str, R]]:
    found: dict[str, dict[str, R]] = {}
    for each in measured:
        for run in each.runs:
            found.setdefault(run.name, {})[each.suite_id] = run
    return found
