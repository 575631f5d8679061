"""Reliability diagrams: how often a model is right, by how sure it is (Guo et al. 2017, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nofrost.report.figures.style import INK, MUTED, PAGE, figure, series, to_svg
from nofrost.results import ReliabilityBin
from nofrost.statistics import BINS, confidence_bins, wilson_interval


def reliability_panel(name: str, position: int, conditions: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Draw accuracy by confidence in bins, with the diagonal of a calibrated model; return the SVG.

    Bars have the 95 % Wilson interval of the accuracy in their bin, which takes answers as independent.

    Args:
        name: unique in the page.
        position: of the recipe, for its colour.
        conditions: the bins by what they were measured on (``clean``, ``corrupted``), drawn under each other.
    """
    edges = np.linspace(0, 100, BINS + 1)
    with figure(name, 165, 30 + 95 * len(conditions), rows=len(conditions)) as (drawing, panels):
        for axes, (condition, bins) in zip(panels, conditions.items(), strict=True):
            places = confidence_bins(np.array([each.confidence for each in bins]))
            accuracies = np.zeros(BINS)
            accuracies[places] = [100 * each.accuracy for each in bins]
            axes.stairs(accuracies, edges, fill=True, color=series(position).colour, alpha=0.55, zorder=2)
            between = np.maximum(accuracies[:-1], accuracies[1:])
            axes.vlines(edges[1:-1], 0, between, color=PAGE, linewidth=0.6, zorder=2.5)
            ends = [wilson_interval(round(each.accuracy * each.count), each.count) for each in bins]
            low, high = 100 * np.array(ends).T
            axes.vlines((edges[places] + edges[places + 1]) / 2, low, high, color=INK, linewidth=0.8, zorder=4)
            axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=3)
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 102)
            axes.set_xticks([0, 50, 100])
            axes.set_yticks([0, 50, 100])
            axes.set_ylabel(f"{condition}: right, %")
            axes.grid(visible=False, axis="x")
        panels[-1].set_xlabel("confidence, %")
        return to_svg(drawing)
