"""Accuracy against the effort of the attack (steps) and against its freedom (size of the ball)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nofrost.report.figures.lines import Line, draw_lines
from nofrost.report.figures.style import MUTED, figure, percent_axis, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 320, 230


def steps_curve(lines: Sequence[Line]) -> str:
    """Return the drawing of accuracy against attack steps on a logarithmic axis; `x` of the lines are steps."""
    with figure("steps", WIDTH, HEIGHT) as (drawing, (axes,)):
        draw_lines(axes, lines)
        percent_axis(axes)
        _logarithmic(axes, sorted({x for line in lines for x in line.x}), lambda value: f"{value:g}")
        axes.set_xlabel("attack steps (logarithmic)")
        return to_svg(drawing, "steps")


def budget_curve(lines: Sequence[Line], threat: float, in_levels: bool) -> str:
    """Return the drawing of accuracy against the size of the ball on a logarithmic axis.

    Args:
        lines: their `x` are sizes as shares of the pixel range.
        threat: size of the study's own threat, which is marked.
        in_levels: label the axis in 1/255 of the pixel range, as linf budgets are usually written.
    """
    with figure("budget", WIDTH, HEIGHT) as (drawing, (axes,)):
        draw_lines(axes, lines)
        percent_axis(axes)
        axes.axvline(threat, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=2)
        axes.text(threat, 104, "threat", ha="center", va="bottom", color=MUTED, fontsize=7)
        scale = 255 if in_levels else 1
        _logarithmic(axes, sorted({x for line in lines for x in line.x}), lambda value: f"{value * scale:.4g}")
        axes.set_xlabel("size of the ball, in 1/255 (logarithmic)" if in_levels else "size of the ball (logarithmic)")
        return to_svg(drawing, "budget")


def _logarithmic(axes: Axes, ticks: list[float], label: Callable[[float], str]) -> None:
    """Scale the x axis by the logarithm (linear between zero and the smallest tick) with ticks where points are."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [tick for tick in ticks if tick > 0] or [1.0]
    ratio = positive[-1] / positive[0]
    margin = max(ratio, 2) ** 0.06
    if ticks[0] > 0:
        axes.set_xscale("log")
        axes.set_xlim(positive[0] / margin, positive[-1] * margin)
    else:
        axes.set_xscale("symlog", linthresh=positive[0])
        axes.set_xlim(-positive[0] / 4, positive[-1] * margin)
    axes.xaxis.set_major_locator(FixedLocator(_apart(ticks, ratio)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def _apart(ticks: list[float], ratio: float) -> list[float]:
    """Return the ticks without those that would stand closer than a twentieth of the axis to the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or kept[-1] <= 0 or tick / kept[-1] >= ratio**0.05:
            kept.append(tick)
    return kept
