"""How far a model's confidence is from its accuracy (Guo et al. 2017)."""

from collections.abc import Iterable

import numpy as np

from nofrost.report import cells, figures, text
from nofrost.report.document import Column, Figure, Panel, Section, Table
from nofrost.report.runs import RecipeRuns, Shifted, ShiftedRun
from nofrost.results import Calibration, ReliabilityBin
from nofrost.statistics import BINS, confidence_bins


def calibration(shifted: Shifted) -> Section:
    """Return reliability diagrams and expected calibration errors on clean and on corrupted images."""
    return Section("calibration", "Calibration", "Calibration", [_diagrams(shifted), _errors(shifted)])


def _measured(run: ShiftedRun) -> dict[str, Calibration]:
    """Return the calibration on the test images and their corrupted versions, by what is drawn beside the diagram."""
    corrupted = run.ood.corrupted_calibration
    return {"clean": run.ood.clean.calibration, **({"corrupted": corrupted} if corrupted else {})}


def _diagrams(shifted: Shifted) -> Figure:
    panels = []
    for recipe in shifted.recipes:
        measured = [_measured(run) for run in recipe.runs]
        bins = {name: _pooled(each[name].bins for each in measured) for name in measured[0]}
        svg = figures.reliability_panel(f"reliability-{recipe.position}", recipe.position, bins)
        panels.append(Panel(recipe.name, svg, f"Accuracy by confidence: {_in_words(bins)}.", recipe.position))
    corrupted = "" if "corrupted" not in _measured(shifted.first) else ", below of all corrupted images together"
    caption = (
        f"Reliability: share of images answered right, by the probability that the model gave its answer, in {BINS} "
        f"bins with 95 % Wilson intervals, as if answers were independent; the dashed line is a calibrated model. "
        f"Above, of {text.plural(shifted.first.ood.samples, 'test image')} of {shifted.manifest.name}{corrupted}; "
        f"{text.seeds(shifted.study.runs.seed)}. Expected calibration error: {_errors_in_words(shifted)}."
    )
    return Figure(caption, panels)


def _pooled(runs: Iterable[tuple[ReliabilityBin, ...]]) -> list[ReliabilityBin]:
    """Return the bins of several seeds as those of all their answers together."""
    by_place: dict[int, list[ReliabilityBin]] = {}
    for bins in runs:
        for place, each in zip(confidence_bins(np.array([each.confidence for each in bins])), bins, strict=True):
            by_place.setdefault(int(place), []).append(each)
    return [_together(by_place[place]) for place in sorted(by_place)]


def _together(bins: list[ReliabilityBin]) -> ReliabilityBin:
    count = sum(each.count for each in bins)
    return ReliabilityBin(
        count=count,
        confidence=sum(each.count * each.confidence for each in bins) / count,
        accuracy=sum(each.count * each.accuracy for each in bins) / count,
    )


def _in_words(measured: dict[str, list[ReliabilityBin]]) -> str:
    def surest(bins: list[ReliabilityBin]) -> str:
        return f"right {text.with_sign(bins[-1].accuracy)} of the time when {text.with_sign(bins[-1].confidence)} sure"

    return "; ".join(f"{name}, {surest(bins)}" for name, bins in measured.items())


def _errors_in_words(shifted: Shifted) -> str:
    decimals = cells.digits(shifted)

    def of(recipe: RecipeRuns[ShiftedRun]) -> str:
        measured = [_measured(run) for run in recipe.runs]
        errors = [
            f"{text.with_sign(float(np.mean([each[name].error for each in measured])), decimals)} {name}"
            for name in measured[0]
        ]
        return f"{recipe.name} {text.listed(errors)}"

    return "; ".join(map(of, shifted.recipes))


def _errors(shifted: Shifted) -> Table:
    decimals, suite = cells.digits(shifted), shifted.suite
    published = [name for name in suite.test_sets if name in shifted.first.ood.corrupted_sets]
    rows = []
    for recipe in shifted.recipes:
        measured = [_measured(run) for run in recipe.runs]
        values = [[each[name] for each in measured] for name in measured[0]]
        values += [[run.ood.corrupted_sets[name].calibration for run in recipe.runs] for name in published]
        rows.append([cells.recipe_cell(recipe), *(cells.calibration_cell(each, decimals) for each in values)])
    of_test_images = [Column(name, "test images") for name in _measured(shifted.first)]
    columns = [Column("recipe", text=True), *of_test_images, *(Column(name, "published sets") for name in published)]
    caption = (
        f"Expected calibration error in %: the distance of confidence and accuracy, mean over {BINS} bins weighted by "
        f"their images, of {text.plural(shifted.first.ood.samples, 'test image')} of {shifted.manifest.name}"
        f"{' and all their corrupted versions' if len(of_test_images) > 1 else ''}; "
        f"{cells.spread(shifted, '95 % bootstrap interval over images')}. Lower is better."
    )
    return Table(caption, columns, rows)
