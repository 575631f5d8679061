"""Layers: statistics and parameters of batch norms (wang2022 Fig. 1; zeise2025 Fig. 2; xie2020 Fig. 5, 6), weights."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nofrost.config import cite
from nofrost.report import cells, figures, text
from nofrost.report.collect import BatchNorm, read_batch_norms
from nofrost.report.document import Block, Cell, Column, Figure, Panel, Paragraph, Section, Table
from nofrost.report.runs import Attacked, AttackedRun, RecipeRuns
from nofrost.results import WeightNorms
from nofrost.statistics import mean_and_deviation

# The layer that wang2022 Fig. 1 shows, and as many channels as xie2020 Fig. 5 and 6 show.
FIFTEENTH = 15
CHANNELS = 20
NEAR_ZERO = 0.01

Values = NDArray[np.float32]
Branches = dict[str, list[BatchNorm]]


def layers(attacked: Attacked) -> Section | None:
    """Return the figures of the batch norms and the table of weight norms of every recipe's first run, or None."""
    # Of all seeds, so that a damaged file is an error, although only those of the first are shown.
    read = [(recipe, [read_batch_norms(run) for run in recipe.runs]) for recipe in attacked.recipes]
    batch_norms = [(recipe, first) for recipe, (first, *_) in read if first]
    weight_norms = [
        (recipe, norms) for recipe in attacked.recipes if (norms := recipe.runs[0].adversarial.weight_norms) is not None
    ]
    blocks: list[Block] = []
    if batch_norms:
        layer = _named_layer(attacked)
        blocks += [_introduction(), _gains_and_shifts(batch_norms), _statistics(batch_norms, layer)]
        blocks += _channels(batch_norms, layer)
    if weight_norms:
        blocks.append(_weights(weight_norms))
    if all("tilting_angle" in run.adversarial.properties for run in attacked.runs):
        blocks.append(_tilting(attacked))
    if not blocks:
        return None
    seed = attacked.study.runs.seed
    if len(seed) > 1:
        blocks.insert(0, Paragraph(f"The training with seed {seed[0]} of each recipe is shown."))
    return Section("layers", "Batch norm statistics and weights", "Layers", blocks)


def _named_layer(attacked: Attacked) -> str | None:
    """Return the layer that the suite names, if a network has it."""
    properties = attacked.suite.properties
    return properties.batch_norm.layer if properties and properties.batch_norm else None


def _introduction() -> Paragraph:
    return Paragraph(
        "Clean and adversarial images have different statistics inside a network. A batch norm that both share fits "
        "neither; a mixture keeps one for each. Gains and shifts near zero switch channels off."
    )


def _titled(recipe: RecipeRuns[AttackedRun], branches: Branches) -> Iterator[tuple[str, list[BatchNorm]]]:
    for branch, norms in branches.items():
        yield (recipe.name if branch == "all" else f"{recipe.name}, {branch}"), norms


def _gains_and_shifts(batch_norms: Sequence[tuple[RecipeRuns[AttackedRun], Branches]]) -> Figure:
    titles, parts = [], []
    for recipe, branches in batch_norms:
        for title, norms in _titled(recipe, branches):
            titles.append((title, recipe.position))
            parts.append((recipe.position, _joined(norms, "weight"), _joined(norms, "bias")))
    panels = []
    for (title, position), part, svg in zip(titles, parts, figures.gain_and_shift_panels(parts), strict=True):
        shares = [f"{_near_zero(values):.0%} of {what}" for values, what in zip(part[1:], ("γ", "β"), strict=True)]
        words = f"Histograms of gains and shifts of {title}: {text.listed(shares)} are within {NEAR_ZERO} of zero."
        panels.append(Panel(title, svg, words, position))
    caption = (
        "Gains γ (above) and shifts β (below) of all batch norms: share of channels by value. "
        f"{cite('zeise2025')} find a spike at zero where batch norms alone are trained adversarially."
    )
    return Figure(caption, panels)


def _statistics(batch_norms: Sequence[tuple[RecipeRuns[AttackedRun], Branches]], layer: str | None) -> Figure:
    shared = [(recipe, branches["all"]) for recipe, branches in batch_norms if "all" in branches]
    panels, names = [], []
    if shared:
        groups = [(recipe.position, True, *_running(_shown(norms, layer))) for recipe, norms in shared]
        words = "Running mean against running variance of each channel, " + text.listed(
            recipe.name for recipe, _ in shared
        )
        panels.append(Panel("one batch norm", figures.statistics_scatter("statistics", groups), f"{words}."))
        names += [_shown(norms, layer).layer for _, norms in shared]
    for recipe, branches in batch_norms:
        if "clean" in branches:
            groups = [
                (recipe.position, branch == "adversarial", *_running(_shown(branches[branch], layer)))
                for branch in ("clean", "adversarial")
            ]
            svg = figures.statistics_scatter(f"statistics-{recipe.position}", groups)
            words = f"Running mean against running variance of each channel in both branches of {recipe.name}."
            panels.append(Panel(f"{recipe.name}, both branches", svg, words, recipe.position))
            names.append(_shown(branches["clean"], layer).layer)
    named = f"that is {layer} or, where there is none, " if layer else ""
    caption = (
        f"Running statistics of one layer ({text.listed(dict.fromkeys(names))}, {named}number {FIFTEENTH} or else the "
        "middle one of the batch norms): one point per channel. Of a mixture the clean branch is open, the adversarial "
        "one filled."
    )
    return Figure(caption, panels, [(recipe.name, recipe.position) for recipe, _ in batch_norms])


