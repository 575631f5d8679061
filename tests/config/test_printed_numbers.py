"""The printed numbers that are shipped: every row can be trained, every column is measured or says why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nofrost.config import (
    AdversarialSuite,
    Claim,
    OodSuite,
    Study,
    Value,
    load_papers,
    load_printed,
    load_recipe,
    load_study,
    load_suite,
    parse_printed,
    printed_names,
)
from nofrost.config.sweeps import Place
from nofrost.errors import UserError

NAMES = printed_names()
PROPERTIES = {"decision_margin", "boundary_thickness", "model_smoothness", "tilting_angle"}


def table(**changes: Any) -> dict[str, Any]:
    """Return a file with printed numbers, with these keys instead."""
    return {
        "id": "wang2022-table-9",
        "paper": "wang2022",
        "kind": "table",
        "number": 9,
        "title": "two trainings",
        "unit": "percent",
        "columns": {"clean": {"title": "Clean", "suite": "adversarial-wang2022", "condition": "clean"}},
        "rows": {
            "st": {"label": "ST", "recipe": "st", "values": {"clean": 70}},
            "sat": {"label": "SAT", "recipe": "sat", "values": {"clean": 60}},
        },
        "claims": [{"text": "ST is better", "all": ["st.clean > sat.clean"]}],
    } | changes


def test_every_table_and_figure_of_the_papers_is_there() -> None:
    kinds = {paper: [load_printed(name).kind for name in printed_names(paper)] for paper in load_papers()}
    assert {paper: (found.count("table"), found.count("figure")) for paper, found in kinds.items()} == {
        "wang2022": (7, 7),
        "zeise2025": (7, 2),
        "galloway2019": (7, 2),
        "xie2020": (7, 7),
    }
    assert len(NAMES) == 49


@pytest.mark.parametrize("name", NAMES)
def test_every_training_loads_from_the_shipped_recipes(name: str) -> None:
    for _, recipe, settings in load_printed(name).trainings():
        load_recipe(recipe, [f"{key}={json.dumps(value)}" for key, value in settings.items()])


@pytest.mark.parametrize("name", NAMES)
def test_every_measured_column_is_of_a_shipped_suite(name: str) -> None:
    printed = load_printed(name)
    assert printed.id == name
    for column in printed.columns.values():
        if column.not_measured or column.suite is None:
            continue
        suite = load_suite(column.suite)
        for other in {row.suites[column.suite] for row in printed.rows.values() if column.suite in row.suites}:
            further = load_suite(other)
            assert isinstance(further, AdversarialSuite)
            assert column.condition in {"clean", *further.attacks} | PROPERTIES
        if isinstance(suite, OodSuite):
            assert column.condition in {"corruptions", *suite.test_sets}
            assert set(column.corruptions) <= set(suite.corruptions)
        elif column.measure == "property":
            assert column.condition in PROPERTIES
            assert suite.properties
            assert getattr(suite.properties, column.condition)
        elif column.condition:
            assert column.condition in {"clean", "worst-case", *suite.attacks}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_paper_claims_holds_of_its_own_numbers(name: str) -> None:
    printed = load_printed(name)
    numbers = {Value(row, key): printed.absolute(row, key) for row in printed.rows for key in printed.columns}
    for claim in printed.claims:
        for inequality in claim.inequalities:
            # Cells of a sweep are no rows.
            if all(numbers.get(value) is not None for value in inequality.values):
                assert inequality.margin(lambda value: numbers[value] or 0.0) > 0, inequality


@pytest.mark.parametrize(
    ("line", "left", "right", "margin"),
    [
        ("a.x > b.x", 5, 3, 2),
        ("a.x < b.x", 5, 3, -2),
        ("a.x > 4.5", 5, 0, 0.5),
        ("a.x ~ b.x ± 3", 5, 3, 1),
        ("a.x ~ b.x ± 1", 5, 3, -1),
        ("a.x - b.x > 1", 5, 3, 1),
        ("a.x - b.x > b.x - a.x", 5, 3, 4),
    ],
)
def test_a_inequality_has_a_margin(line: str, left: float, right: float, margin: float) -> None:
    (inequality,) = Claim(text="t", all=(line,)).inequalities
    assert inequality.margin(lambda value: left if value.row == "a" else right) == margin
    assert str(inequality) == line


def test_several_values_on_the_right_are_several_inequalities() -> None:
    claim = Claim(text="t", all=("a.x > b.x, c.x",))
    assert [str(inequality) for inequality in claim.inequalities] == ["a.x > b.x", "a.x > c.x"]


ROW = {"label": "ST", "recipe": "st"}
COLUMN = {"title": "Clean", "suite": "adversarial-wang2022", "condition": "clean"}
WRONG = {
    "no inequality": ({"claims": [{"text": "t", "all": ["st.clean better"]}]}, "'st.clean better' is no inequality"),
    "no tolerance": ({"claims": [{"text": "t", "all": ["st.clean ~ sat.clean"]}]}, "~ has a tolerance"),
    "neither": ({"claims": [{"text": "t"}]}, "write the inequalities that decide it in `all`"),
    "row of a claim": (
        {"claims": [{"text": "t", "all": ["sta.clean > sat.clean"]}]},
        "unknown row in the claim 't': 'sta'",
    ),
    "column of a claim": ({"claims": [{"text": "t", "all": ["st.clear > sat.clean"]}]}, "did you mean 'clean'?"),
    "cell of an axis that is not there": (
        {"claims": [{"text": "t", "all": ["st-depth-5.clean > sat.clean"]}]},
        "unknown row in the claim 't': 'st-depth-5'",
    ),
    "cell of no row": (
        {"axes": {"depth": {"title": "d"}}, "claims": [{"text": "t", "all": ["fat-depth-5.clean > 1"]}]},
        "unknown row in the claim 't': 'fat-depth-5'",
    ),
    "axis of a row": ({"rows": {"st": ROW | {"at": {"depth": 5}}}, "claims": []}, "unknown axis in rows.st.at 'depth'"),
    "axis of a column": (
        {"axes": {"steps": {"title": "s"}}, "columns": {"clean": COLUMN | {"at": {"step": 5}}}},
        "unknown axis in columns.clean.at 'step': did you mean 'steps'?",
    ),
    "axis of the depth line": (
        {"axes": {"depth": {"title": "d"}}, "trainable_depth": {"depth": "depth", "batch": "batch", "rows": ["st"]}},
        "unknown axis in trainable_depth 'batch'",
    ),
    "row of the depth line": (
        {
            "axes": {"depth": {"title": "d"}, "batch": {"title": "b"}},
            "trainable_depth": {"depth": "depth", "batch": "batch", "rows": ["bn"]},
        },
        "unknown row in trainable_depth.rows 'bn'",
    ),
    "column of a row": ({"rows": {"st": ROW | {"values": {"pgd": 1}}}, "claims": []}, "unknown column in rows.st"),
    "no reason": ({"rows": {"st": ROW | {"values": {"clean": None}}}, "claims": []}, "has a null value: say"),
    "suite of a row": (
        {"rows": {"st": ROW | {"suites": {"ood-quick": "ood-cifar10"}}}, "claims": []},
        "unknown suite of a column in rows.st.suites 'ood-quick'",
    ),
    "recipe not run": (
        {"rows": {"st": ROW | {"not_run": "r"}}, "claims": []},
        "rows.st has a recipe or is of two rows",
    ),
    "other row": ({"rows": {"st": ROW | {"relative_to": "stt"}}, "claims": []}, "unknown row in rows.st"),
    "no suite": ({"columns": {"clean": {"title": "Clean"}}}, "columns.clean: suite is missing"),
    "no condition": ({"columns": {"clean": {"title": "C", "suite": "ood-quick"}}}, "condition is missing"),
    "unit": ({"unit": "per mille"}, "unit: input should be"),
    "key": ({"tittle": "t"}, "unknown key 'tittle': did you mean 'title'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_sentence(case: str) -> None:
    changes, expected = WRONG[case]
    parse_printed(table(), "mine")
    with pytest.raises(UserError) as error:
        parse_printed(table(**changes), "mine")
    message = str(error.value)
    assert message.startswith("mine: ")
    assert expected in message
    assert "\n" not in message


def test_a_claim_names_cells_of_the_axes_of_its_table() -> None:
    axes = {"depth": {"title": "depth"}, "batch": {"title": "batch"}}
    claims = [{"text": "t", "all": ["st-depth-5-batch-16.clean > st-depth-5.clean, st-batch-1e-3.clean"]}]
    assert parse_printed(table(axes=axes, claims=claims), "mine").claims[0].inequalities


PLACES = {f"{row}-depth-{depth}": {"row": row, "at": {"depth": depth}} for row in ("st", "sat") for depth in (5, 9)}


class TestPlaces:
    """A table beside a study that sweeps its rows."""

    def swept(self, **changes: Any) -> Any:
        places = {name: Place.model_validate(place) for name, place in PLACES.items()}
        return parse_printed(table(**changes), "mine").at_places(places)

    def test_every_place_has_a_row_below_its_own(self) -> None:
        found = self.swept()
        assert list(found.rows) == ["st", "st-depth-5", "st-depth-9", "sat", "sat-depth-5", "sat-depth-9"]
        row = found.rows["sat-depth-9"]
        assert (row.label, row.line, row.at, row.values) == ("depth 9", "SAT", {"depth": 9}, {})
        assert found.run_of("sat-depth-9", "clean") == "sat-depth-9"
        assert found.axes["depth"].title == "depth"

    def test_a_row_of_another_run_is_swept_with_it(self) -> None:
        found = self.swept(rows={"a": ROW | {"run": "st"}}, claims=[])
        assert {name: found.run_of(name, "clean") for name in found.rows} == {
            "a": "st",
            "a-depth-5": "st-depth-5",
            "a-depth-9": "st-depth-9",
        }

    def test_a_difference_is_taken_where_both_rows_are_swept(self) -> None:
        rows = {"st": ROW, "sat": ROW, "fat": ROW}
        less = {"label": "less", "difference_of": ["st", "sat"]}
        found = self.swept(rows=rows | {"less": less, "no": less | {"difference_of": ["st", "fat"]}}, claims=[])
        assert found.rows["less-depth-5"].difference_of == ("st-depth-5", "sat-depth-5")
        assert [name for name in found.rows if name.startswith("no")] == ["no"]

    def test_a_study_without_a_sweep_has_the_table_as_it_is(self) -> None:
        printed = parse_printed(table(), "mine")
        assert printed.at_places({}) == printed


class TestStudies:
    """A study names printed numbers, and its recipes after their rows."""

    def test_one_table_is_a_list_of_one(self) -> None:
        study = load_study("digits", ["printed=wang2022-table-1"])
        assert study.printed == ("wang2022-table-1",)
        assert Study.model_validate(study.as_json()) == study

    def test_without_any_the_study_has_no_such_key(self) -> None:
        assert {"printed", "size"}.isdisjoint(load_study("digits").as_json())

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (
                "wang2022-tabel-1",
                "unknown printed table or figure 'wang2022-tabel-1': did you mean 'wang2022-table-1'?",
            ),
            ("zeise2025-table-1", "has no row that is a recipe of the study: name recipes after its rows (all-n-bn-a,"),
            ("[wang2022-table-1, wang2022-table-1]", "printed: 'wang2022-table-1' stands twice"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, value: str, expected: str) -> None:
        with pytest.raises(UserError, match=r"^digits") as error:
            load_study("digits", [f"printed={value}"])
        assert expected in str(error.value)
