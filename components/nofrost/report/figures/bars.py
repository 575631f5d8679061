"""Bars of accuracies in groups, such as one group for each corruption with a bar for each recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofrost.report.compare import Estimate
from nofrost.report.figures.accuracy import draw_points, error_bars
from nofrost.report.figures.style import INK, figure, series, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In points: a bar, the name above its group, the space below it, and the axis under all groups.
BAR, NAME, GAP, AXIS = 6.5, 11.0, 4.0, 30.0
PANEL_WIDTH = 250


@dataclass(frozen=True)
class Bar:
    """The accuracy of the recipe at `position` of the study; `printed` is a published number in [0, 1] beside it."""

    position: int
    accuracy: Estimate
    printed: float | None = None


def bar_panel(name: str, groups: Mapping[str, Sequence[Bar]]) -> str:
    """Draw groups of horizontal bars under each other, on an axis from 0 to 100 %; return the SVG.

    A bar ends in the recipe's marker with its interval, and a short upright line is its printed number.

    Args:
        name: unique in the page.
        groups: bars by what is written above them: names of this package, not of users.
    """
    height = sum(NAME + BAR * len(bars) + GAP for bars in groups.values())
    with figure(name, PANEL_WIDTH, height + AXIS) as (drawing, (axes,)):
        placed: dict[int, list[tuple[float, Bar]]] = {}
        top = 0.0
        for title, bars in groups.items():
            axes.text(0.5, top + NAME - 2, title, color=INK, ha="left", va="bottom")
            for index, bar in enumerate(bars):
                placed.setdefault(bar.position, []).append((top + NAME + BAR * (index + 0.5), bar))
            top += NAME + BAR * len(bars) + GAP
        for position, bars_of_recipe in placed.items():
            _draw(axes, position, bars_of_recipe)
        axes.set_ylim(height, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 101)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("accuracy, %")
        return to_svg(drawing)


def _draw(axes: Axes, position: int, bars: Sequence[tuple[float, Bar]]) -> None:
    """Draw the bars of one recipe, each given with its place, as few objects: matplotlib is slow with many."""
    y = [height for height, _ in bars]
    values = [100 * bar.accuracy.value for _, bar in bars]
    axes.hlines(y, 0, values, color=series(position).colour, alpha=0.35, linewidth=BAR - 1.5, zorder=2)
    intervals = error_bars([bar.accuracy for _, bar in bars])
    draw_points(axes, position, values, y, 4.5, 1.1, xerr=intervals, linestyle="", clip_on=False)
    printed = [(100 * bar.printed, height) for height, bar in bars if bar.printed is not None]
    if printed:
        axes.plot(*zip(*printed, strict=True), "|", color=INK, markersize=BAR, markeredgewidth=1.4, zorder=4)
