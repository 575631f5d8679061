"""Drawings of the properties of a model: those of each image (wang2022 Fig. 6), and those of its batch norms.

Gains and shifts are drawn as in zeise2025 Fig. 2, statistics of channels as in wang2022 Fig. 1 and xie2020 Fig. 5, 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nofrost.report.figures.style import INK, PAGE, figure, series, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTOGRAM_BINS = 28
# An odd number, so that one bin lies around zero.
GAIN_BINS = 41
# The proportion of all values that is cut off at each end of the axis where they form a long tail.
TAIL = 0.01
MARKERS = {"clean": ("s", "D"), "adversarial": ("x", "+")}

Values = NDArray[np.float64]
Channels = NDArray[np.float32]


def property_histogram(name: str, values: Sequence[tuple[int, Values]], *, logarithmic: bool) -> str:
    """Draw the distributions of one property, given as (position of the recipe, [N] values); return the SVG.

    A line shows the share of images by value, and the recipe's marker on the axis shows the median. Values beyond the
    ends of the axis count in the outermost bins; infinite ones are in no bin.
    """
    groups = [(series(position), group[np.isfinite(group)], len(group)) for position, group in values]
    edges = _edges(np.concatenate([finite for _, finite, _ in groups]), logarithmic)
    with figure(f"property-{name}", 165, 125) as (drawing, (axes,)):
        for look, finite, total in groups:
            counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
            axes.stairs(100 * counts / total, edges, color=look.colour, linestyle=look.linestyle, linewidth=1.2)
        # The median as the recipe's marker on the axis, on top of all lines.
        for look, finite, _ in groups:
            if len(finite):
                middle = float(np.clip(np.median(finite), edges[0], edges[-1]))
                axes.plot([middle], [0], look.marker, color=look.colour, markeredgecolor=PAGE, clip_on=False, zorder=4)
        if logarithmic:
            _decades(axes)
        axes.set_ylim(bottom=0)
        axes.set_xlim(edges[0], edges[-1])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("images, %")
        return to_svg(drawing)


def _decades(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _edges(values: Values, logarithmic: bool) -> Values:
    # A logarithmic axis cannot show zeros; without any value, the axis is that of a single 1.
    shown = values[values > 0] if logarithmic else values
    if not len(shown):
        shown = np.ones(1)
    low, high = (float(end) for end in np.quantile(shown, (TAIL, 1 - TAIL)))
    least, largest = float(shown.min()), float(shown.max())
    if logarithmic:
        return np.geomspace(low, high if high > low else 2 * low, HISTOGRAM_BINS + 1)
    # Cut an end of the axis only where the values beyond it span more than all values between the cuts.
    spread = high - low
    low, high = (least if low - least < spread else low), (largest if largest - high < spread else high)
    return np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)


def gain_and_shift_panels(panels: Sequence[tuple[int, Channels, Channels]]) -> list[str]:
    """Return one SVG for each panel, given as (position of the recipe, all γ, all β): γ above, β below.

    All panels have the same value axis, with a bin centred on zero.
    """
    reach = 1.05 * max([float(np.abs(values).max()) for _, *both in panels for values in both if len(values)] or [1.0])
    edges = np.linspace(-reach, reach, GAIN_BINS + 1)
    drawings = []
    for index, (position, gains, shifts) in enumerate(panels):
        name = f"gains-{index}"
        with figure(name, 165, 170, rows=2) as (drawing, (above, below)):
            for axes, values, label in ((above, gains, "γ, %"), (below, shifts, "β, %")):
                counts, _ = np.histogram(values, edges)
                colour = series(position).colour
                axes.stairs(100 * counts / max(1, len(values)), edges, color=colour, fill=True)
                axes.set_ylabel(label)
                axes.grid(visible=False, axis="x")
                axes.set_ylim(bottom=0)
            below.set_xlabel("value")
            drawings.append(to_svg(drawing))
    return drawings


def statistics_scatter(name: str, groups: Sequence[tuple[int, bool, Channels, Channels]]) -> str:
    """Draw one point per channel, running mean against running variance; return the SVG.

    Args:
        name: unique in the page.
        groups: (position of the recipe, whether its markers are filled, mean [C], variance [C]).
    """
    with figure(name, 165, 150) as (drawing, (axes,)):
        for position, filled, mean, variance in groups:
            look = series(position)
            axes.plot(
                mean,
                variance,
                look.marker,
                color=look.colour,
                markerfacecolor=look.colour if filled else PAGE,
                markeredgecolor=PAGE if filled else look.colour,
                markersize=4,
                zorder=3,
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("running mean")
        axes.set_ylabel("running variance")
        return to_svg(drawing)


def channel_panel(name: str, position: int, sources: Mapping[str, tuple[Channels, Channels]]) -> str:
    """Draw mean (above) and variance (below) of some channels from several sources; return the SVG.

    The first source is a line with filled markers. The others are open squares and diamonds, or crosses where their
    name begins with ``adversarial``.

    Args:
        name: unique in the page.
        position: of the recipe, for its colour.
        sources: by name (mean [n], variance [n]).
    """
    with figure(name, 165, 175, rows=2) as (drawing, (above, below)):
        for which, axes in enumerate((above, below)):
            drawn: Counter[str] = Counter()
            for index, (source, values) in enumerate(sources.items()):
                view = source.partition("-")[0]
                markers = MARKERS.get(view, MARKERS["clean"])
                marker = markers[drawn[view] % len(markers)] if index else "o-"
                drawn[view] += 1
                axes.plot(np.arange(len(values[which])), values[which], marker, **_look(position, index))
            axes.grid(visible=False, axis="x")
        above.set_ylabel("mean")
        below.set_ylabel("variance")
        below.set_ylim(bottom=0)
        below.set_xlabel("channel")
        below.set_xticks([])
        return to_svg(drawing)


def _look(position: int, index: int) -> dict[str, Any]:
    if index == 0:
        return {"color": series(position).colour, "markeredgecolor": PAGE, "linewidth": 0.9, "markersize": 4.5}
    return {"color": INK, "markerfacecolor": "none", "markeredgewidth": 0.7, "markersize": 3.8, "zorder": 4}
