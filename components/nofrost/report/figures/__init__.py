"""The drawings of the report: matplotlib without global state, as SVG that takes its colours from the page."""

from nofrost.report.figures.attacks import budget_curve, steps_curve
from nofrost.report.figures.batch_norm import channel_panel, gain_and_shift_panels, statistics_scatter
from nofrost.report.figures.corruptions import severity_panels
from nofrost.report.figures.properties import property_histogram
from nofrost.report.figures.style import swatch
from nofrost.report.figures.tradeoff import tradeoff
from nofrost.report.figures.training import training_panels

__all__ = [
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
