"""The style that all drawings share.

Matplotlib draws with placeholder colours, and :func:`to_svg` puts the page's CSS variables in their place, so that one
drawing suits a light page, a dark page and print. Text stays text. Recipes differ by colour, marker and line style.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours --series-0 to --series-7 of style.css.
N_COLOURS = 8
# Placeholders for CSS variables, which matplotlib cannot draw in; no drawing uses these colours for anything else.
INK, MUTED, RULE, PAGE = "#010101", "#020202", "#030303", "#050505"
_SERIES = tuple(f"#0404{number:02x}" for number in range(N_COLOURS))
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAGE: "var(--page)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (3, 1.5))
# Of a drawing that is a file: in points.
_LEGEND_LINE = 13.0
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Series:
    """How the recipe at a position of the study is drawn. `dashes` is empty for an unbroken line."""

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def linestyle(self) -> Any:
        """The dashes in matplotlib's form, in points."""
        return (0, self.dashes) if self.dashes else "-"


def series(position: int) -> Series:
    """Return the style of the recipe at `position`."""
    # 8 colours, 9 markers and 5 dashes are pairwise coprime: combinations repeat only after 360 recipes.
    return Series(
        colour=_SERIES[position % N_COLOURS],
        marker=_MARKERS[position % len(_MARKERS)],
        dashes=_DASHES[position % len(_DASHES)],
    )


@contextmanager
def figure(name: str, width: float, height: float, rows: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield an empty figure of `width` x `height` points with `rows` axes under each other.

    Call :func:`to_svg` inside the block: the settings of matplotlib apply only there.

    Args:
        name: unique in the page; the ids in the SVG depend on it.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # A user's matplotlibrc must not change the report.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(name))
        drawing = Figure(figsize=(width / 72, height / 72), layout="constrained")
        axes = drawing.subplots(rows, sharex=True, squeeze=False)
        yield drawing, list(axes[:, 0])


def _settings(name: str) -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 8,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 2.5,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "lines.linewidth": 1.5,
        "lines.markersize": 5.5,
        "lines.markeredgewidth": 0.6,
    }


def to_svg(drawing: Figure) -> str:
    """Return the figure as an SVG element for an HTML page; the same figure gives the same text.

    Draw no names from users: matplotlib's font may lack their glyphs. Put them into the HTML beside the figure.
    """
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", transparent=True, metadata=_METADATA)
    svg = ElementTree.fromstring(buffer.getvalue())
    # The page sets the size of a drawing and how lines join (style.css).
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "focusable": "false", "aria-hidden": "true"}
    for definitions in [element for element in svg if element.find("{*}style") is not None]:
        svg.remove(definitions)
    for element in svg.iter():
        element.tag = _local_name(element.tag)
        element.attrib = dict(_attributes(element))
        element.tail = None
        element.text = element.text if element.tag == "text" else None
    return ElementTree.tostring(svg, encoding="unicode")


def _attributes(element: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        if key == "style":
            yield key, _themed(value)
        # Groups have the same ids in every figure, and nothing refers to them. Markers and clip paths, which are
        # referred to, have ids that are hashes salted with the figure's name.
        elif key != "id" or element.tag != "g":
            yield _local_name(key), " ".join(value.split())


def _local_name(name: str) -> str:
    """Return a name without its namespace, which SVG inside HTML does not have."""
    return name.rpartition("}")[2]


def _themed(style: str) -> str:
    """Return a style with CSS variables for the placeholder colours, and without a font, so that the page's applies."""
    properties = (part.partition(":") for part in style.split(";"))
    values = {key.strip(): value.strip() for key, _, value in properties}
    return "; ".join(f"{key}: {_VARIABLES.get(value, value)}" for key, value in values.items() if key != "font-family")


def swatch(position: int) -> str:
    """Return the line and marker of the recipe at `position` as a small SVG element, for legends and tables."""
    from matplotlib.markers import MarkerStyle

    look = series(position)
    marker = MarkerStyle(look.marker)
    outline = np.asarray(marker.get_path().transformed(marker.get_transform()).to_polygons()[0])
    dots = " ".join(f"{14 + 8 * x:.1f},{6 - 8 * y:.1f}" for x, y in outline.tolist())
    dashes = f' stroke-dasharray="{" ".join(map(str, look.dashes))}"' if look.dashes else ""
    colour = _VARIABLES[look.colour]
    return (
        '<svg class="swatch" viewBox="0 0 28 12" focusable="false" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="28" y2="6" style="stroke: {colour}" stroke-width="2"{dashes}/>'
        f'<polygon points="{dots}" style="fill: {colour}"/></svg>'
    )


def percent_axis(axes: Axes, label: str = "accuracy, %") -> None:
    """Make the y axis run from 0 to 100 %."""
    axes.set_ylim(-3, 103)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")


def spread_out(axes: Axes, position: int, total: int, distance: float = 2.2) -> Any:
    """Return a transform that moves a series sideways by a few points, so that intervals do not hide each other."""
    from matplotlib.transforms import ScaledTranslation

    offset = (position - (total - 1) / 2) * distance
    return axes.transData + ScaledTranslation(offset / 72, 0, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]


def standalone_svg(drawings: Sequence[str], legend: Sequence[tuple[str, int]]) -> str:
    """Return drawings of :func:`to_svg`, under each other, as an SVG file of its own, in the colours of a light page.

    Args:
        drawings: of panels of a figure.
        legend: name and position of each recipe, which are written below the drawings.
    """
    parts, top, width = [], 0.0, 0.0
    for drawing in drawings:
        _, _, panel_width, height = map(float, re.findall(r'viewBox="([^"]*)"', drawing)[0].split())
        parts.append(drawing.replace("<svg ", f'<svg y="{top:g}" width="{panel_width:g}" height="{height:g}" ', 1))
        top, width = top + height, max(width, panel_width)
    for name, position in legend:
        top += _LEGEND_LINE
        mark = swatch(position).replace("<svg ", f'<svg x="8" y="{top - 9:g}" width="28" height="12" ', 1)
        parts.append(f'{mark}<text x="42" y="{top:g}" font-size="8">{escape(name)}</text>')
    body = "".join(parts)
    for variable, colour in _page_colours().items():
        body = body.replace(f"var({variable})", colour)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {top + 8:g}" width="{1.6 * width:g}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{body}</svg>\n'
    )


def _page_colours() -> dict[str, str]:
    """Return the colours of a light page by the names of their CSS variables."""
    style = (files("nofrost.report") / "templates" / "style.css").read_text(encoding="utf-8")
    colours = re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6});", style)
    # Those of a dark page follow.
    return dict(reversed(colours))
