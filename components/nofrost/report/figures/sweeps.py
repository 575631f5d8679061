"""Drawings over swept keys: lines along one axis with printed points beside, and heat maps over two axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nofrost.report.compare import Estimate
from nofrost.report.figures.style import INK, PAGE, figure, series, spread_out, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

# In points: a panel of lines, alone and beside others, a list with the height of a name (and the distance of its lines
# in names), and a cell of a heat map with what surrounds the cells.
ALONE, BESIDE = (320.0, 220.0), (210.0, 165.0)
LIST_WIDTH, NAME, LIST_SHIFT = 240.0, 11.0, 0.18
CELL_WIDTH, CELL_HEIGHT, LEFT, BELOW = 34.0, 17.0, 46.0, 40.0
# So many characters stand beside each other.
BROAD = 36
# So many times the smallest value is the largest where an axis is logarithmic.
DECADES = 12.0
# So much of the axis two labels of numbers are apart, at least.
APART = 0.09
DARKEST = 0.6


@dataclass(frozen=True)
class Axis:
    """An axis of a sweep with its coordinates in order: numbers, or names, which stand at equal distances."""

    title: str
    ticks: Sequence[float | str]

    @property
    def noun(self) -> str:
        """The title without its unit."""
        return self.title.partition(",")[0]

    @property
    def is_numeric(self) -> bool:
        """Whether all coordinates are numbers."""
        return all(not isinstance(tick, str) for tick in self.ticks)

    @property
    def is_list(self) -> bool:
        """Whether it has names that are too long, or too many, to stand beside each other."""
        return not self.is_numeric and sum(len(self.label(tick)) + 2 for tick in self.ticks) > BROAD

    @property
    def is_logarithmic(self) -> bool:
        """Whether its numbers span decades."""
        numbers = [tick for tick in self.ticks if not isinstance(tick, str)]
        return self.is_numeric and numbers[0] > 0 and numbers[-1] >= DECADES * numbers[0]

    def x(self, tick: float | str) -> float:
        """Return where a coordinate is drawn."""
        return tick if self.is_numeric and not isinstance(tick, str) else float(self.ticks.index(tick))

    def label(self, tick: float | str) -> str:
        """Return how a coordinate is written."""
        return tick if isinstance(tick, str) else f"{tick:,.10g}"


@dataclass(frozen=True)
class SweptLine:
    """The values of a line along an axis, and those that the paper prints, each with its spread.

    `position` is that of the recipe of the study whose colour and marker it has.
    """

    position: int
    ours: Sequence[tuple[float | str, Estimate]]
    printed: Sequence[tuple[float | str, float, float]] = ()


def swept_lines(name: str, axis: Axis, lines: Sequence[SweptLine], unit: str, *, alone: bool) -> str:
    """Draw lines along an axis with their intervals, and the printed points as hollow markers; return the SVG.

    Long names stand under each other, and values beside them.

    Args:
        name: unique in the page.
        unit: what the axis of the values shows, such as ``accuracy, %``; in percent it ends at 0 and 100.
        alone: whether it is the only panel of its figure.
    """
    size = ALONE if alone else BESIDE
    if axis.is_list:
        size = (LIST_WIDTH, NAME * len(axis.ticks) + BELOW)
    with figure(name, *size) as (drawing, (axes,)):
        for index, line in enumerate(lines):
            _draw(axes, axis, line, index, len(lines))
        span = _span(lines, is_percent=unit.endswith("%"))
        if axis.is_list:
            axes.set_yticks(range(len(axis.ticks)), [axis.label(tick) for tick in axis.ticks])
            axes.set_ylim(len(axis.ticks) - 0.4, -0.6)
            axes.set_xlim(*span)
            axes.set_xlabel(unit)
            return to_svg(drawing)
        if axis.is_logarithmic:
            axes.set_xscale("log")
        axes.set_xlim(*_ends(axis))
        axes.set_ylim(*span)
        _mark(axes, axis)
        axes.set_ylabel(unit)
        return to_svg(drawing)


def _ends(axis: Axis) -> tuple[float, float]:
    """Return the ends of the axis, a little beyond its ticks."""
    first, last = axis.x(axis.ticks[0]), axis.x(axis.ticks[-1])
    if axis.is_logarithmic:
        margin = (last / first) ** 0.07
        return first / margin, last * margin
    margin = 0.07 * (last - first) if axis.is_numeric else 0.6
    return first - margin, last + margin


def _span(lines: Sequence[SweptLine], is_percent: bool) -> tuple[float, float]:
    """Return the ends of the upright axis; no less than ten points of a percentage, so that noise does not fill it."""
    ours = [end for line in lines for _, each in line.ours for end in (each.low, each.high)]
    printed = [end for line in lines for _, value, spread in line.printed for end in (value - spread, value + spread)]
    low, high = min(ours + printed), max(ours + printed)
    margin = 0.08 * (high - low) or 0.5
    if not is_percent:
        return low - margin, high + margin
    middle = (low + high) / 2
    return max(-2.0, min(low - margin, middle - 5)), min(102.0, max(high + margin, middle + 5))


def _draw(axes: Axes, axis: Axis, line: SweptLine, index: int, total: int) -> None:
    look = series(line.position)
    if line.printed:
        # Without a spread there is no bar, not one of no length.
        spreads = [spread or np.nan for _, _, spread in line.printed]
        _points(
            axes,
            axis,
            [(tick, value) for tick, value, _ in line.printed],
            [spreads, spreads],
            (index, total),
            color=look.colour,
            marker=look.marker,
            markersize=7.5,
            markerfacecolor="none",
            markeredgewidth=1.1,
            elinewidth=0.7,
            capsize=2,
            linewidth=0.6,
            linestyle=(0, (1, 2)) if axis.is_numeric else "",
            zorder=2,
        )
    if line.ours:
        estimates = [estimate for _, estimate in line.ours]
        below = [max(0.0, estimate.value - estimate.low) for estimate in estimates]
        above = [max(0.0, estimate.high - estimate.value) for estimate in estimates]
        _points(
            axes,
            axis,
            [(tick, estimate.value) for tick, estimate in line.ours],
            [below, above],
            (index, total),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            markeredgecolor=PAGE,
            elinewidth=0.9,
            capsize=0,
            linestyle=look.linestyle if axis.is_numeric else "",
            zorder=3,
        )


def _points(
    axes: Axes,
    axis: Axis,
    points: Sequence[tuple[float | str, float]],
    bars: list[list[float]],
    place: tuple[int, int],
    **style: Any,
) -> None:
    """Draw points with their error bars, those below and those above; `place` is that of the line, and of how many."""
    x, y = [axis.x(tick) for tick, _ in points], [value for _, value in points]
    if axis.is_list:
        index, total = place
        moved = [each + LIST_SHIFT * (index - (total - 1) / 2) for each in x]
        axes.errorbar(y, moved, xerr=bars, **style)
    else:
        axes.errorbar(x, y, yerr=bars, transform=spread_out(axes, *place), **style)


def _mark(axes: Axes, axis: Axis) -> None:
    """Put ticks at the coordinates, and the title below them."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    axes.xaxis.set_major_locator(FixedLocator([axis.x(tick) for tick in axis.ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticklabels(_labels(axis))
    axes.set_xlabel(f"{axis.title} (logarithmic)" if axis.is_logarithmic else axis.title)
    axes.grid(visible=False, axis="x")


