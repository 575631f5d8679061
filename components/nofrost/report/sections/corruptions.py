"""Accuracy on corrupted images: on the test images as the suite corrupts them, and on published sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nofrost.config import cite
from nofrost.config.corruption_families import COMMON, averaged, by_family, set_apart
from nofrost.report import cells, figures, text
from nofrost.report.compare import Estimate, best_of, compare_on_corruptions, estimate, estimate_mean
from nofrost.report.document import Block, Cell, Column, Figure, Panel, Section, Table
from nofrost.report.figures import Bar, Line
from nofrost.report.runs import RecipeRuns, Shifted, ShiftedRun
from nofrost.report.sections.corruption_sheet import corruption_sheet
from nofrost.report.sections.trained_corruptions import trained_corruptions
from nofrost.results import CorruptionAccuracy, CorruptionError, MeanAccuracy, SeverityPoint

# A table of more corruptions than these is folded: the figures above it show the same.
OPEN_ROWS = 8


@dataclass(frozen=True)
class _Source:
    """Corrupted images: those of the suite (`name` is None), or a test set of published files."""

    shifted: Shifted
    name: str | None

    @property
    def key(self) -> str:
        """Unique in the page."""
        return "made" if self.name is None else f"set-{list(self.shifted.suite.test_sets).index(self.name)}"

    @property
    def corruptions(self) -> list[str]:
        """The corruptions, by family in the papers' order."""
        return [name for names in by_family(self.of(self.shifted.first)).values() for name in names]

    def of(self, run: ShiftedRun) -> dict[str, CorruptionAccuracy]:
        return run.ood.corruptions if self.name is None else run.ood.corrupted_sets[self.name].corruptions

    def mean(self, run: ShiftedRun) -> MeanAccuracy:
        mean = run.ood.mean if self.name is None else run.ood.corrupted_sets[self.name]
        assert mean is not None  # a source has corruptions
        return mean

    def further_means(self, run: ShiftedRun) -> dict[str, MeanAccuracy]:
        """The means over the corruptions that the mean leaves out, by family."""
        return (run.ood if self.name is None else run.ood.corrupted_sets[self.name]).further_means

    def error(self, run: ShiftedRun) -> CorruptionError | None:
        return (run.ood if self.name is None else run.ood.corrupted_sets[self.name]).corruption_error

    @property
    def basis(self) -> str:
        """The sentence that says on what accuracies were measured."""
        shifted = self.shifted
        count = text.plural(min(_images(self.of(run)) for run in shifted.runs), "image")
        if self.name is None:
            images = f"{count} of the test split of {shifted.manifest.name}, corrupted here (nofrost-c)"
        else:
            images = f"{count} of {_titled(self.name, shifted)}, as published"
        return f"Accuracy in % on {images}, at every severity; {cells.spread(shifted)}."


def corruptions(shifted: Shifted) -> Section | None:
    """Return what was measured on the suite's corruptions, and an image under each; None for a suite without any."""
    suite = shifted.suite
    if not shifted.first.ood.corruptions:
        return None
    source = _Source(shifted, None)
    blocks = [*_blocks(source, _how(shifted)), corruption_sheet(shifted, source.corruptions)]
    return Section("corruptions", f"Out of distribution: {shifted.heading or suite.title}", "Corruptions", blocks)


def corrupted_sets(shifted: Shifted) -> Section | None:
    """Return what was measured on published sets of corrupted images, or None for a study that has none."""
    names = [name for name in shifted.suite.test_sets if name in shifted.first.ood.corrupted_sets]
    if not names:
        return None
    blocks = [block for name in names for block in _blocks(_Source(shifted, name), "")]
    return Section("corrupted-sets", "Published sets of corrupted images", "Corrupted sets", blocks)


def _blocks(source: _Source, how: str) -> list[Block]:
    return [_means(source, how), _bars(source), _by_corruption(source), _curves(source), _by_severity(source)]


