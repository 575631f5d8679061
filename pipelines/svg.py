"""Drawings as SVG: boxes in columns from left to right, readable on a white and on a dark page.

All text stands in filled boxes, and lines are of a middle grey, because the page behind the drawing is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape

from pipelines.drawing import Box, Drawing

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
LINE = "#8b949e"
COLOURS = {
    "prepare": "#1f6f9c",
    "prepare-test-sets": "#1f6f9c",
    "augment": "#1f6f9c",
    "train": "#b04a12",
    "launch": "#b04a12",
    "evaluate": "#6a4a9c",
    "report": "#2c7a4b",
}
GREY = "#57606a"
LETTER, SMALL_LETTER = 7.6, 6.3  # widths in fonts of 14 and 11.5 pixels
HEIGHT, MARGIN, GAP, COLUMN_GAP, TITLE = 44.0, 14.0, 12.0, 30.0, 26.0


@dataclass(frozen=True)
class Area:
    """Where a box is, in pixels from the corner of the drawing around it; arrows join it at the height `axis`."""

    width: float
    height: float
    axis: float
    x: float = 0.0
    y: float = 0.0


def as_svg(drawing: Drawing) -> str:
    """Return a drawing as an SVG file."""
    size, areas = layout(drawing)
    width, height = size.width + 2, size.height + 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="-1 -1 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="14" text-anchor="middle">',
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        *_drawn(drawing, areas, 0, 0),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def layout(drawing: Drawing) -> tuple[Area, list[Area]]:
    """Return the size of a drawing, and where its boxes are: each in the column after all those that point to it."""
    columns: dict[int, list[int]] = {}
    for index, depth in enumerate(drawing.depths()):
        columns.setdefault(depth, []).append(index)
    areas = [_size(box) for box in drawing.boxes]
    heights = {depth: sum(areas[index].height + GAP for index in column) - GAP for depth, column in columns.items()}
    tallest = max(columns, key=lambda depth: heights[depth])
    height, x = heights[tallest], 0.0
    axis = areas[columns[tallest][0]].axis if len(columns[tallest]) == 1 else height / 2
    for depth, column in sorted(columns.items()):
        width = max(areas[index].width for index in column)
        y = axis - areas[column[0]].axis if len(column) == 1 else (height - heights[depth]) / 2
        for index in column:
            areas[index] = replace(areas[index], width=width, x=x, y=y)
            y += areas[index].height + GAP
        x += width + COLUMN_GAP
    return Area(x - COLUMN_GAP, height, axis), areas


def _size(box: Box) -> Area:
    title = len(box.name) * LETTER
    if box.inside is None:
        return Area(max(title, len(box.note) * SMALL_LETTER) + 2 * MARGIN, HEIGHT, HEIGHT / 2)
    inside, _ = layout(box.inside)
    top = TITLE + MARGIN
    return Area(max(inside.width, title) + 2 * MARGIN, top + inside.height + MARGIN, top + inside.axis)


def _drawn(drawing: Drawing, areas: list[Area], x: float, y: float) -> Iterator[str]:
    """Yield the elements of a drawing whose corner is at (x, y)."""
    for source, target in drawing.arrows:
        start, end = areas[source], areas[target]
        x1, y1 = x + start.x + start.width, y + start.y + start.axis
        x2, y2 = x + end.x, y + end.y + end.axis
        middle = (x1 + x2) / 2
        yield (
            f'<path d="M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2 - 1:.1f} {y2:.1f}" '
            f'fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#head)"/>'
        )
    for box, area in zip(drawing.boxes, areas, strict=True):
        yield from _box(box, area, x + area.x, y + area.y)


def _box(box: Box, area: Area, x: float, y: float) -> Iterator[str]:
    colour = next((colour for kind, colour in COLOURS.items() if box.kind.startswith(kind)), GREY)
    if box.inside is not None:
        yield _rectangle(x, y, area.width, area.height, f'fill="{LINE}" fill-opacity="0.1" stroke="{LINE}" rx="8"')
        width = len(box.name) * LETTER + 1.5 * MARGIN
        yield _rectangle(x, y, width, TITLE, f'fill="{GREY}" rx="8"')
        yield _text(box.name, x + width / 2, y + 18)
        yield from _drawn(box.inside, layout(box.inside)[1], x + MARGIN, y + TITLE + MARGIN)
        return
    # Several that are alike are a pile.
    for offset in (6, 3) if box.copies > 1 else ():
        yield _rectangle(
            x + offset, y - offset, area.width - offset, area.height, f'fill="{colour}" fill-opacity="0.45" rx="6"'
        )
    yield _rectangle(x, y, area.width - (6 if box.copies > 1 else 0), area.height, f'fill="{colour}" rx="6"')
    middle = x + area.width / 2 - (3 if box.copies > 1 else 0)
    yield _text(box.name, middle, y + area.height / 2 + (-2 if box.note else 5))
    if box.note:
        yield _text(box.note, middle, y + area.height / 2 + 14, 'font-size="11.5" fill-opacity="0.9"')


def _rectangle(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}/>'


def _text(text: str, x: float, y: float, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#fff" {style}>{escape(text)}</text>'.replace(" >", ">")