def _labels(axis: Axis) -> list[str]:
    """Return what is written at the ticks: nothing at a number that is too close to the one before."""
    if not axis.is_numeric:
        return [axis.label(tick) for tick in axis.ticks]
    scale = np.log if axis.is_logarithmic else np.asarray
    places = scale([axis.x(tick) for tick in axis.ticks]).tolist()
    labels: list[str] = []
    last, least = -np.inf, APART * (places[-1] - places[0])
    for tick, place in zip(axis.ticks, places, strict=True):
        is_apart = place - last >= least
        labels.append(axis.label(tick) if is_apart else "")
        last = place if is_apart else last
    return labels


def swept_map(
    name: str,
    down: Axis,
    along: Axis,
    values: Mapping[tuple[float | str, float | str], float],
    position: int,
    border: Callable[[float], float] | None = None,
) -> str:
    """Draw a heat map: each cell has its number, and is the more coloured the larger that is; return the SVG.

    Args:
        name: unique in the page.
        values: by coordinates on `down` and `along`.
        position: of the recipe of the study whose colour the cells have.
        border: a coordinate on `down` for each one on `along`, both numeric: drawn as a dashed line.
    """
    least, most = min(0.0, *values.values()), max(values.values())
    size = (CELL_WIDTH * len(along.ticks) + LEFT, CELL_HEIGHT * len(down.ticks) + BELOW)
    with figure(name, *size) as (drawing, (axes,)):
        for (row, column), value in values.items():
            x, y = along.ticks.index(column), down.ticks.index(row)
            share = (value - least) / (most - least) if most > least else 0.0
            colour = series(position).colour
            axes.add_patch(_cell(x, y, colour, DARKEST * share))
            axes.text(x, y, f"{value:.3g}", color=INK, fontsize=7, ha="center", va="center", zorder=4)
        if border is not None:
            axes.plot(*_border(down, along, border), color=INK, linewidth=1.4, linestyle=(0, (4, 2)), zorder=3)
        axes.set_xlim(-0.5, len(along.ticks) - 0.5)
        axes.set_ylim(-0.5, len(down.ticks) - 0.5)
        axes.set_xticks(range(len(along.ticks)), [along.label(tick) for tick in along.ticks])
        axes.set_yticks(range(len(down.ticks)), [down.label(tick) for tick in down.ticks])
        axes.set_xlabel(along.title)
        axes.set_ylabel(down.title)
        axes.grid(visible=False)
        return to_svg(drawing)


def _cell(x: float, y: float, colour: str, alpha: float) -> Patch:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor=colour, alpha=alpha, linewidth=0, zorder=1)


def _border(down: Axis, along: Axis, border: Callable[[float], float]) -> tuple[list[float], list[float]]:
    """Return the line in units of cells: between two rows it lies where its coordinate lies between theirs."""
    columns = [float(tick) for tick in along.ticks]
    rows = [float(tick) for tick in down.ticks]
    heights = np.interp([border(column) for column in columns], rows, range(len(rows)), left=-0.5, right=len(rows))
    return list(map(float, range(len(columns)))), [float(height) for height in heights]