def _how(shifted: Shifted) -> str:
    """Return how the suite corrupts images, in sentences."""
    suite = shifted.suite
    sentences = [f"{cite(suite.citation)}."]
    if suite.parameter_set is not None:
        sentences.append(f"Parameters are those for {suite.parameter_set}.")
    if suite.jpeg_quality is not None:
        sentences.append(f"Corrupted images went through one more JPEG of quality {suite.jpeg_quality}.")
    if suite.before_resize:
        sentences.append("Noise was added to the stored pixels, before the resize.")
    return " ".join(sentences)


def _titled(name: str, shifted: Shifted) -> str:
    own = shifted.first.ood.corrupted_sets[name].name
    return name if own == name else f"{name} ({own})"


def _images(measured: dict[str, CorruptionAccuracy]) -> int:
    return max(point.total for corruption in measured.values() for point in corruption.severities)


def _means(source: _Source, how: str) -> Table:
    """Return mean accuracies and corruption errors by recipe."""
    shifted, decimals = source.shifted, cells.digits(source.shifted)
    best = best_of(shifted.recipes, compare_on_corruptions(shifted, source.name))
    apart = set_apart(source.corruptions)
    with_error = all(source.error(run) is not None for run in shifted.runs)
    rows = [
        [
            cells.recipe_cell(recipe),
            cells.estimate_cell(estimate([run.ood.clean for run in recipe.runs]), decimals),
            cells.estimate_cell(_mean(source, recipe), decimals, best=best == recipe.name),
            *(
                cells.estimate_cell(estimate_mean([source.further_means(run)[family] for run in recipe.runs]), decimals)
                for family in apart
            ),
            *(_error_cells(source, recipe, decimals) if with_error else ()),
        ]
        for recipe in shifted.recipes
    ]
    counted = averaged(source.corruptions)
    columns = [
        Column("recipe", text=True),
        Column("clean"),
        Column("mean", text.plural(len(counted), "corruption")),
        *(Column(family, text.plural(len(names), "corruption")) for family, names in apart.items()),
    ]
    sentences = [
        source.basis,
        how,
        _what_is_averaged(counted, apart),
        trained_corruptions(shifted, source.corruptions),
    ]
    if with_error:
        columns += [Column("mCE", "corruption error"), Column("relative mCE", "corruption error")]
        sentences.append(
            "mCE: error rates over those of AlexNet, mean over the 15 corruptions; relative mCE: the same of what the "
            "error rate rises by from clean images. Lower is better, AlexNet has 100."
        )
        if source.name is None:
            sentences.append("On nofrost-c neither stands beside numbers printed for the published files.")
    if best is not None:
        sentences.append(cells.STAR_OF_MEANS)
    title = "" if source.name is None else _titled(source.name, shifted)
    return Table(" ".join(filter(None, sentences)), columns, rows, title=title)


def _what_is_averaged(counted: Sequence[str], apart: Mapping[str, Sequence[str]]) -> str:
    """Return which corruptions the mean is over, and which stand apart, in a sentence."""
    if not set(counted) <= set(COMMON):
        which = f"corruptions that are none of the {len(COMMON)} common ones"
    elif len(counted) == len(COMMON):
        which = f"the {len(COMMON)} common corruptions, as printed means are"
    else:
        which = f"{len(counted)} of the {len(COMMON)} common corruptions, which printed means are over"
    families = text.listed(f"{len(names)} of {family}" for family, names in apart.items())
    return f"The mean is over {which}{f'; {families} stand apart' if apart else ''}."


def _mean(source: _Source, recipe: RecipeRuns[ShiftedRun]) -> Estimate:
    return estimate_mean([source.mean(run) for run in recipe.runs])


def _error_cells(source: _Source, recipe: RecipeRuns[ShiftedRun], decimals: int) -> list[Cell]:
    errors = [error for run in recipe.runs if (error := source.error(run)) is not None]
    return [
        cells.number_cell([error.mce for error in errors], decimals),
        cells.number_cell([error.relative_mce for error in errors], decimals),
    ]


def _under(source: _Source, recipe: RecipeRuns[ShiftedRun], name: str) -> Estimate:
    return estimate_mean([source.of(run)[name] for run in recipe.runs])