def _channels(batch_norms: Sequence[tuple[RecipeRuns[AttackedRun], Branches]], layer: str | None) -> Iterator[Figure]:
    """Yield the figure of a mixture's two branches, and that of mini-batches, where there is one."""
    branch_panels: list[Panel] = []
    batch_panels: list[Panel] = []
    for recipe, branches in batch_norms:
        if "clean" in branches:
            clean, adversarial = (_running(_shown(branches[branch], layer)) for branch in ("clean", "adversarial"))
            rows = _random_channels(len(clean[0]))
            sources = {"adversarial": _select(adversarial, rows), "clean": _select(clean, rows)}
            branch_panels.append(_panel(f"branches-{recipe.position}", recipe, recipe.name, sources))
        for title, norms in _titled(recipe, branches):
            norm = _shown(norms, layer)
            if norm.mini_batches and "mean" in norm.state:
                rows = _random_channels(len(norm.state["mean"]))
                sources = {"running": _select(_running(norm), rows)}
                sources |= {
                    name: _select((of_batch["mean"], of_batch["variance"]), rows)
                    for name, of_batch in norm.mini_batches.items()
                }
                batch_panels.append(_panel(f"batches-{len(batch_panels)}", recipe, title, sources))
    if branch_panels:
        yield Figure(
            f"Running mean (above) and variance (below) of {CHANNELS} channels drawn at random from that layer: "
            "adversarial branch on the line, clean branch as open squares.",
            branch_panels,
        )
    if batch_panels:
        yield Figure(
            "Mean (above) and variance (below) of channels drawn alike: running statistics on the line, mini-batches "
            "of clean test images as open squares and diamonds, of adversarial ones as crosses. Where they differ, the "
            "model normalises test images by statistics that are not theirs.",
            batch_panels,
        )


def _panel(name: str, recipe: RecipeRuns[AttackedRun], title: str, sources: dict[str, tuple[Values, Values]]) -> Panel:
    ranges = [
        f"{source} variance {variance.min():.3g} to {variance.max():.3g}" for source, (_, variance) in sources.items()
    ]
    svg = figures.channel_panel(name, recipe.position, sources)
    return Panel(title, svg, f"Mean and variance by channel of {title}: {'; '.join(ranges)}.", recipe.position)


def _weights(weight_norms: Sequence[tuple[RecipeRuns[AttackedRun], WeightNorms]]) -> Table:
    rows = []
    for recipe, norms in weight_norms:
        largest = max(norms.layers, key=lambda layer: layer.spectral)
        rows.append(
            [
                cells.recipe_cell(recipe),
                Cell(text.count(len(norms.layers))),
                _power(norms.log10_spectral_product),
                _power(norms.log10_frobenius_product),
                Cell(f"{largest.spectral:.3g}", small=largest.layer),
            ]
        )
    columns = [
        Column("recipe", text=True),
        Column("layers"),
        Column("spectral", "product of the norms"),
        Column("Frobenius", "product of the norms"),
        Column("largest spectral norm"),
    ]
    caption = (
        "Norms of the weights, each layer as a matrix with one row per output, of a standardised convolution after "
        "standardisation; the gain of a batch norm is not in them. They bound how much the linear layers together can "
        "stretch a change of the input."
    )
    return Table(caption, columns, rows)


def _tilting(attacked: Attacked) -> Table:
    names = {"tilting_angle": "all pixels", "tilting_angle_live": "live pixels"}
    rows = [[cells.recipe_cell(recipe), *(_angle(recipe, name) for name in names)] for recipe in attacked.recipes]
    caption = (
        "Tilting angle of linear classifiers in degrees, from 0 to 90 (galloway2019 §3): between the decision boundary "
        "and that of the nearest-centroid classifier of the training images, in the coordinates of the images. Live "
        "pixels deviate by at least 0.01 of the pixel range over the training images."
    )
    return Table(caption, [Column("recipe", text=True), *(Column(title) for title in names.values())], rows)


def _angle(recipe: RecipeRuns[AttackedRun], name: str) -> Cell:
    means = [run.adversarial.properties[name].mean for run in recipe.runs]
    mean, deviation = mean_and_deviation([each for each in means if each is not None])
    return Cell(f"{mean:.1f}", small="" if deviation is None else f"± {deviation:.1f}")


def _power(exponent: float | None) -> Cell:
    return Cell("0" if exponent is None else f"10^{exponent:.1f}")


def _shown(norms: Sequence[BatchNorm], layer: str | None) -> BatchNorm:
    """Return the batch norm of this name, or else the one that stands for a network's."""
    for norm in norms:
        if norm.layer.removeprefix("network.") == layer:
            return norm
    return norms[FIFTEENTH - 1] if len(norms) >= FIFTEENTH else norms[len(norms) // 2]


def _running(norm: BatchNorm) -> tuple[Values, Values]:
    nothing = np.zeros(0, np.float32)
    return norm.state.get("mean", nothing), norm.state.get("variance", nothing)


def _random_channels(channels: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(channels)[:CHANNELS])


def _select(values: tuple[Values, Values], rows: NDArray[np.int64]) -> tuple[Values, Values]:
    return values[0][rows], values[1][rows]


def _joined(norms: Sequence[BatchNorm], value: str) -> Values:
    return np.concatenate([norm.state.get(value, np.zeros(0, np.float32)) for norm in norms])


def _near_zero(values: Values) -> float:
    return float((np.abs(values) < NEAR_ZERO).mean()) if len(values) else 0.0
