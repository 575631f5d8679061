"""Accuracy under natural corruptions of the test images."""

from nofrost.config import cite
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report import cells, figures, text
from nofrost.report.compare import Estimate, estimate, estimate_mean
from nofrost.report.document import Block, Cell, Column, Figure, Panel, Picture, Pictures, Section, Table
from nofrost.report.figures import Line
from nofrost.report.runs import Collected, RecipeRuns
from nofrost.report.sections.examples import data_uri
from nofrost.report.sections.results import ood_means


def corruptions(collected: Collected) -> Section | None:
    """Return the means over severities, accuracy against severity, and an image under each corruption; None for a
    suite without corruptions."""
    suite = collected.study.suites.ood
    if not suite.corruptions:
        return None
    blocks: list[Block] = [_means(collected), _panels(collected), _pictures(collected), _by_severity(collected)]
    return Section("corruptions", f"Out of distribution: {suite.title}", "Corruptions", blocks)


def _basis(collected: Collected) -> str:
    count = text.plural(min(run.ood.samples for run in collected.runs), "test image")
    images = f"{count} of {collected.manifest.name}, each corrupted at every severity"
    sentences = [f"Accuracy in % on {images}; {cells.spread(collected)}."]
    if collected.study.suites.ood.before_resize:
        sentences.append("Noise was added to the stored pixels, before the resize.")
    return " ".join(sentences)


def _means(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    names = collected.study.suites.ood.corruptions
    rows = [
        [
            cells.recipe_cell(recipe),
            *(cells.estimate_cell(_mean(recipe, name), decimals) for name in names),
            *(cells.estimate_cell(mean, decimals) for mean in ood_means(recipe)),
        ]
        for recipe in collected.recipes
    ]
    columns = [
        Column("recipe", text=True),
        *(Column(_words(name), "mean over severities") for name in names),
        Column("mean"),
    ]
    return Table(f"{_basis(collected)} {cite(collected.study.suites.ood.citation)}.", columns, rows)


def _mean(recipe: RecipeRuns, name: str) -> Estimate:
    return estimate_mean([run.ood.corruptions[name] for run in recipe.runs])


def _at(recipe: RecipeRuns, name: str) -> list[tuple[int, Estimate]]:
    severities = [point.severity for point in recipe.runs[0].ood.corruptions[name].severities]
    curves = [{point.severity: point for point in run.ood.corruptions[name].severities} for run in recipe.runs]
    return [
        (severity, estimate([points[severity] for points in curves]))
        for severity in severities
        if all(severity in points for points in curves)
    ]


def _panels(collected: Collected) -> Figure:
    names = collected.study.suites.ood.corruptions
    lines = {name: [_line(recipe, name) for recipe in collected.recipes] for name in names}
    decimals = cells.digits(collected)
    panels = []
    for name, svg in zip(names, figures.severity_panels(lines), strict=True):
        ends = [
            f"{recipe.name} {text.with_sign(line.y[-1].value, decimals)}"
            for recipe, line in zip(collected.recipes, lines[name], strict=True)
        ]
        alt = f"Accuracy against the severity of {_words(name)}; at severity {lines[name][0].x[-1]}: {', '.join(ends)}."
        panels.append(Panel(_words(name), svg, alt))
    caption = f"Accuracy against the severity of each corruption, 1 mild to 5 strong. {_basis(collected)}"
    return Figure(caption, panels, cells.legend(collected))


def _line(recipe: RecipeRuns, name: str) -> Line:
    points = _at(recipe, name)
    return Line(recipe.position, [severity for severity, _ in points], [value for _, value in points])


def _by_severity(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    rows = []
    for name in collected.study.suites.ood.corruptions:
        for recipe in collected.recipes:
            header = Cell(_words(name), small=recipe.name, recipe=recipe.position)
            rows.append([header, *(cells.estimate_cell(value, decimals) for _, value in _at(recipe, name))])
    severities = [point.severity for point in next(iter(collected.first.ood.corruptions.values())).severities]
    columns = [Column("corruption", text=True), *(Column(str(severity), "severity") for severity in severities)]
    return Table(f"The numbers of the figure. {_basis(collected)}", columns, rows, summary="Every severity")


def _pictures(collected: Collected) -> Pictures:
    path = collected.first.folder / "evaluate-ood" / "examples.npz"
    arrays = read_arrays(path)
    complete = {"names", "corrupted", "image", "severity"} <= arrays.keys()
    if not complete or len(arrays["names"]) != len(arrays["corrupted"]):
        raise UserError(f"{path} does not contain corrupted examples: evaluate this run again")
    names = [_words(str(name)) for name in arrays["names"]]
    severity = int(arrays["severity"].ravel()[0])
    pictures = [
        Picture(data_uri(arrays["image"]), "test image without corruption"),
        *(
            Picture(data_uri(image), f"the same image under {name}")
            for name, image in zip(names, arrays["corrupted"], strict=True)
        ),
    ]
    caption = (
        f"One test image of {collected.manifest.name} under every corruption at severity {severity}, pixels not "
        "smoothed."
    )
    return Pictures("", caption, [(f"severity {severity}", pictures)], ["clean", *names])


def _words(name: str) -> str:
    return name.replace("_", " ")
