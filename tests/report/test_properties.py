"""Properties of images and layers are shown where they were measured, with what they were measured on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.report import figures
from nofrost.report.collect import collect
from nofrost.report.document import Document, Figure, Section, numbered
from nofrost.report.render import to_markdown
from nofrost.report.runs import Attacked
from nofrost.report.sections.layers import layers
from nofrost.report.sections.properties import properties
from nofrost.results import (
    AdversarialMetrics,
    LayerNorms,
    PropertySummary,
    WeightNorms,
    read_result,
    write_result,
)

IMAGES = 360
THICKNESS = {"space": "normalised", "against": "target", "eps": None, "steps": 20, "alpha": 0.0, "beta": 0.75}
OPTIONS = {
    "decision_margin": {},
    "boundary_thickness": THICKNESS,
    "model_smoothness": {"attack": {"name": "pgd", "steps": 20, "keep": "last"}},
    "gradient_norm_l1": {},
    "boundary_distance": {"queries": 500},
}


def values_of(recipe: str, name: str, infinite: int) -> np.ndarray:
    generator = np.random.default_rng([*recipe.encode(), *name.encode()])
    values = generator.exponential(1.5, IMAGES)
    values[:infinite] = np.inf
    return values


def add_properties(folder: Path, recipe: str, infinite: int = 0) -> None:
    """Add every property to the output of an evaluation."""
    evaluation = folder / recipe / "seed-0" / "evaluate-adversarial" / "quick"
    measured = {name: values_of(recipe, name, infinite if "distance" in name else 0) for name in OPTIONS}
    with np.load(evaluation / "flags.npz") as flags:
        arrays = {name: flags[name] for name in flags.files}
    np.savez(evaluation / "flags.npz", **arrays, **{f"properties/{name}": values for name, values in measured.items()})
    summaries = {name: summary(values, OPTIONS[name]) for name, values in measured.items()}
    layer = LayerNorms(layer="network.conv1", shape=(8, 1, 3, 3), frobenius=9.0, spectral=4.5)
    norms = WeightNorms(layers=(layer,), log10_spectral_product=0.65, log10_frobenius_product=None)
    metrics = read_result(AdversarialMetrics, evaluation / "metrics.json")
    update = {"properties": summaries, "weight_norms": norms}
    write_result(evaluation / "metrics.json", metrics.model_copy(update=update))


def summary(values: np.ndarray, options: dict[str, Any]) -> PropertySummary:
    finite = values[np.isfinite(values)]
    mean = float(finite.mean())
    return PropertySummary(
        total=IMAGES,
        infinite=IMAGES - len(finite),
        mean=mean,
        deviation=float(finite.std(ddof=1)),
        low=mean - 0.1,
        high=mean + 0.1,
        quantiles={"0.5": mean},
        options=options,
    )


def add_layers(folder: Path, recipe: str, branches: tuple[str, ...], count: int = 3) -> None:
    """Add batch norms of the branches, with mini-batches, to the output of an evaluation."""
    generator = np.random.default_rng(0)
    arrays = {}
    for branch in branches:
        for layer in (f"network.layer{index}" for index in range(count)):
            for value in ("mean", "variance", "weight", "bias"):
                arrays[f"batch_norm/{branch}/{layer}/{value}"] = generator.random(30).astype(np.float32)
            for batch in ("clean-0", "adversarial-0"):
                for value in ("mean", "variance"):
                    arrays[f"mini_batches/{batch}/{layer}/{value}"] = generator.random(30).astype(np.float32)
    np.savez(folder / recipe / "seed-0" / "evaluate-adversarial" / "quick" / "properties.npz", **arrays)


def attacked(tree: Any) -> Attacked:
    (found,) = collect(tree.dataset, tree.augmentation, tree.runs, tree.study).attacked
    return found


def shown(tree: Any, section: Callable[[Any], Section | None]) -> tuple[str, list[str]]:
    """The words of a section, on one line, and its drawings."""
    found = section(attacked(tree))
    assert found is not None
    words = to_markdown(Document("", "", numbered([found]))).replace("\N{NO-BREAK SPACE}", " ")
    panels = [panel for block in found.blocks if isinstance(block, Figure) for panel in block.panels]
    return re.sub(r"\s+", " ", words), [panel.title for panel in panels]


def test_a_study_without_properties_has_no_such_section(tree: Any) -> None:
    assert properties(attacked(tree)) is None
    assert layers(attacked(tree)) is None


def test_properties_are_shown_in_a_table_and_histograms(tree: Any) -> None:
    for recipe in ("st", "mbnat"):
        add_properties(tree.runs, recipe, infinite=7)
    text, panels = shown(tree, properties)
    mean = values_of("st", "decision_margin", 0).mean()
    for words in (
        f"{mean:#.3g}",
        f"{mean - 0.1:#.3g} to {mean + 0.1:#.3g}",
        "360 test images",
        "in the model's normalised input",
        "by 20 targeted steps within ℓ∞ ≤ 32/255",
        "by pgd (steps 20, keep last)",
        "with 500 queries",
        "Infinite values are left out: 7 of st and 7 of mbnat",
        "95 % Student interval of the mean over images",
    ):
        assert words in text, words
    assert len(panels) == len(OPTIONS)


def test_a_property_that_some_runs_lack_is_omitted(tree: Any) -> None:
    add_properties(tree.runs, "st")
    assert properties(attacked(tree)) is None


def test_several_seeds_are_summarised_by_mean_and_deviation(make_tree: Callable[..., Any]) -> None:
    tree = make_tree("runs.recipe=[st]", "runs.seed=[0, 1]", "suites.ood.quick.corruptions=[contrast]")
    add_properties(tree.runs, "st")
    first = tree.runs / "st" / "seed-0" / "evaluate-adversarial" / "quick"
    for name in ("metrics.json", "flags.npz"):
        (tree.runs / "st" / "seed-1" / "evaluate-adversarial" / "quick" / name).write_bytes((first / name).read_bytes())
    text, _ = shown(tree, properties)
    assert "(n = 2)" in text


def test_batch_norms_and_weights_are_shown_by_recipe_and_branch(tree: Any) -> None:
    for recipe, domains in (("st", ("all",)), ("mbnat", ("clean", "adversarial"))):
        add_properties(tree.runs, recipe)
        add_layers(tree.runs, recipe, domains)
    text, panels = shown(tree, layers)
    each = ["st", "mbnat, clean", "mbnat, adversarial"]
    assert panels == [*each, "one batch norm", "mbnat, both branches", "mbnat", *each]
    for words in ("network.layer1", "10^0.7", "network.conv1"):
        assert words in text, words


@pytest.mark.parametrize(
    ("layer", "expected"), [("layer0", "network.layer0, that is"), ("stem", "network.layer1, that is")]
)
def test_the_layer_that_the_suite_names_is_shown_where_there_is_one(
    layer: str, expected: str, make_tree: Callable[..., Any]
) -> None:
    tree = make_tree("runs.recipe=[st]", f"suites.adversarial.quick.properties.batch_norm.layer={layer}")
    add_properties(tree.runs, "st")
    add_layers(tree.runs, "st", ("all",))
    text, _ = shown(tree, layers)
    assert f"({expected} {layer} or, where there is none, number 15" in text


def test_the_report_has_the_sections_and_unique_ids(tree: Any) -> None:
    for recipe in ("st", "mbnat"):
        add_properties(tree.runs, recipe)
        add_layers(tree.runs, recipe, ("clean", "adversarial"))
    report = tree.report()
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "Model properties" in page
    assert "Batch norm statistics" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def checksums(tree: Any) -> dict[str, str]:
    return collect(tree.dataset, tree.augmentation, tree.runs, tree.study).inputs


def test_the_file_of_the_layers_is_among_the_inputs(tree: Any) -> None:
    before = checksums(tree)
    add_layers(tree.runs, "st", ("all",))
    after = checksums(tree)
    assert {name for name in before if before[name] != after[name]} == {"runs/st/seed-0"}


@pytest.mark.parametrize("count", [1, 20])
def test_the_fifteenth_layer_is_shown_or_the_middle_one_of_fewer(tree: Any, count: int) -> None:
    add_layers(tree.runs, "st", ("all",), count)
    text, _ = shown(tree, layers)
    assert f"network.layer{14 if count == 20 else 0}" in text


@pytest.mark.parametrize("damage", ["missing", "other values", "other length"])
def test_values_that_are_not_those_of_the_summary_are_refused(tree: Any, damage: str) -> None:
    for recipe in ("st", "mbnat"):
        add_properties(tree.runs, recipe)
    path = tree.runs / "st" / "seed-0" / "evaluate-adversarial" / "quick" / "flags.npz"
    with np.load(path) as flags:
        arrays = {name: flags[name] for name in flags.files}
    values = arrays.pop("properties/decision_margin")
    if damage != "missing":
        arrays["properties/decision_margin"] = values + 0.5 if damage == "other values" else values[:-1]
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="properties/decision_margin is not 360 values of the mean"):
        properties(attacked(tree))


@pytest.mark.parametrize(
    "values",
    [np.zeros(5), np.full(3, np.inf), np.array([1.0]), np.array([1e-9, 1e3, 0.0])],
    ids=["all equal", "none finite", "one", "far apart"],
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_any_values_are_drawn(values: np.ndarray, logarithmic: bool) -> None:
    svg = figures.property_histogram("any", [(0, values), (1, values)], logarithmic=logarithmic)
    assert svg.startswith("<svg")
    assert "nan" not in svg


def test_layers_without_gains_or_statistics_are_drawn() -> None:
    nothing = np.zeros(0, np.float32)
    (svg,) = figures.gain_and_shift_panels([(0, nothing, nothing)])
    assert svg.startswith("<svg")
    assert figures.statistics_scatter("empty", [(0, True, nothing, nothing)]).startswith("<svg")
