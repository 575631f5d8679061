"""The drawings of the report: matplotlib without global state, as SVG that takes its colours from the page."""

from nofrost.report.figures.accuracy import Line, budget_curve, severity_panels, steps_curve, tradeoff
from nofrost.report.figures.distributions import (
    channel_panel,
    gain_and_shift_panels,
    property_histogram,
    statistics_scatter,
)
from nofrost.report.figures.style import swatch
from nofrost.report.figures.training import training_panels

__all__ = [
    "Line",
    "budget_curve",
    "channel_panel",
    "gain_and_shift_panels",
    "property_histogram",
    "severity_panels",
    "statistics_scatter",
    "steps_curve",
    "swatch",
    "tradeoff",
    "training_panels",
]
