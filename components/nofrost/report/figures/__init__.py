"""The drawings of the report: matplotlib without global state, as SVG that takes its colours from the page."""

from nofrost.report.figures.attacks import budget_curve, steps_curve
from nofrost.report.figures.corruptions import severity_panels
from nofrost.report.figures.style import swatch
from nofrost.report.figures.tradeoff import tradeoff
from nofrost.report.figures.training import training_panels

__all__ = ["budget_curve", "severity_panels", "steps_curve", "swatch", "tradeoff", "training_panels"]
