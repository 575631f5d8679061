"""Properties of the models at each image: margin, thickness, smoothness (wang2022 §4.3), gradients and distance."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nofrost.report import cells, figures, text
from nofrost.report.collect import read_property_values
from nofrost.report.document import Block, Column, Figure, Panel, Paragraph, Section, Table
from nofrost.report.runs import Attacked, AttackedRun, RecipeRuns
from nofrost.results import PropertySummary


class _Property(NamedTuple):
    column: str
    axis: str
    meaning: str


_PROPERTIES = {
    "decision_margin": _Property(
        "margin M ↑", "margin M", "Margin M: probability of the true class less the largest other one, on clean images"
    ),
    "boundary_thickness": _Property(
        "thickness T ↑",
        "thickness T",
        "Thickness T: length of the part of the segment from x to x* on which the answer changes",
    ),
    "boundary_thickness_predicted": _Property(
        "thickness T, predicted ↑", "thickness T, predicted class", "Predicted: with the class predicted at x* instead"
    ),
    "model_smoothness": _Property(
        "smoothness D ↓", "divergence D, nats", "Smoothness D: divergence KL(p(x) || p(x*)) in nats"
    ),
    "gradient_norm_l1": _Property(
        "gradient ℓ1 ↓", "ℓ1 norm of the gradient", "Gradient: norm of the cross-entropy's gradient, in nats per pixel"
    ),
    "gradient_norm_l2": _Property("gradient ℓ2 ↓", "ℓ2 norm of the gradient", ""),
    "boundary_distance": _Property(
        "distance ↑", "ℓ∞ distance, pixels", "Distance: the nearest misclassified image that RayS finds, ℓ∞ in pixels"
    ),
}


def properties(attacked: Attacked) -> Section | None:
    """Return table and histograms of the properties of each image, or None when none was measured."""
    recipes = attacked.recipes
    values = [(recipe, [read_property_values(run) for run in recipe.runs]) for recipe in recipes]
    names = [name for name in _PROPERTIES if all(name in each for _, runs in values for each in runs)]
    if not names:
        return None
    introduction = Paragraph(
        "Properties that are thought to make a model robust, whichever images an attack breaks: a large distance to "
        "the boundary, a thick boundary, an answer that changes little. An arrow says which way is better. None of "
        "these numbers proves robustness: a model that masks its gradients looks smooth to an attack that follows them."
    )
    blocks: list[Block] = [introduction, _table(attacked, names)]
    panels = [Panel(_PROPERTIES[name].axis, _drawing(values, name), _in_words(recipes, name)) for name in names]
    caption = (
        "Share of test images by value; gradients on a logarithmic axis. The marker on the axis is the median. Where a "
        f"long tail is cut, what lies beyond counts in the bin at the cut.{_left_out(recipes, names)} "
        f"{_images(attacked, names)}; {text.seeds(attacked.study.runs.seed)}."
    )
    blocks.append(Figure(caption, panels, cells.legend(attacked)))
    return Section("properties", "Model properties", "Properties", blocks)


def _table(attacked: Attacked, names: Sequence[str]) -> Table:
    rows = [
        [cells.recipe_cell(recipe), *(cells.summary_cell(_summaries(recipe, name)) for name in names)]
        for recipe in attacked.recipes
    ]
    meanings = [_how(name, _summaries(attacked.recipes[0], name)[0].options, attacked) for name in names]
    caption = f"{'. '.join(filter(None, meanings))}. {_basis(attacked, names)}"
    return Table(caption, [Column("recipe", text=True), *(Column(_PROPERTIES[name].column) for name in names)], rows)


def _summaries(recipe: RecipeRuns[AttackedRun], name: str) -> list[PropertySummary]:
    return [run.adversarial.properties[name] for run in recipe.runs]


def _drawing(values: Sequence[tuple[RecipeRuns[AttackedRun], list[dict[str, NDArray[np.float64]]]]], name: str) -> str:
    drawn = [(recipe.position, np.concatenate([each[name] for each in runs])) for recipe, runs in values]
    return figures.property_histogram(name, drawn, logarithmic=name.startswith("gradient"))


def _in_words(recipes: Sequence[RecipeRuns[AttackedRun]], name: str) -> str:
    means = [
        f"{recipe.name} {text.number(float(np.mean([summary.mean or 0 for summary in _summaries(recipe, name)])))}"
        for recipe in recipes
    ]
    return f"Histograms of the {name.replace('_', ' ')}; means: {'; '.join(means)}. The table above holds the numbers."


def _left_out(recipes: Sequence[RecipeRuns[AttackedRun]], names: Sequence[str]) -> str:
    counts = [
        f"{text.count(total)} of {recipe.name}"
        for recipe in recipes
        if (total := sum(summary.infinite for name in names for summary in _summaries(recipe, name)))
    ]
    return f" Infinite values are left out: {text.listed(counts)}." if counts else ""


def _basis(attacked: Attacked, names: Sequence[str]) -> str:
    spread = cells.spread(attacked, "95 % Student interval of the mean over images")
    return f"Means over {_images(attacked, names)}; {spread}."


def _images(attacked: Attacked, names: Sequence[str]) -> str:
    return (
        f"{text.plural(_summaries(attacked.recipes[0], names[0])[0].total, 'test image')} of {attacked.manifest.name}"
    )


def _how(name: str, options: Mapping[str, Any], attacked: Attacked) -> str:
    """Return the definition of a property with the options it was measured with; empty where another column has it."""
    meaning = _PROPERTIES[name].meaning
    if name == "boundary_thickness":
        eps = options.get("eps")
        ball = cells.threat(attacked) if eps is None else f"ℓ2 ≤ {eps} in that space"
        units = {"pixel": "pixels", "normalised": "the model's normalised input"}.get(options.get("space", ""), "")
        against = {"target": "the class aimed at", "predicted": "the class predicted at x*"}
        return (
            f"{meaning}, p(predicted) − p({against.get(options.get('against', ''), '?')}) between "
            f"{options.get('alpha'):g} and {options.get('beta'):g}, in {units}; x* by {options.get('steps')} targeted "
            f"steps within {ball}"
        )
    if name == "model_smoothness":
        attack = dict(options.get("attack", {}))
        settings = ", ".join(f"{key} {value}" for key, value in attack.items() if key != "name")
        return f"{meaning}; x* by {attack.get('name')} ({settings}) within {cells.threat(attacked)}"
    if name == "boundary_distance":
        return f"{meaning} with {text.count(int(options.get('queries', 0)))} queries, an upper bound"
    return meaning
