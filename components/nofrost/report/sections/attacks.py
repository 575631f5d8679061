"""Clean against robust accuracy, and accuracy against the steps and the budget of an attack."""

from collections.abc import Callable

from nofrost.report import cells, figures, text
from nofrost.report.compare import Estimate, estimate
from nofrost.report.document import Cell, Column, Figure, Panel, Section, Table
from nofrost.report.figures import Line
from nofrost.report.runs import CLEAN, WORST_CASE, Attacked, AttackedRun, RecipeRuns
from nofrost.results import Proportion


def tradeoff(attacked: Attacked) -> Section:
    """Return the figure of clean against worst-case accuracy."""
    decimals = cells.digits(attacked)
    points, words = [], []
    for recipe in attacked.recipes:
        clean, robust = (cells.accuracy(recipe, condition) for condition in (CLEAN, WORST_CASE))
        points.append((recipe.position, clean, robust))
        words.append(
            f"{recipe.name} {text.with_sign(clean.value, decimals)} clean and "
            f"{text.with_sign(robust.value, decimals)} in the worst case"
        )
    panel = Panel("", figures.tradeoff(points), f"Scatter plot: {'; '.join(words)}.")
    caption = (
        f"Clean accuracy against worst-case accuracy within {cells.threat(attacked)}. Up and to the right is better. "
        f"{cells.basis(attacked)}"
    )
    return Section(
        "tradeoff",
        "Clean against robust accuracy",
        "Clean vs robust",
        [Figure(caption, [panel], cells.legend(attacked))],
    )


def convergence(attacked: Attacked) -> Section | None:
    """Return accuracy against attack steps and whether the attack has converged, or None when it was not measured."""
    if attacked.first.adversarial.steps_curve is None:
        return None
    attack = attacked.first.adversarial.steps_curve.attack
    curves = {recipe.name: _curve(recipe, _steps) for recipe in attacked.recipes}
    lines = _lines(attacked, curves)
    caption = (
        f"Accuracy under {attack} within {cells.threat(attacked)} against its number of steps. A curve that still "
        f"falls at its right end says that more steps would break more images. {cells.basis(attacked)}"
    )
    panel = Panel("", figures.steps_curve(lines), _in_words(attacked, curves, "steps"))
    table = _verdicts(attacked, curves)
    figure = Figure(caption, [panel], cells.legend(attacked))
    return Section("convergence", "Accuracy against attack steps", "Attack steps", [figure, table])


def budget(attacked: Attacked) -> Section | None:
    """Return accuracy against the size of the ball, or None when it was not measured."""
    curve = attacked.first.adversarial.budget_curve
    if curve is None:
        return None
    threat = attacked.suite.threat
    curves = {recipe.name: _curve(recipe, _sizes) for recipe in attacked.recipes}
    in_levels = threat.norm == "linf" and threat.eps.text.endswith("/255")
    panel = Panel(
        "",
        figures.budget_curve(_lines(attacked, curves), float(threat.eps), in_levels),
        _in_words(attacked, curves, "the ball's size as a share of the pixel range"),
    )
    whole = " In a ball as large as the whole pixel range every accuracy must fall to zero." if in_levels else ""
    caption = (
        f"Accuracy under {curve.attack} against the size of the ball. The dotted line is the threat of this study."
        f"{whole} {cells.basis(attacked)}"
    )
    decimals = cells.digits(attacked)
    rows = []
    for recipe in attacked.recipes:
        measured = dict(curves[recipe.name])
        accuracies = (measured.get(point.value) for point in curve.points)
        row = [cells.estimate_cell(accuracy, decimals) if accuracy else Cell("") for accuracy in accuracies]
        rows.append([cells.recipe_cell(recipe), *row])
    columns = [Column("recipe", text=True), *(Column(point.eps, f"{curve.attack} within") for point in curve.points)]
    table = Table(f"The numbers of the figure. {cells.basis(attacked)}", columns, rows, summary="The numbers")
    figure = Figure(caption, [panel], cells.legend(attacked))
    return Section("budget", "Accuracy against the size of the ball", "Ball size", [figure, table])


Curve = list[tuple[float, Estimate]]


def _steps(run: AttackedRun) -> list[tuple[float, Proportion]]:
    curve = run.adversarial.steps_curve
    return [(point.steps, point) for point in curve.points] if curve else []


def _sizes(run: AttackedRun) -> list[tuple[float, Proportion]]:
    curve = run.adversarial.budget_curve
    return [(point.value, point) for point in curve.points] if curve else []


def _curve(recipe: RecipeRuns[AttackedRun], points: Callable[[AttackedRun], list[tuple[float, Proportion]]]) -> Curve:
    """Return the points that all runs of the recipe have, in order, each with its estimate over the seeds."""
    curves = [dict(points(run)) for run in recipe.runs]
    common = sorted(set.intersection(*map(set, curves)))
    return [(x, estimate([curve[x] for curve in curves])) for x in common]


def _lines(attacked: Attacked, curves: dict[str, Curve]) -> list[Line]:
    return [
        Line(recipe.position, [x for x, _ in curves[recipe.name]], [y for _, y in curves[recipe.name]])
        for recipe in attacked.recipes
        if curves[recipe.name]
    ]


def _in_words(attacked: Attacked, curves: dict[str, Curve], axis: str) -> str:
    decimals = cells.digits(attacked)
    ends = [
        f"{name} from {text.with_sign(curve[0][1].value, decimals)} at {curve[0][0]:.3g} "
        f"to {text.with_sign(curve[-1][1].value, decimals)} at {curve[-1][0]:.3g}"
        for name, curve in curves.items()
        if curve
    ]
    return f"Line chart of accuracy against {axis}: {'; '.join(ends)}. The table below holds the numbers."


def _verdicts(attacked: Attacked, curves: dict[str, Curve]) -> Table:
    decimals = cells.digits(attacked)
    steps = sorted({x for curve in curves.values() for x, _ in curve})
    rows = []
    for recipe in attacked.recipes:
        measured = dict(curves[recipe.name])
        measured_curves = [(run, curve) for run in recipe.runs if (curve := run.adversarial.steps_curve)]
        falling = [(run, curve) for run, curve in measured_curves if not curve.converged]
        verdict = Cell("not converged", status="warn") if falling else Cell("converged", status="pass")
        seeded = len(recipe.runs) > 1
        reasons = [
            f"seed {run.seed}: {curve.slope_reason}" if seeded else curve.slope_reason
            for run, curve in falling or measured_curves
        ]
        accuracies = [cells.estimate_cell(measured[x], decimals) if x in measured else Cell("") for x in steps]
        rows.append(
            [cells.recipe_cell(recipe), verdict if measured_curves else Cell(""), *accuracies, Cell("; ".join(reasons))]
        )
    curve = attacked.first.adversarial.steps_curve
    group = f"{curve.attack} steps" if curve else ""
    columns = [
        Column("recipe", text=True),
        Column("verdict", text=True),
        *(Column(f"{x:g}", group) for x in steps),
        Column("why", text=True),
    ]
    return Table(
        f"Whether the attack has converged, and the numbers of the figure. {cells.basis(attacked)}", columns, rows
    )
