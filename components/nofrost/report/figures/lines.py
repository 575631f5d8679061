"""Accuracies of recipes along an axis, with the spread of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofrost.report.compare import Estimate
from nofrost.report.figures.style import PAGE, series, spread_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """The accuracies of the recipe at `position` of the study at the points `x`."""

    position: int
    x: Sequence[float]
    y: Sequence[Estimate]


def draw_lines(axes: Axes, lines: Sequence[Line], markersize: float = 5.5) -> None:
    """Draw each line with its intervals, the lines moved a little sideways from each other."""
    for place, line in enumerate(lines):
        look = series(line.position)
        values = [100 * estimate.value for estimate in line.y]
        below = [100 * max(0.0, estimate.value - estimate.low) for estimate in line.y]
        above = [100 * max(0.0, estimate.high - estimate.value) for estimate in line.y]
        axes.errorbar(
            line.x,
            values,
            yerr=[below, above],
            color=look.colour,
            linestyle=look.linestyle,
            marker=look.marker,
            markersize=markersize,
            markeredgecolor=PAGE,
            elinewidth=0.9,
            capsize=0,
            zorder=3,
            transform=spread_out(axes, place, len(lines)),
        )
