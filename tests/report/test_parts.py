"""Small parts: numbers in words, images as data URIs, Markdown's escapes, drawings of odd studies."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nofrost.report import figures, text
from nofrost.report.compare import Estimate
from nofrost.report.document import Cell, Column, Document, Section, Table, numbered
from nofrost.report.figures import Bar, Line
from nofrost.report.figures.style import series
from nofrost.report.render import escape, to_markdown
from nofrost.report.sections.examples import LARGEST_SIDE, data_uri, magnification, magnified
from nofrost.results import Epoch, ReliabilityBin


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (text.percent(0.9312), "93.1"),
        (text.percent(0.93125, 2), "93.12"),
        (text.span(0.9, 0.953), "90.0–95.3"),
        (text.points(0.031), "+3.1"),
        (text.points(-0.031), "−3.1"),
        (text.points(-0.0001), "0.0"),
        (text.p_value(0.00001), "<\N{NO-BREAK SPACE}0.0001"),
        (text.p_value(0.049), "0.049"),
        (text.p_value(0.8), "0.80"),
        (text.p_value(1.0), "1"),
        (text.duration(8.43), "8.4\N{NO-BREAK SPACE}s"),
        (text.duration(59.97), "1\N{NO-BREAK SPACE}min\N{NO-BREAK SPACE}0\N{NO-BREAK SPACE}s"),
        (text.duration(7.1 * 3600), "7\N{NO-BREAK SPACE}h\N{NO-BREAK SPACE}6\N{NO-BREAK SPACE}min"),
        (text.listed(["a"]), "a"),
        (text.listed(["a", "b", "c"]), "a, b and c"),
        (text.listed([]), "none"),
        (text.plural(1, "image"), "1 image"),
        (text.plural(1200, "image"), "1,200 images"),
        (text.threat("l2", "0.5"), "ℓ2 ≤ 0.5"),
    ],
)
def test_numbers_are_formatted(value: str, words: str) -> None:
    assert value == words


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L"), (4, "L")])
def test_an_image_survives_its_data_uri(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, channels), dtype=np.uint8)
    decoded = Image.open(io.BytesIO(base64.b64decode(data_uri(pixels).split(",")[1])))
    assert decoded.mode == mode
    np.testing.assert_array_equal(np.asarray(decoded), pixels if mode == "RGB" else pixels[:, :, 0])
    assert data_uri(pixels.astype(np.float32) / 255) == data_uri(pixels)


def test_a_photograph_may_be_a_jpeg() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    source = data_uri(pixels, quality=88)
    assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).format == "JPEG"
    assert source.startswith("data:image/jpeg;base64,")
    assert len(source) < len(data_uri(pixels))


def test_large_images_are_subsampled() -> None:
    decoded = Image.open(io.BytesIO(base64.b64decode(data_uri(np.zeros((500, 320, 3), np.uint8)).split(",")[1])))
    assert max(decoded.size) <= LARGEST_SIDE
    assert decoded.size == (80, 125)


@pytest.mark.parametrize(("largest", "factor"), [(8 / 255, 16), (32 / 255, 4), (1.0, 1), (0.0, 1)])
def test_perturbations_are_magnified_by_the_largest_whole_factor(largest: float, factor: int) -> None:
    change = np.zeros((2, 4, 4, 1), np.float32)
    change[0, 0, 0, 0] = -largest
    assert magnification(change) == factor
    shown = magnified(change[0], factor)
    assert shown[1, 1, 0] == 0.5
    assert shown[0, 0, 0] == pytest.approx(max(0.0, 0.5 - factor * largest), abs=1e-6)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_markdown_shows_any_name_on_one_line_without_markup(name: str) -> None:
    shown = escape(name)
    assert "\n" not in shown
    assert re.search(r"(?<!\\)(?:\\\\)*[`*<>|\[\]#~]", shown) is None


def test_small_print_stands_in_parentheses_after_a_text_and_alone_without_one() -> None:
    table = Table(
        "", [Column("a", text=True)], [[Cell("x", small="one\ntwo")], [Cell("", small="one\ntwo")], [Cell("x")]]
    )
    lines = to_markdown(Document("", "", [Section("a", "A", "A", [table])])).splitlines()
    assert [line.strip("| ") for line in lines if line.startswith("|")][2:] == ["x (one; two)", "one; two", "x"]


def test_tables_and_figures_are_numbered_through_all_sections() -> None:
    table = Table("caption", [Column("a")], [])
    found = numbered([Section("a", "A", "A", [table, table]), Section("b", "B", "B", [table])])
    assert [block.number for section in found for block in section.blocks] == ["Table 1", "Table 2", "Table 3"]


def test_neighbouring_columns_of_one_group_share_a_header() -> None:
    columns = [Column("a"), Column("b", "x"), Column("c", "x"), Column("d", "y")]
    assert Table("", columns, []).groups == [("", 1), ("x", 2), ("y", 1)]
    assert Table("", [Column("a")], []).groups == []


def test_recipes_differ_by_more_than_colour() -> None:
    looks = [series(position) for position in range(16)]
    assert len({look.colour for look in looks[:8]}) == 8
    assert len({(look.marker, look.dashes) for look in looks}) == 16


def line(*points: tuple[float, float]) -> Line:
    return Line(
        0, [x for x, _ in points], [Estimate(y, max(0, y - 0.05), min(1, y + 0.05), None, 1) for _, y in points]
    )


@pytest.mark.parametrize(
    "points",
    [((1, 0.5),), ((0, 0.9), (10, 0.2)), ((1, 1.0), (2000, 0.0)), tuple((n, 0.5) for n in range(1, 60))],
    ids=["one point", "from zero", "wide", "crowded"],
)
def test_curves_of_any_range_are_drawn(points: tuple[tuple[float, float], ...]) -> None:
    for svg in (figures.steps_curve([line(*points)]), figures.budget_curve([line(*points)], 1.0, in_levels=False)):
        assert svg.startswith("<svg")
        assert svg.endswith("</svg>")
        assert "nan" not in svg


def test_bars_show_a_printed_number_where_there_is_one() -> None:
    value = Estimate(0.8, 0.75, 0.85, None, 1)
    plain, printed = (
        figures.bar_panel("bars", {"fog": [Bar(0, value), Bar(1, value, number)]}) for number in (None, 0.7)
    )
    assert plain.count("fog") == printed.count("fog") == 1
    # A mark of its own, in the colour of text.
    assert printed.count("stroke: var(--ink)") > plain.count("stroke: var(--ink)")


def test_a_reliability_diagram_of_any_bins_is_drawn() -> None:
    bins = [ReliabilityBin(count=1, confidence=1.0, accuracy=0.0), ReliabilityBin(count=9, confidence=0.0, accuracy=1)]
    svg = figures.reliability_panel("reliability", 0, {"clean": bins, "corrupted": bins[:1]})
    assert "corrupted: right, %" in svg
    assert "nan" not in svg


def test_trainings_without_any_accuracy_are_drawn() -> None:
    unmeasured = dict.fromkeys(key for key in Epoch.model_fields if key.startswith(("train_", "selection_")))
    (svg,) = figures.training_panels([(0, 1, [Epoch(epoch=1, phase="train", loss=2.0, lr=0.1, eps=0.0, **unmeasured)])])
    assert svg.startswith("<svg")


def test_settings_of_matplotlib_are_left_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.steps_curve([line((1, 0.5), (2, 0.4))])
    assert dict(matplotlib.rcParams) == before


def test_settings_of_the_user_do_not_change_a_drawing() -> None:
    import matplotlib

    plain = figures.steps_curve([line((1, 0.5), (2, 0.4))])
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert figures.steps_curve([line((1, 0.5), (2, 0.4))]) == plain
