"""Tables that lie on axes: the cells of a sweep, and their figures."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from nofrost.config import Value, load_printed, parse_printed
from nofrost.config.sweeps import Place
from nofrost.report.compare import Estimate
from nofrost.report.document import Figure
from nofrost.report.figures import Axis, SweptLine, swept_lines, swept_map
from nofrost.report.printed_numbers import PrintedComparison
from nofrost.report.sections.swept import swept_figures, swept_values
from nofrost.results import Proportion

CLEAN = {"title": "Clean", "suite": "adversarial-wang2022", "condition": "clean"}
TABLE = {"id": "t", "paper": "wang2022", "kind": "table", "number": 1, "title": "t", "unit": "percent"}
ROW = {"recipe": "st", "label": "ST"}


def run(clean: int, suite: str = "wang2022") -> Any:
    accuracy = {name: Proportion.of(clean, 100) for name in ("clean", "pgd-20", "apgd-ce-20", "bim-100", "awgn-mnist")}
    adversarial = SimpleNamespace(accuracy=accuracy, mixtures=[], branches={}, properties={}, training=None)
    flags: dict[str, Any] = {suite: {}}
    return SimpleNamespace(train=None, adversarial={suite: adversarial}, ood={}, adversarial_flags=flags, ood_flags={})


def compared(runs: dict[str, int], places: dict[str, Any] | None = None, **table: Any) -> PrintedComparison:
    printed = parse_printed({**TABLE, "columns": {"clean": CLEAN}, **table}, "t")
    placed = {name: Place.model_validate(place) for name, place in (places or {}).items()}
    return PrintedComparison(printed, {name: [run(clean)] for name, clean in runs.items()}, None, placed)


def figure(comparison: PrintedComparison) -> Figure:
    (found,) = swept_figures(comparison, {name: place for place, name in enumerate(comparison.runs)})
    return found


def texts(svg: str) -> list[str]:
    """Return what is written in a drawing."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def cells(row: str, depths: list[int], batches: list[int]) -> dict[str, Any]:
    return {
        f"{row}-depth-{depth}-batch-{batch}": {"row": row, "at": {"depth": depth, "batch": batch}}
        for depth in depths
        for batch in batches
    }


SIZED = {"axes": {"size": {"title": "size, pixels"}}}
SIZES = {
    "bn-28": ROW | {"at": {"size": 28}, "line": "BN", "values": {"clean": 80}, "spread": {"clean": 2}},
    "bn-84": ROW | {"at": {"size": 84}, "line": "BN", "relative_to": "bn-28", "values": {"clean": -20}},
    "none-28": ROW | {"at": {"size": 28}, "line": "no BN", "values": {"clean": 90}},
    "none-84": ROW | {"at": {"size": 84}, "line": "no BN", "values": {"clean": 88}},
    "less": {"label": "less", "difference_of": ["bn-28", "none-28"], "values": {"clean": -10}},
}
SIZES["bn-84"]["derived"] = {"clean": 60}
FOUR = {"bn-28": 70, "bn-84": 50, "none-28": 75, "none-84": 74}


def test_rows_of_one_line_are_drawn_over_their_axis_with_the_printed_numbers_beside() -> None:
    found = figure(compared(FOUR, rows=SIZES, **SIZED))
    (panel,) = found.panels
    assert found.legend == [("BN", 0), ("no BN", 2)]
    assert panel.alt == (
        "Clean. Lines of accuracy, % by size: BN 70 at 28 and 50 at 84 (printed 80 at 28 and 60 at 84); "
        "no BN 75 at 28 and 74 at 84 (printed 90 at 28 and 88 at 84)."
    )
    assert found.caption.startswith("Wang et al. 2022, Table 1: Clean by size: filled markers are ours")
    assert {"28", "84", "size, pixels", "accuracy, %"} <= set(texts(panel.svg))


def test_values_on_an_axis_need_no_bars_and_differences_lie_on_none() -> None:
    found = swept_values(compared(FOUR, rows=SIZES, **SIZED))
    assert found == {Value(row, "clean") for row in FOUR}


def test_lines_that_were_not_run_are_not_drawn() -> None:
    assert figure(compared({"bn-28": 70, "bn-84": 50}, rows=SIZES, **SIZED)).legend == [("BN", 0)]
    assert not list(swept_figures(compared({"st": 70}, rows=SIZES, **SIZED), {"st": 0}))


def test_columns_on_an_axis_share_one_panel() -> None:
    columns = {
        name: CLEAN | {"condition": name, "at": {"steps": steps}}
        for name, steps in (("pgd-20", 20), ("apgd-ce-20", 900))
    }
    rows = {"st": ROW | {"values": {"pgd-20": 5, "apgd-ce-20": 4}}}
    found = figure(compared({"st": 7}, rows=rows, columns=columns, axes={"steps": {"title": "attack steps"}}))
    assert [panel.title for panel in found.panels] == [""]
    assert "attack steps (logarithmic)" in texts(found.panels[0].svg)
    assert "ST 7 at 20 and 7 at 900 (printed 5 at 20 and 4 at 900)" in found.panels[0].alt


def test_a_row_that_is_swept_is_measured_at_every_place() -> None:
    places = {f"st-c-{each}": {"row": "st", "at": {"c": each}} for each in (1, 9)}
    comparison = compared({"st-c-1": 60, "st-c-9": 40}, places, rows={"st": ROW | {"values": {"clean": 50}}})
    assert list(comparison.printed.rows) == ["st", "st-c-1", "st-c-9"]
    assert comparison.entries[Value("st", "clean")].reason == "swept: see the rows below it"
    measured = comparison.entries[Value("st-c-9", "clean")].ours
    assert measured is not None
    assert measured.value == pytest.approx(40)
    assert comparison.as_json()["places"]["st-c-1"] == {"line": "ST", "at": {"c": 1}}
    assert "by c" in figure(comparison).caption


