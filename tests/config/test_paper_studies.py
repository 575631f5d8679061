"""The studies of the papers' tables load in every size, and reach what they can of their tables."""

from __future__ import annotations

import pytest

from nofrost.config import load_printed, load_study, shipped_names, study_sizes
from nofrost.config.sizes import SIZES
from nofrost.report.measurement import study_suite
from pipelines.study_plan import plan_study

STUDIES = [name for name in shipped_names("study") if load_study(name).printed]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_a_table_is_planned_in_every_size_with_the_same_rows(name: str) -> None:
    assert tuple(study_sizes(name)) == SIZES
    found = {size: load_study(name, size=size) for size in SIZES}
    rows = {size: study.rows for size, study in found.items()}
    assert len(set(rows.values())) == 1
    assert {size: study.size for size, study in found.items()} == {size: size for size in SIZES}
    for size, study in found.items():
        plan = plan_study(study, gpus=1, nodes=1)
        assert len(plan.runs) == len(study.runs.recipe) * len(study.runs.seed)
        suites = study.suites.adversarial
        assert (max(suite.max_images or 10**9 for suite in suites.values()) <= 16) == (size == "tiny")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_a_table_trains_its_rows_and_measures_its_columns(name: str) -> None:
    study = load_study(name)
    for table in map(load_printed, study.printed):
        assert {run for run, _, _ in table.trainings()} <= set(study.rows)
        for column in table.columns.values():
            if column.suite is None or column.not_measured:
                continue
            suites = study.suites.ood if column.suite.startswith("ood-") else study.suites.adversarial
            suite = study_suite(suites, column.suite, table.suites)
            assert suite is not None, column.title
            if column.measure == "accuracy" and suites is study.suites.adversarial:
                assert column.condition in {"clean", "worst-case", *study.suites.adversarial[suite].attacks}
            for row in table.rows.values():
                if (other := row.suites.get(column.suite)) is not None:
                    assert study_suite(suites, other, table.suites) not in (None, suite), column.title
            if column.measure == "cross-entropy":
                assert study.suites.adversarial[suite].losses


def test_a_branch_of_the_table_is_measured() -> None:
    study = load_study("xie2020-table-1")
    (suite,) = study.suites.adversarial.values()
    assert "pgd-targeted-2000" in (suite.branch_attacks or ())
    assert study.runs.recipe == ("clean", "mbn", "mbn-alp", "adv")
