"""What batch norms hold: gains and shifts (zeise2025 Fig. 2), running statistics (wang2022 Fig. 1; xie2020 Fig. 5 and 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.report.figures.style import INK, PAGE, figure, series, to_svg

Values = NDArray[np.float32]
_BINS = 41


def gain_and_shift_panels(panels: Sequence[tuple[int, Values, Values]]) -> list[str]:
    """Return one drawing for each panel, given as (position of the recipe, all γ, all β): γ above, β below.

    All share their axis, which has a bin around zero.
    """
    reach = 1.05 * max([float(np.abs(values).max()) for _, *both in panels for values in both if len(values)] or [1.0])
    edges = np.linspace(-reach, reach, _BINS + 1)
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
            drawings.append(to_svg(drawing, name))
    return drawings


def statistics_scatter(name: str, groups: Sequence[tuple[int, bool, Values, Values]]) -> str:
    """Return the drawing of one point per channel: running mean across, running variance up.

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
        return to_svg(drawing, name)


def channel_panel(name: str, position: int, sources: Mapping[str, tuple[Values, Values]]) -> str:
    """Return the drawing of mean (above) and variance (below) of some channels from several sources.

    The first source is a line with filled markers. Those after it are open squares and diamonds, or crosses where their
    name begins with ``adversarial``.

    Args:
        name: unique in the page.
        position: of the recipe, for its colour.
        sources: by name (mean [n], variance [n]).
    """
    with figure(name, 165, 175, rows=2) as (drawing, (above, below)):
        for which, axes in enumerate((above, below)):
            kinds: Counter[str] = Counter()
            for place, (source, values) in enumerate(sources.items()):
                kind = source.partition("-")[0]
                shapes = _SHAPES.get(kind, _SHAPES["clean"])
                marker = shapes[kinds[kind] % len(shapes)] if place else "o-"
                kinds[kind] += 1
                axes.plot(np.arange(len(values[which])), values[which], marker, **_look(position, place))
            axes.grid(visible=False, axis="x")
        above.set_ylabel("mean")
        below.set_ylabel("variance")
        below.set_ylim(bottom=0)
        below.set_xlabel("channel")
        below.set_xticks([])
        return to_svg(drawing, name)


_SHAPES = {"clean": ("s", "D"), "adversarial": ("x", "+")}


def _look(position: int, place: int) -> dict[str, Any]:
    if place == 0:
        return {"color": series(position).colour, "markeredgecolor": PAGE, "linewidth": 0.9, "markersize": 4.5}
    return {"color": INK, "markerfacecolor": "none", "markeredgewidth": 0.7, "markersize": 3.8, "zorder": 4}
