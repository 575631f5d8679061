"""Study: recipes x seeds + datasets + suites. A study file with everything spelled out is what `params.yaml` holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nofrost.config.base import Name, OmitEmpty, Seed, Settings, first_duplicate, without_those_left_out
from nofrost.config.dataset import AugmentationSpec, DatasetSpec
from nofrost.config.gate import GateSpec
from nofrost.config.printed import load_printed
from nofrost.config.recipe import Recipe
from nofrost.config.sizes import Size
from nofrost.config.suite import AdversarialSuite, OodSuite, Suite
from nofrost.config.sweeps import Place
from nofrost.config.trainings import FurtherStages, PlannedTraining, further_stages, starts_in, trainings_of
from nofrost.errors import shortened, unknown


class Runs(OmitEmpty, Settings):
    """Which recipes and seeds are trained: every pair is one run.

    Attributes:
        recipe: those that are trained on the dataset of the study.
        seed: of all of them.
        dataset: those that are trained on a further dataset, by its name. Null leaves one out.
    """

    recipe: tuple[str, ...] = Field(min_length=1, max_length=1000)
    seed: tuple[Seed, ...] = Field(default=(0,), min_length=1, max_length=1000)
    dataset: dict[Name, Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]] = Field(default={})

    @property
    def by_dataset(self) -> dict[str, tuple[str, ...]]:
        """The recipes of each dataset; that of the study comes first and has an empty name."""
        return {"": self.recipe, **self.dataset}

    @property
    def recipes(self) -> tuple[str, ...]:
        """All recipes that are trained, dataset by dataset."""
        return tuple(recipe for recipes in self.by_dataset.values() for recipe in recipes)

    @field_validator("dataset", mode="before")
    @classmethod
    def _null_leaves_one_out(cls, recipes: Any) -> Any:
        if not isinstance(recipes, Mapping):
            return recipes
        return {name: [each] if isinstance(each, str) else each for name, each in recipes.items() if each is not None}

    @model_validator(mode="after")
    def _runs_are_unique(self) -> Runs:
        for key, values in (("recipe", self.recipe), ("seed", self.seed)):
            if (twice := first_duplicate(values)) is not None:
                raise ValueError(f"{key} names {shortened(twice)} twice: name each once, every pair is one run")
        if (twice := first_duplicate(self.recipes)) is not None:
            places = [
                f"dataset.{name}" if name else "recipe" for name, each in self.by_dataset.items() if twice in each
            ]
            where = f"{places[0]} and {places[1]}" if len(places) > 1 else f"{places[0]} twice"
            raise ValueError(
                f"{shortened(twice)} stands in {where}: a recipe is trained on one dataset; name it once, or give it "
                "a second name under recipes"
            )
        return self


class Suites(Settings):
    """What every run is evaluated on: suites of each kind by name, at least one in all.

    Null leaves out a suite that the base of a study has, and no other.
    """

    adversarial: Annotated[dict[Name, AdversarialSuite], without_those_left_out("suite")] = Field(default={})
    ood: Annotated[dict[Name, OodSuite], without_those_left_out("suite")] = Field(default={})

    @model_validator(mode="after")
    def _something_is_evaluated(self) -> Suites:
        if not self.adversarial and not self.ood:
            raise ValueError("it has no suite: name one, such as adversarial: {quick: adversarial-quick}")
        return self

    @property
    def by_key(self) -> dict[str, Suite]:
        """All suites by kind and name, such as ``adversarial/quick``."""
        adversarial: dict[str, Suite] = {f"adversarial/{name}": suite for name, suite in self.adversarial.items()}
        return adversarial | {f"ood/{name}": suite for name, suite in self.ood.items()}


def _without_ood(gate: GateSpec) -> GateSpec:
    """Return the gate of a study that has no ood suite; raise ValueError if a key of it asks for one."""
    margins = gate.margins
    asked = [f"margins.{key}" for key in ("ood", "calibration") if key in margins.model_fields_set]
    asked = [key for key in asked if getattr(margins, key.removeprefix("margins.")) is not None]
    if gate.ood is not None:
        asked.append("ood")
    if asked:
        raise ValueError(
            f"{asked[0]} is measured by an ood suite, and suites.ood is empty: add a suite, or leave it out"
        )
    return gate.model_copy(update={"margins": margins.model_copy(update={"ood": None, "calibration": None})})


def augmentations_of(
    augmentation: AugmentationSpec, runs: Runs, recipes: Mapping[str, Recipe]
) -> dict[str, AugmentationSpec]:
    """Return what is made of each further dataset: of the methods of the study those that its recipes train on."""
    used = {
        name: {method for each in names if each in recipes for method in recipes[each].views.augmentation_sets}
        for name, names in runs.dataset.items()
    }
    settings = augmentation.model_dump()
    return {
        name: AugmentationSpec.model_validate(
            {key: value for key, value in settings.items() if key in sets or key in AugmentationSpec.model_fields}
            | {"methods": [method for method in augmentation.methods if method in sets]}
        )
        for name, sets in used.items()
    }


class Study(OmitEmpty, Settings):
    """Recipes x seeds, the datasets they are trained on and the suites they are evaluated on.

    The `dataset` is that of the study, which its champion is trained on; `datasets` are further ones, each laid over
    it, for the recipes that `runs.dataset` names.

    The `gate` says when its best run becomes the champion; null for a study that has none. It compares worst-case
    accuracies, so it needs an adversarial suite; without an ood suite its margins for corrupted images and calibration
    are null. `printed` are tables and figures of papers, whose numbers the report sets beside those of the recipes that
    bear the names of their rows. The `size` is null for a study that has one alone. `places` has those of the recipes
    that a sweep made. `trainings`, and of further datasets `augmentations` and `further`, follow from the other keys,
    and are for dvc.yaml.
    """

    name: Name
    title: str
    note: str = ""
    size: Size | None = None
    printed: tuple[str, ...] = ()
    dataset: DatasetSpec
    datasets: Annotated[dict[Name, DatasetSpec], without_those_left_out("dataset")] = Field(default={})
    augmentation: AugmentationSpec = AugmentationSpec()
    runs: Runs
    recipes: dict[Name, Recipe]
    places: dict[Name, Place] = Field(default={})
    suites: Suites
    gate: GateSpec | None = Field(default=GateSpec(), validate_default=True)
    trainings: dict[str, PlannedTraining] = Field(default={}, validate_default=True)
    augmentations: dict[Name, AugmentationSpec] = Field(default={}, validate_default=True)
    further: FurtherStages = Field(default=FurtherStages(), validate_default=True)

    def dataset_spec(self, name: str) -> DatasetSpec:
        """Return the dataset of this name; an empty one is that of the study."""
        return self.datasets[name] if name else self.dataset

    @property
    def gate_suites(self) -> tuple[str, str | None]:
        """The names of the adversarial suite and of the ood suite, if there is one, that the gate compares on."""
        gate = self.gate or GateSpec()
        return gate.adversarial or next(iter(self.suites.adversarial)), gate.ood or next(iter(self.suites.ood), None)

    @property
    def rows(self) -> tuple[str, ...]:
        """What its recipes are called before a sweep multiplies them, in their order: rows of printed tables."""
        places = self.places
        return tuple(dict.fromkeys(places[name].row if name in places else name for name in self.runs.recipes))

    @field_validator("gate")
    @classmethod
    def _gate_compares_what_is_measured(cls, gate: GateSpec | None, info: ValidationInfo) -> GateSpec | None:
        suites: Suites | None = info.data.get("suites")
        if gate is None or suites is None:
            return gate
        if not suites.adversarial:
            raise ValueError(
                "it compares worst-case accuracies, and suites.adversarial is empty: add a suite there, or write "
                "gate: null"
            )
        if gate.adversarial is not None and gate.adversarial not in suites.adversarial:
            raise unknown("suite in gate.adversarial", gate.adversarial, suites.adversarial)
        if suites.ood and gate.ood is not None and gate.ood not in suites.ood:
            raise unknown("suite in gate.ood", gate.ood, suites.ood)
        return gate if suites.ood else _without_ood(gate)

    @model_validator(mode="after")
    def _runs_name_recipes_of_the_study(self) -> Study:
        for dataset, names in self.runs.by_dataset.items():
            for name in names:
                if name not in self.recipes:
                    raise unknown(f"recipe in runs.{f'dataset.{dataset}' if dataset else 'recipe'}", name, self.recipes)
        return self

    @model_validator(mode="after")
    def _runs_and_datasets_fit(self) -> Study:
        for name in self.runs.dataset:
            if name not in self.datasets:
                raise unknown("dataset in runs.dataset", name, self.datasets)
        for name in self.datasets:
            if name not in self.runs.dataset:
                raise ValueError(
                    f"datasets.{name} has no recipe: name some under runs.dataset.{name}, or leave the dataset out"
                )
        return self

    @model_validator(mode="after")
    def _suites_fit_every_dataset(self) -> Study:
        for key, suite in self.suites.by_key.items():
            where = f"suites.{key.replace('/', '.')}"
            for name, spec in self.datasets.items():
                if isinstance(suite, OodSuite) and suite.test_sets:
                    raise ValueError(
                        f"{where} has test sets, which are made for one dataset, and recipes are trained on "
                        f"datasets.{name} too: make a study for each dataset, or leave out the test sets"
                    )
                if suite.view is not None and (spec.image_size is not None or spec.storage == "array"):
                    raise ValueError(
                        f"{where}.view is for photographs in shards, and datasets.{name} makes an array: leave the "
                        "view out, or make a study for each dataset"
                    )
        return self

    @model_validator(mode="after")
    def _places_are_of_its_recipes_and_differ(self) -> Study:
        trained: dict[tuple[str, str], str] = {}
        for name, place in self.places.items():
            if name not in self.recipes:
                raise unknown("recipe in places", name, self.recipes)
            phases = {phase: recipe.as_json() for phase, recipe in self.recipes[name].in_phases().items()}
            first = trained.setdefault((place.row, json.dumps(phases)), name)
            if first != name:
                raise ValueError(
                    f"sweep: {first} and {name} are one training: phases of {place.row} have keys of their own, which "
                    "the sweep must name, such as phases.NAME.schedule.batch_size"
                )
        return self

    @field_validator("trainings")
    @classmethod
    def _trainings_are_those_of_the_runs(
        cls, trainings: dict[str, PlannedTraining], info: ValidationInfo
    ) -> dict[str, PlannedTraining]:
        if (runs := info.data.get("runs")) is None:
            return trainings
        # Runs that were changed by hand, or by an option, may have others than the file still says.
        return trainings_of(runs.recipe, runs.seed, starts_in(trainings, runs.recipe))

    @field_validator("augmentations")
    @classmethod
    def _augmentations_are_those_of_the_runs(
        cls, augmentations: dict[str, AugmentationSpec], info: ValidationInfo
    ) -> dict[str, AugmentationSpec]:
        keys = ("augmentation", "runs", "recipes")
        return augmentations_of(*(info.data[key] for key in keys)) if info.data.keys() >= set(keys) else augmentations

    @field_validator("further")
    @classmethod
    def _further_stages_are_those_of_the_runs(cls, further: FurtherStages, info: ValidationInfo) -> FurtherStages:
        runs, suites = info.data.get("runs"), info.data.get("suites")
        if runs is None or suites is None:
            return further
        starts: dict[str, str] = {}
        for recipes in runs.dataset.values():
            starts |= starts_in(further.trainings, recipes)
        return further_stages(runs.dataset, runs.seed, suites.adversarial, suites.ood, starts)

    @field_validator("printed", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, printed: Any) -> Any:
        return [printed] if isinstance(printed, str) else printed

    @field_validator("printed")
    @classmethod
    def _printed_numbers_are_shipped(cls, printed: tuple[str, ...]) -> tuple[str, ...]:
        if (twice := first_duplicate(printed)) is not None:
            raise ValueError(f"{shortened(twice)} stands twice: name each once")
        for name in printed:
            load_printed(name)
        return printed

    @model_validator(mode="after")
    def _printed_numbers_fit(self) -> Study:
        for name in self.printed:
            printed = load_printed(name)
            if not printed.fits(self.rows):
                rows = ", ".join(run for run, _, _ in printed.trainings())
                raise ValueError(
                    f"printed: {name} has no row that is a recipe of the study: name recipes after its rows "
                    f"({rows or 'it has none that is trained'}), or leave it out; printed: [] leaves out that of a base"
                )
        return self

    @model_validator(mode="after")
    def _a_row_of_the_tables_is_one_training(self) -> Study:
        rows, tables = set(self.rows), dict[str, tuple[str, Any]]()
        for table in self.printed:
            for run, *training in load_printed(table).trainings():
                first, trained_first = tables.setdefault(run, (table, training))
                if run in rows and training != trained_first:
                    raise ValueError(
                        f"printed: row {run} of {table} is another training than row {run} of {first}: "
                        "make a study for each table"
                    )
        return self

    @model_validator(mode="after")
    def _augmentation_sets_are_made(self) -> Study:
        for name in self.runs.recipes:
            for method in self.recipes[name].views.augmentation_sets:
                if method not in self.augmentation.methods:
                    where = f"augmentation set in recipes.{name}.views.augmentation_sets"
                    raise ValueError(f"{unknown(where, method, self.augmentation.methods)} (augmentation.methods)")
        return self
