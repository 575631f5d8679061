"""The data of the report: a study and its runs, grouped by recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.config import EvaluationView, Recipe, Study
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
    """One recipe and seed with everything its stages measured.

    `protocol` makes its adversarial numbers comparable, `ood_protocol` the others. `flags` says, for each condition
    (clean, the attacks, worst-case), whether the model was right on each test image: bool [N]. `ood_flags` says how
    often it was right on each corrupted image and each image of further test sets.
    """

    recipe: str
    seed: int
    folder: Path
    train: TrainMetrics
    curves: tuple[Epoch, ...]
    timing: Timing
    record: TrainRecord
    adversarial: AdversarialMetrics
    protocol: Protocol
    ood: OodMetrics
    ood_protocol: Protocol
    ood_flags: OodFlags
    flags: dict[str, NDArray[np.bool_]]

    @property
    def name(self) -> str:
        """Name of the run in machine-readable files, such as ``sat/seed-0``."""
        return f"{self.recipe}/seed-{self.seed}"


@dataclass(frozen=True)
class RecipeRuns:
    """The runs of one recipe, one for each seed. `position` in the study decides colour and marker in figures."""

    name: str
    position: int
    recipe: Recipe
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Collected:
    """A study with all its runs, what its gate decided if there is one, and the checksum of each of its `inputs`."""

    study: Study
    dataset: Path
    manifest: Manifest
    augmentation: Path | None
    recipes: tuple[RecipeRuns, ...]
    gate: GateMetrics | None
    inputs: dict[str, str]

    @property
    def runs(self) -> Iterator[Run]:
        """All runs, recipe by recipe."""
        return (run for recipe in self.recipes for run in recipe.runs)

    @property
    def first(self) -> Run:
        """The first run, for what all runs share."""
        return self.recipes[0].runs[0]

    @property
    def views(self) -> dict[str, EvaluationView | None]:
        """How the images of each suite are resized and cropped."""
        suites = self.study.suites
        return {
            "attacks": suites.adversarial.view or self.manifest.view,
            "corruptions": suites.ood.view or self.manifest.view,
        }

    @property
    def conditions(self) -> tuple[str, ...]:
        """``clean``, the attacks in the study's order, ``worst-case``."""
        return (CLEAN, *self.study.suites.adversarial.attacks, WORST_CASE)

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

    def same_ood_images(self, name: str | None) -> bool:
        """Whether all runs were evaluated on the same images of a test set (None: the same corrupted images)."""
        found = {run.ood_flags.images.get(name) for run in self.runs}
        return len(found) == 1 and found != {None}
