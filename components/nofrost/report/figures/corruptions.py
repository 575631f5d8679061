"""Accuracy against the severity of each corruption, one small drawing each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nofrost.report.figures.lines import Line, draw_lines
from nofrost.report.figures.style import figure, percent_axis, to_svg


def severity_panels(corruptions: Mapping[str, Sequence[Line]]) -> list[str]:
    """Return one drawing for each corruption; `x` of the lines are severities."""
    drawings = []
    for index, lines in enumerate(corruptions.values()):
        name = f"severity-{index}"
        with figure(name, 160, 120) as (drawing, (axes,)):
            draw_lines(axes, lines, markersize=4)
            percent_axis(axes, label="")
            axes.set_yticks([0, 50, 100])
            severities = sorted({x for line in lines for x in line.x})
            axes.set_xticks(severities)
            axes.set_xlim(severities[0] - 0.4, severities[-1] + 0.4)
            drawings.append(to_svg(drawing, name))
    return drawings
