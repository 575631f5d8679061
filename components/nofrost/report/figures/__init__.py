"""The drawings of the report: matplotlib without global state, as SVG that takes its colours from the page."""

from nofrost.report.figures.accuracy import (
    Curve,
    Line,
    budget_curve,
    mixture_curve,
    severity_panels,
    steps_curve,
    tradeoff,
)
from nofrost.report.figures.bars import Bar, bar_panel
from nofrost.report.figures.checking import fault_of_svg
from nofrost.report.figures.distributions import (
    channel_panel,
    gain_and_shift_panels,
    property_histogram,
    statistics_scatter,
)
from nofrost.report.figures.reliability import reliability_panel
from nofrost.report.figures.style import standalone_svg, swatch
from nofrost.report.figures.sweeps import Axis, SweptLine, swept_lines, swept_map
from nofrost.report.figures.training import training_panels

__all__ = [
    "Axis",
    "Bar",
    "Curve",
    "Line",
    "SweptLine",
    "bar_panel",
    "budget_curve",
    "channel_panel",
    "fault_of_svg",
    "gain_and_shift_panels",
    "mixture_curve",
    "property_histogram",
    "reliability_panel",
    "severity_panels",
    "standalone_svg",
    "statistics_scatter",
    "steps_curve",
    "swatch",
    "swept_lines",
    "swept_map",
    "tradeoff",
    "training_panels",
]
