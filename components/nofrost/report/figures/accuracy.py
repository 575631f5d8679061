"""Drawings of accuracies: clean against robust, against the effort of the attack, the ball, and the severity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nofrost.report.compare import Estimate
from nofrost.report.figures.style import MUTED, PAGE, figure, percent_axis, series, spread_out, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In points.
CURVE_WIDTH, CURVE_HEIGHT = 320, 230


@dataclass(frozen=True)
class Line:
    """The accuracies of the recipe at `position` of the study at the points `x`."""

    position: int
    x: Sequence[float]
    y: Sequence[Estimate]


@dataclass(frozen=True)
class Curve:
    """Points (weight, clean, worst case) of the recipe at `position` of the study, by growing weight."""

    position: int
    points: Sequence[tuple[float, Estimate, Estimate]]


def draw_points(
    axes: Axes, position: int, x: Sequence[float], y: Sequence[float], markersize: float, elinewidth: float, **more: Any
) -> None:
    """Draw points of the recipe at `position` of the study; `more` are further options of matplotlib's ``errorbar``,
    such as the error bars."""
    look = series(position)
    axes.errorbar(
        x,
        y,
        color=look.colour,
        marker=look.marker,
        markersize=markersize,
        markeredgecolor=PAGE,
        elinewidth=elinewidth,
        capsize=0,
        zorder=3,
        **more,
    )


def draw_lines(axes: Axes, lines: Sequence[Line], markersize: float = 5.5) -> None:
    """Draw each line with its intervals, shifted a little sideways so that they do not overlap."""
    for index, line in enumerate(lines):
        draw_points(
            axes,
            line.position,
            line.x,
            [100 * estimate.value for estimate in line.y],
            markersize,
            0.9,
            yerr=error_bars(line.y),
            linestyle=series(line.position).linestyle,
            transform=spread_out(axes, index, len(lines)),
        )


def tradeoff(points: Sequence[tuple[int, Estimate, Estimate]]) -> str:
    """Draw one point for each recipe, given as (position in the study, clean, worst case); return the SVG."""
    from matplotlib.ticker import MaxNLocator

    with figure("tradeoff", 320, 250) as (drawing, (axes,)):
        for position, clean, robust in points:
            bars = {"xerr": error_bars([clean]), "yerr": error_bars([robust])}
            draw_points(axes, position, [100 * clean.value], [100 * robust.value], 7, 1.1, **bars)
        # The axis starts at the multiple of 5 % below the lowest interval.
        lowest = min(clean.low for _, clean, _ in points)
        axes.set_xlim(max(-1, 5 * int(20 * lowest) - 5), 100.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
        axes.set_ylim(-3, 103)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_xlabel("clean accuracy, %")
        axes.set_ylabel("worst-case accuracy, %")
        return to_svg(drawing)


def mixture_curve(name: str, curves: Sequence[Curve]) -> str:
    """Draw clean against worst-case accuracy along the weight of a mixture, written at both ends; return the SVG.

    Args:
        name: unique in the page.
    """
    with figure(name, 240, 200) as (drawing, (axes,)):
        for curve in curves:
            clean = [100 * each.value for _, each, _ in curve.points]
            robust = [100 * each.value for _, _, each in curve.points]
            draw_points(
                axes,
                curve.position,
                clean,
                robust,
                4.5,
                0.7,
                xerr=error_bars([each for _, each, _ in curve.points]),
                yerr=error_bars([each for _, _, each in curve.points]),
                linestyle=series(curve.position).linestyle,
            )
            for end in {0, len(clean) - 1}:
                label = f"{curve.points[end][0]:g}"
                axes.annotate(label, (clean[end], robust[end]), (3, 4), textcoords="offset points", fontsize=7)
        axes.margins(0.12)
        axes.set_xlabel("clean accuracy, %")
        axes.set_ylabel("worst-case accuracy, %")
        return to_svg(drawing)


def error_bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return the lengths of the error bars in percentage points: those below the values, then those above."""
    below = [100 * max(0.0, estimate.value - estimate.low) for estimate in estimates]
    return [below, [100 * max(0.0, estimate.high - estimate.value) for estimate in estimates]]


def steps_curve(lines: Sequence[Line]) -> str:
    """Draw accuracy against attack steps (the `x` of the lines) on a logarithmic axis; return the SVG."""
    with figure("steps", CURVE_WIDTH, CURVE_HEIGHT) as (drawing, (axes,)):
        draw_lines(axes, lines)
        percent_axis(axes)
        _logarithmic(axes, sorted({x for line in lines for x in line.x}), lambda value: f"{value:g}")
        axes.set_xlabel("attack steps (logarithmic)")
        return to_svg(drawing)


def budget_curve(lines: Sequence[Line], threat: float, in_levels: bool) -> str:
    """Draw accuracy against the size of the ball on a logarithmic axis; return the SVG.

    Args:
        lines: their `x` are sizes as shares of the pixel range.
        threat: size of the study's own threat, which is marked.
        in_levels: label the axis in 1/255 of the pixel range, as linf budgets are usually written.
    """
    with figure("budget", CURVE_WIDTH, CURVE_HEIGHT) as (drawing, (axes,)):
        draw_lines(axes, lines)
        percent_axis(axes)
        axes.axvline(threat, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=2)
        axes.text(threat, 104, "threat", ha="center", va="bottom", color=MUTED, fontsize=7)
        scale = 255 if in_levels else 1
        _logarithmic(axes, sorted({x for line in lines for x in line.x}), lambda value: f"{value * scale:.4g}")
        axes.set_xlabel("size of the ball, in 1/255 (logarithmic)" if in_levels else "size of the ball (logarithmic)")
        return to_svg(drawing)


def _logarithmic(axes: Axes, ticks: list[float], label: Callable[[float], str]) -> None:
    """Make the x axis logarithmic (linear between zero and the smallest tick), with ticks at the points."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [tick for tick in ticks if tick > 0] or [1.0]
    ratio = positive[-1] / positive[0]
    margin = max(ratio, 2) ** 0.06
    if ticks[0] > 0:
        # First the limits: those of a single point would be equal.
        axes.set_xlim(positive[0] / margin, positive[-1] * margin)
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=positive[0])
        axes.set_xlim(-positive[0] / 4, positive[-1] * margin)
    axes.xaxis.set_major_locator(FixedLocator(_apart(ticks, ratio)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def _apart(ticks: list[float], ratio: float) -> list[float]:
    """Return the ticks without those that would be closer than a twentieth of the axis to the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or kept[-1] <= 0 or tick / kept[-1] >= ratio**0.05:
            kept.append(tick)
    return kept


def severity_panels(key: str, corruptions: Mapping[str, Sequence[Line]]) -> list[str]:
    """Return one SVG for each corruption; the `x` of its lines are severities. `key` is unique in the page."""
    drawings = []
    for index, lines in enumerate(corruptions.values()):
        name = f"severity-{key}-{index}"
        with figure(name, 160, 120) as (drawing, (axes,)):
            draw_lines(axes, lines, markersize=4)
            percent_axis(axes, label="")
            axes.set_yticks([0, 50, 100])
            severities = sorted({x for line in lines for x in line.x})
            axes.set_xticks(severities)
            axes.set_xlim(severities[0] - 0.4, severities[-1] + 0.4)
            drawings.append(to_svg(drawing))
    return drawings