def _bars(source: _Source) -> Figure:
    shifted, decimals = source.shifted, cells.digits(source.shifted)
    panels = []
    for family, names in by_family(source.corruptions).items():
        groups = {
            _words(name): [Bar(recipe.position, _under(source, recipe, name)) for recipe in shifted.recipes]
            for name in names
        }
        svg = figures.bar_panel(f"bars-{source.key}-{family}", groups)
        values = [
            f"{name}: {', '.join(_named(shifted, [bar.accuracy for bar in bars], decimals))}"
            for name, bars in groups.items()
        ]
        panels.append(Panel(family, svg, f"Bars of the mean accuracy over severities. {'; '.join(values)}."))
    caption = f"Mean accuracy over severities under each corruption, by family. {source.basis}"
    return Figure(caption, panels, cells.legend(shifted), wide=True)


def _named(shifted: Shifted, values: Sequence[Estimate], decimals: int) -> Iterator[str]:
    for recipe, value in zip(shifted.recipes, values, strict=True):
        yield f"{recipe.name} {text.with_sign(value.value, decimals)}"


def _by_corruption(source: _Source) -> Table:
    decimals = cells.digits(source.shifted)
    rows = [
        [
            Cell(_words(name), small=family),
            *(cells.estimate_cell(_under(source, recipe, name), decimals) for recipe in source.shifted.recipes),
        ]
        for family, names in by_family(source.corruptions).items()
        for name in names
    ]
    columns = [
        Column("corruption", text=True),
        *(Column(recipe.name, "mean over severities") for recipe in source.shifted.recipes),
    ]
    summary = f"All {len(rows)} corruptions" if len(rows) > OPEN_ROWS else ""
    return Table(f"The numbers of the bars. {source.basis}", columns, rows, summary=summary)


def _at(source: _Source, recipe: RecipeRuns[ShiftedRun], name: str) -> dict[int, Estimate]:
    """Return by severity the accuracy under a corruption, where all runs measured it."""
    curves: list[dict[int, SeverityPoint]] = [
        {point.severity: point for point in source.of(run)[name].severities} for run in recipe.runs
    ]
    return {
        severity: estimate([points[severity] for points in curves])
        for severity in curves[0]
        if all(severity in points for points in curves)
    }


def _curves(source: _Source) -> Figure:
    shifted, decimals = source.shifted, cells.digits(source.shifted)
    lines = {name: [_line(source, recipe, name) for recipe in shifted.recipes] for name in source.corruptions}
    panels = []
    for name, svg in zip(lines, figures.severity_panels(source.key, lines), strict=True):
        ends = ", ".join(_named(shifted, [line.y[-1] for line in lines[name]], decimals))
        alt = f"Accuracy against the severity of {_words(name)}; at severity {lines[name][0].x[-1]}: {ends}."
        panels.append(Panel(_words(name), svg, alt))
    caption = f"Accuracy against the severity of each corruption, 1 mild to 5 strong. {source.basis}"
    return Figure(caption, panels, cells.legend(shifted))


def _line(source: _Source, recipe: RecipeRuns[ShiftedRun], name: str) -> Line:
    points = _at(source, recipe, name)
    return Line(recipe.position, list(points), list(points.values()))


def _by_severity(source: _Source) -> Table:
    decimals = cells.digits(source.shifted)
    severities = sorted(
        {point.severity for each in source.of(source.shifted.first).values() for point in each.severities}
    )
    rows = []
    for name in source.corruptions:
        for recipe in source.shifted.recipes:
            points = _at(source, recipe, name)
            accuracies = (points.get(severity) for severity in severities)
            values = [cells.estimate_cell(value, decimals) if value else Cell("") for value in accuracies]
            rows.append([Cell(_words(name), small=recipe.name, recipe=recipe.position), *values])
    columns = [Column("corruption", text=True), *(Column(str(severity), "severity") for severity in severities)]
    return Table(f"The numbers of the curves. {source.basis}", columns, rows, summary="Every severity")


def _words(name: str) -> str:
    return name.replace("_", " ")
