"""Mixtures of the branches of one checkpoint: clean against robust accuracy along γ (wang2022 Fig. 2 and 5)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nofrost.report import cells, figures, text
from nofrost.report.compare import Estimate, estimate
from nofrost.report.document import Cell, Column, Figure, Panel, Paragraph, Section, Table
from nofrost.report.figures import Curve
from nofrost.report.runs import CLEAN, WORST_CASE, Attacked, AttackedRun, RecipeRuns


class _Averaging(NamedTuple):
    """Where branches are averaged; `share` of the layers under ``random``."""

    inference: str
    share: float | None

    def title(self) -> str:
        where = {"logits": "in the logits", "all": "in all layers"}
        return where.get(self.inference) or f"in {self.share:.0%} of the layers"


Along = list[tuple[float, dict[str, Estimate]]]
"""By growing γ, the accuracy by condition."""
Measured = tuple[RecipeRuns[AttackedRun], dict[_Averaging, Along]]


def mixtures(attacked: Attacked) -> Section | None:
    """Return the curves along γ and their numbers, or None when no model was measured with several mixtures."""
    measured = {
        recipe.position: (recipe, _by_averaging(recipe))
        for recipe in attacked.recipes
        if all(run.adversarial.mixtures for run in recipe.runs)
    }
    if not measured:
        return None
    places = list(dict.fromkeys(place for _, by_place in measured.values() for place in by_place))
    panels = []
    for number, place in enumerate(places):
        shown = [(recipe, by_place[place]) for recipe, by_place in measured.values() if place in by_place]
        curves = [_curve(recipe, along) for recipe, along in shown]
        words = [_in_words(recipe, along, cells.digits(attacked)) for recipe, along in shown]
        svg = figures.mixture_curve(f"mixtures-{number}", curves)
        panels.append(Panel(place.title(), svg, f"Curve of clean against worst-case accuracy: {'; '.join(words)}."))
    attacks = text.listed(name for name in _conditions(measured.values()) if name not in (CLEAN, WORST_CASE))
    caption = (
        "Clean against worst-case accuracy of one checkpoint by the weight γ of its adversarial branch, which is "
        f"written at the ends; a panel for each place where the branches are averaged. Worst case over {attacks} "
        f"within {cells.threat(attacked)}, made against that mixture. {cells.basis(attacked)}"
    )
    introduction = Paragraph(
        "The weight of the adversarial branch trades clean for robust accuracy without training again. Each point was "
        "attacked separately."
    )
    legend = [(recipe.name, position) for position, (recipe, _) in measured.items()]
    figure, table = Figure(caption, panels, legend), _numbers(attacked, list(measured.values()))
    return Section("mixtures", "Mixtures of branches", "Mixtures", [introduction, figure, table])


def _by_averaging(recipe: RecipeRuns[AttackedRun]) -> dict[_Averaging, Along]:
    """Return the accuracies of the mixtures that all runs of the recipe have."""
    runs = [
        {(_Averaging(each.inference, each.share), each.weight): each for each in run.adversarial.mixtures}
        for run in recipe.runs
    ]
    found: dict[_Averaging, Along] = {}
    for (place, weight), first in runs[0].items():
        if all((place, weight) in run for run in runs):
            over_seeds = {
                name: estimate([run[place, weight].accuracy[name] for run in runs]) for name in first.accuracy
            }
            found.setdefault(place, []).append((weight, over_seeds))
    return {place: sorted(along, key=lambda point: point[0]) for place, along in found.items()}


def _curve(recipe: RecipeRuns[AttackedRun], along: Along) -> Curve:
    return Curve(recipe.position, [(weight, each[CLEAN], each[WORST_CASE]) for weight, each in along])


def _in_words(recipe: RecipeRuns[AttackedRun], along: Along, decimals: int) -> str:
    ends = [
        f"{text.with_sign(each[CLEAN].value, decimals)} clean and "
        f"{text.with_sign(each[WORST_CASE].value, decimals)} in the worst case at γ = {weight:g}"
        for weight, each in (along[0], along[-1])
    ]
    return f"{recipe.name} from {' to '.join(ends)}"


def _conditions(measured: Iterable[Measured]) -> list[str]:
    points = [point for _, by_place in measured for along in by_place.values() for point in along]
    return list(dict.fromkeys(name for _, accuracies in points for name in accuracies))


def _numbers(attacked: Attacked, measured: Sequence[Measured]) -> Table:
    decimals, conditions = cells.digits(attacked), _conditions(measured)
    rows = [
        [
            cells.recipe_cell(recipe),
            Cell(place.title()),
            Cell(f"{weight:g}"),
            *(cells.estimate_cell(each[name], decimals) if name in each else Cell("") for name in conditions),
        ]
        for recipe, by_place in measured
        for place, along in by_place.items()
        for weight, each in along
    ]
    columns = [
        Column("recipe", text=True),
        Column("averaged", text=True),
        Column("γ"),
        *(Column(attacked.title(name)) for name in conditions),
    ]
    return Table(f"The numbers of the figure. {cells.basis(attacked)}", columns, rows, summary="The numbers")
