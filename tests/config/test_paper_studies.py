"""Every table and figure of the papers has its study, which trains its rows and measures its columns at every size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from nofrost.config import AdversarialSuite, Printed, Study, load_printed, load_study, printed_names, study_sizes
from nofrost.config.image_subset import ImageSubset
from nofrost.config.reading import shipped_names
from nofrost.config.sizes import SIZES
from nofrost.report.measurement import CORRUPTIONS, study_suite
from nofrost.train.schedule import lr_share
from pipelines.study_plan import plan_study

load = cache(load_study)
NO_STUDY = {"xie2020-figure-4": "a schematic without numbers"}
# By their names alone: every process of the tests reads this file, and one runs it.
STUDIES = [name for name in printed_names() if name not in NO_STUDY]
# Rows that are trained at the paper's size alone.
AT_PAPER_ALONE = {
    # A guess of ours, whose numbers are not printed.
    "zeise2025-figure-1": {"all-a-r101", "all-n-bn-a-r101", "all-n-rest-a-r101", "all-n-r101"},
    # SVHN is not small.
    "galloway2019-text": {"svhn-bn", "svhn-none"},
}


def test_every_table_and_figure_has_one_study_of_its_name_or_a_reason() -> None:
    with_numbers = {name: load(name).printed for name in shipped_names("study")}
    found = [table for tables in with_numbers.values() for table in tables]
    assert len(found) == len(set(found))
    assert set(found) == {name for name, tables in with_numbers.items() if tables} == set(STUDIES)
    assert set(printed_names()) == {*found, *NO_STUDY}
    assert set(found).isdisjoint(NO_STUDY), "take it out of these"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_is(name: str) -> None:
    study = load(name)
    (printed,) = study.printed
    assert study.name == name == printed
    paper, kind, *number = name.split("-")
    assert " ".join((paper, kind, *number)) in study.note if number else paper in study.note, "not that of its base"
    titles = [other for other in STUDIES if load(other).title == study.title]
    assert titles == [name]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_planned_in_every_size_with_the_same_rows(name: str) -> None:
    assert tuple(study_sizes(name)) == SIZES
    rows, planned = set(load(name).rows), list[object]()
    for size in SIZES:
        study = load(name, size=size)
        assert study.size == size
        assert rows - set(study.rows) == (AT_PAPER_ALONE.get(name, set()) if size == "small" else set())
        # Sizes of the same runs have the same graph.
        if study.runs not in planned:
            plan = plan_study(study, gpus=1, nodes=1)
            assert len(plan.runs) == len(study.runs.recipes) * len(study.runs.seed)
            planned.append(study.runs)
        suites = study.suites.by_key.values()
        assert (max(suite.max_images or 10**9 for suite in suites) <= 16) == (size == "tiny")


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("size", SIZES)
def test_at_no_size_the_rate_has_fallen_further_at_the_end_than_at_that_of_the_paper(name: str, size: str) -> None:
    for_paper = load(name).recipes
    for key, recipe in load(name, size=size).recipes.items():
        printed = for_paper[key].schedule
        least = lr_share(printed, printed.epochs - 1)
        assert lr_share(recipe.schedule, recipe.schedule.epochs - 1) >= least * (1 - 1e-9), key


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("size", SIZES)
def test_a_size_measures_no_property_that_the_study_itself_does_not(name: str, size: str) -> None:
    printed, sized = (load(name, size=each).suites.adversarial for each in ("paper", size))
    for suite in sized.keys() & printed.keys():
        measured, wanted = (
            {key for key, value in suites[suite].properties or () if value} for suites in (sized, printed)
        )
        assert measured <= {*wanted, *ImageSubset.model_fields}, suite


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_is_run_or_says_why_not(name: str) -> None:
    table, runs = load_printed(name), set(load(name).rows)
    assert {run for run, _, _ in table.trainings()} <= runs
    for row, entry in table.rows.items():
        of_row = {table.run_of(row, column) for column in table.columns} - {None}
        is_run = bool(of_row or (entry.recipe and (entry.run or row) in runs))
        assert is_run + bool(entry.difference_of or entry.ratio_of) + bool(entry.not_run) == 1, row


@pytest.mark.parametrize("name", STUDIES)
def test_every_column_is_measured_of_every_row_or_says_why_not(name: str) -> None:
    table, study = load_printed(name), load(name)
    missing = [(row, column) for row, column in _cells(table) if not _is_measured(table, study, row, column)]
    assert missing == []


def _cells(table: Printed) -> Iterator[tuple[str, str]]:
    """Yield rows and columns whose values a run of ours stands beside."""
    for row, entry in table.rows.items():
        for column, heading in table.columns.items():
            if column in {**entry.values, **entry.derived} and table.run_of(row, column) and not heading.not_measured:
                yield row, column


def _is_measured(table: Printed, study: Study, row: str, column: str) -> bool:
    entry, heading = table.rows[row], table.columns[column]
    condition = heading.condition or ""
    if heading.measure == "trained-parameters":
        return True
    kind = str(heading.suite).split("-")[0]
    of_kind: dict[str, Any] = getattr(study.suites, kind)
    wanted = entry.suites.get(str(heading.suite), str(heading.suite))
    name = study_suite(of_kind, wanted, table.suites)
    if name is None:
        return False
    suite = of_kind[name]
    if not isinstance(suite, AdversarialSuite):
        return bool(suite.corruptions) if condition == CORRUPTIONS else condition in suite.test_sets
    if heading.measure == "gap":
        return suite.training_images is not None
    if heading.measure == "property":
        return bool(getattr(suite.properties, condition, None))
    if heading.measure != "accuracy":
        return suite.losses and condition in {"clean", *suite.attacks}
    if entry.mixture_weight is not None:
        return suite.mixtures is not None and any(abs(entry.mixture_weight - w) < 1e-9 for w in suite.mixtures.weights)
    if entry.branch:
        attacks = suite.attacks if suite.branch_attacks is None else suite.branch_attacks
        return condition in {"clean", *attacks}
    return condition in {"clean", "worst-case", *suite.attacks}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", ["zeise2025", "xie2020"])
def test_trainings_of_one_name_are_one_training_in_all_studies_of_a_paper(paper: str, size: str) -> None:
    # The run cache of DVC then trains and evaluates them once.
    studies = [load(name, size=size) for name in STUDIES if name.startswith(f"{paper}-")]
    for first, second in combinations(studies, 2):
        assert (first.dataset, first.suites, first.augmentation) == (second.dataset, second.suites, second.augmentation)
        for name in set(first.recipes) & set(second.recipes):
            assert first.recipes[name] == second.recipes[name], f"{name} of {first.name} and {second.name}"
    recipes = {name: recipe for study in studies for name, recipe in study.recipes.items()}
    if size == "paper":
        configurations = [recipe.model_dump_json(exclude={"title", "citation"}) for recipe in recipes.values()]
        assert len(set(configurations)) == len(recipes), "one training has two names"
