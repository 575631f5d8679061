"""Clean accuracy against accuracy under the worst case of all attacks."""

from __future__ import annotations

from collections.abc import Sequence

from nofrost.report.compare import Estimate
from nofrost.report.figures.style import PAGE, figure, series, to_svg


def tradeoff(points: Sequence[tuple[int, Estimate, Estimate]]) -> str:
    """Return the drawing of one point for each recipe: (position in the study, clean, worst case)."""
    from matplotlib.ticker import MaxNLocator

    with figure("tradeoff", 320, 250) as (drawing, (axes,)):
        for position, clean, robust in points:
            look = series(position)
            axes.errorbar(
                [100 * clean.value],
                [100 * robust.value],
                xerr=_arms(clean),
                yerr=_arms(robust),
                color=look.colour,
                marker=look.marker,
                markersize=7,
                markeredgecolor=PAGE,
                elinewidth=1.1,
                capsize=0,
                zorder=3,
            )
        lowest = min(clean.low for _, clean, _ in points)
        axes.set_xlim(max(-1, 5 * int(20 * lowest) - 5), 100.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
        axes.set_ylim(-3, 103)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_xlabel("clean accuracy, %")
        axes.set_ylabel("worst-case accuracy, %")
        return to_svg(drawing, "tradeoff")


def _arms(estimate: Estimate) -> list[list[float]]:
    return [
        [100 * max(0.0, estimate.value - estimate.low)],
        [100 * max(0.0, estimate.high - estimate.value)],
    ]