def test_a_recipe_of_a_sweep_that_is_not_run_has_no_row() -> None:
    comparison = compared(
        {"st-c-1": 60}, {f"st-c-{each}": {"row": "st", "at": {"c": each}} for each in (1, 9)}, rows={"st": ROW}
    )
    assert list(comparison.printed.rows) == ["st", "st-c-1"]
    assert not list(swept_figures(comparison, {"st-c-1": 0}))


def two_axes(depths: list[int], batches: list[int], **changes: Any) -> PrintedComparison:
    places = cells("st", depths, batches)
    runs = {name: 50 + index for index, name in enumerate(places)}
    axes = {"depth": {"title": "depth, layers"}, "batch": {"title": "batch size, images"}}
    depth = {"depth": "depth", "batch": "batch", "rows": ["st"]}
    return compared(runs, places, **{"rows": {"st": ROW}, "axes": axes, "trainable_depth": depth} | changes)


def test_two_axes_are_a_heat_map_with_the_line_of_the_largest_trainable_depth() -> None:
    found = figure(two_axes([5, 25, 55], [4, 8, 64]))
    (panel,) = found.panels
    assert panel.alt == (
        "Clean. Heat map of accuracy, %, ST: least 50 at depth 5 and batch size 4, "
        "most 58 at depth 55 and batch size 64."
    )
    assert {"50", "58", "depth, layers", "batch size, images"} <= set(texts(panel.svg))
    assert "28 with 4 images, 55 with 8 images and 80 with 64 images" in found.caption


@pytest.mark.parametrize(
    "changes",
    [
        {"trainable_depth": None},
        {"rows": {"sat": ROW, "st": ROW}, "trainable_depth": {"depth": "depth", "batch": "batch", "rows": ["sat"]}},
        {"trainable_depth": {"depth": "batch", "batch": "depth", "rows": ["st"]}},
    ],
)
def test_without_a_network_it_holds_for_the_map_has_no_line(changes: dict[str, Any]) -> None:
    if "rows" in changes:
        changes["rows"]["sat"] = ROW | {"label": "SAT"}
    assert "dashed" not in figure(two_axes([5, 25], [4, 8], **changes)).caption
    assert "dashed" not in figure(two_axes([5, 25], [2, 8])).caption


def test_a_third_axis_makes_lines_of_their_own() -> None:
    places = {
        f"st-a-{a}-b-{b}-c-{c}": {"row": "st", "at": {"a": a, "b": b, "c": c}}
        for a in (1, 2)
        for b in (1, 2)
        for c in ("x", "y")
    }
    found = figure(compared(dict.fromkeys(places, 5), places, rows={"st": ROW}))
    assert [name for name, _ in found.legend] == ["ST, c x", "ST, c y"]
    assert [panel.title for panel in found.panels] == ["Clean, ST, c x", "Clean, ST, c y"]


def test_claims_about_cells_are_decided_where_they_are_measured() -> None:
    table = load_printed("galloway2019-figure-2")
    places = {name: Place.model_validate(place) for name, place in cells("bn", [10, 25, 55], [16, 64, 256]).items()}
    runs = {name: [run(90 - index, "galloway2019-mnist")] for index, name in enumerate(places)}
    verdicts = [each.verdict for each in PrintedComparison(table, runs, "paper", places).decisions]
    # 25 layers do worse with 256 images; 5 layers, and those without batch norm, were not run.
    assert verdicts == ["does not hold", "not decided by numbers", "not measured", "not measured"]


ESTIMATE = Estimate(50.0, 45.0, 55.0, None, 1)


@pytest.mark.parametrize(
    ("ticks", "shown", "hidden"),
    [
        ((18, 34, 50), {"18", "34", "50"}, set()),
        ((10, 100, 2000), {"10", "100", "2,000"}, set()),
        ((0, 1, 1000), {"0", "1,000"}, {"1"}),
        (("logits", "all"), {"logits", "all"}, set()),
        (tuple(f"layer{each}.conv1" for each in range(9)), {"layer0.conv1", "layer8.conv1"}, set()),
    ],
)
def test_an_axis_is_of_numbers_or_names(ticks: tuple[Any, ...], shown: set[str], hidden: set[str]) -> None:
    lines = [SweptLine(place, [(tick, ESTIMATE) for tick in ticks], [(ticks[0], 40.0, 1.0)]) for place in (0, 1)]
    svg = swept_lines("lines", Axis("axis", ticks), lines, "accuracy, %", alone=False)
    assert shown <= set(texts(svg))
    assert hidden.isdisjoint(texts(svg))
    assert svg == swept_lines("lines", Axis("axis", ticks), lines, "accuracy, %", alone=False)


def test_a_map_of_one_value_and_one_with_gaps_can_be_drawn() -> None:
    down, along = Axis("down", (1, 2)), Axis("along", ("a", "b"))
    assert "7" in texts(swept_map("map", down, along, {(1, "a"): 7.0}, 0))
    assert {"0.12", "-3"} <= {
        each.replace("\N{MINUS SIGN}", "-")
        for each in texts(swept_map("map", down, along, {(1, "a"): 0.12, (2, "b"): -3.0}, 0))
    }
