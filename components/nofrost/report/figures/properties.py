"""How a property is distributed over the images, recipe by recipe (wang2022 Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nofrost.report.figures.style import PAGE, figure, series, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 28
_TAIL = 0.01  # share of all values at which a long tail is cut

Values = NDArray[np.float64]


def property_histogram(name: str, values: Sequence[tuple[int, Values]], *, logarithmic: bool) -> str:
    """Return the drawing of the distributions of one property, given as (position of the recipe, [N] values).

    Each is the share of images by value, with the median as the recipe's marker on the axis. Values beyond an end of
    the axis that was cut count in the bin there; infinite ones are in none.
    """
    found = [(series(position), of_recipe[np.isfinite(of_recipe)], len(of_recipe)) for position, of_recipe in values]
    edges = _edges(np.concatenate([finite for _, finite, _ in found]), logarithmic)
    with figure(f"property-{name}", 165, 125) as (drawing, (axes,)):
        for look, finite, total in found:
            counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
            axes.stairs(100 * counts / total, edges, color=look.colour, linestyle=look.linestyle, linewidth=1.2)
        for look, finite, _ in found:
            if len(finite):
                middle = float(np.clip(np.median(finite), edges[0], edges[-1]))
                axes.plot([middle], [0], look.marker, color=look.colour, markeredgecolor=PAGE, clip_on=False, zorder=4)
        if logarithmic:
            _decades(axes)
        axes.set_ylim(bottom=0)
        axes.set_xlim(edges[0], edges[-1])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("images, %")
        return to_svg(drawing, f"property-{name}")


def _decades(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _edges(values: Values, logarithmic: bool) -> Values:
    shown = values[values > 0] if logarithmic else values
    if not len(shown):
        shown = np.ones(1)
    low, high = (float(end) for end in np.quantile(shown, (_TAIL, 1 - _TAIL)))
    least, largest = float(shown.min()), float(shown.max())
    if logarithmic:
        return np.geomspace(low, high if high > low else 2 * low, BINS + 1)
    spread = high - low
    low, high = (least if low - least < spread else low), (largest if largest - high < spread else high)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)
