"""Cells, legends and phrases that the tables and captions of all sections share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from nofrost.report import text
from nofrost.report.compare import Estimate, estimate, estimate_value
from nofrost.report.document import Cell
from nofrost.report.runs import Attacked, AttackedRun, Collected, RecipeRuns, Run, Shifted, StudyRuns
from nofrost.results import STATUSES, Alarm, Calibration, PropertySummary, Proportion, Status
from nofrost.statistics import mean_and_deviation

ICONS: dict[Status, str] = {"pass": "✓", "warn": "!", "fail": "✕"}
NOT_CONVERGED = "not converged"
STAR_OF_MEANS = (
    "★ marks a mean that is separated from every other (paired test over images, p < 0.05 after Holm's correction for "
    "all pairs)."
)


def digits(measured: Attacked | Shifted | Collected) -> int:
    """Return how many decimals of a percentage the number of test images can carry."""
    return 1 if measured.samples < 5000 else 2


def recipe_cell(recipe: RecipeRuns[Run], titled: bool = False) -> Cell:
    """Return the header of a recipe's row, with the recipe's title below where it is `titled`."""
    lines = (recipe.recipe.title if titled else "", f"on {recipe.dataset}" if recipe.dataset else "")
    return Cell(recipe.name, small="\n".join(filter(None, lines)), recipe=recipe.position)


def run_cell(recipe: RecipeRuns[Run], run: Run) -> Cell:
    """Return the header of a run's row."""
    on_dataset = f", {recipe.dataset}" if recipe.dataset else ""
    return Cell(run.recipe, small=f"seed {run.seed}{on_dataset}", recipe=recipe.position)


def estimate_cell(value: Estimate, decimals: int, best: bool = False, doubt: str = "") -> Cell:
    """Return an accuracy with its spread below and its counts on hover."""
    if value.deviation is None:
        small = text.span(value.low, value.high, decimals)
    else:
        small = _deviation(value.deviation, value.seeds, decimals)
    bounds = (value.low, value.value, value.high)
    return Cell(text.percent(value.value, decimals), small, hint=value.counts, bounds=bounds, best=best, doubt=doubt)


def points_cell(value: Estimate, decimals: int) -> Cell:
    """Return a difference of accuracies in percentage points, with its sign and its spread below."""
    if value.deviation is None:
        small = f"{text.points(value.low, decimals)} to {text.points(value.high, decimals)}"
    else:
        small = _deviation(value.deviation, value.seeds, decimals)
    return Cell(text.points(value.value, decimals), small)


def calibration_cell(calibrations: Sequence[Calibration], decimals: int) -> Cell:
    """Return an expected calibration error in percent, from one for each seed, with its spread below."""
    value = estimate_value([(each.error, each.low, each.high) for each in calibrations])
    # Errors are small: a bar on the scale of accuracies would say nothing.
    return replace(estimate_cell(value, decimals), bounds=None)


def number_cell(shares: Sequence[float], decimals: int, shown: Callable[[float, int], str] = text.percent) -> Cell:
    """Return a number in percent, one for each seed, that has no interval over images; mean and spread over seeds."""
    mean, deviation = mean_and_deviation(list(shares))
    return Cell(shown(mean, decimals), _deviation(deviation, len(shares), decimals) if deviation is not None else "")


def summary_cell(summaries: Sequence[PropertySummary]) -> Cell:
    """Return the mean of a value of each image, one summary for each seed, with its interval over images or its
    deviation over seeds."""
    means = [summary.mean for summary in summaries if summary.mean is not None]
    if len(means) < len(summaries):
        return Cell("none", hint="no image has a finite value")
    mean, deviation = mean_and_deviation(means)
    if deviation is not None:
        small = f"± {text.number(deviation)} (n = {len(means)})".replace(" ", "\N{NO-BREAK SPACE}")
        return Cell(text.number(mean), small)
    (summary,) = summaries
    hint = f"{text.plural(summary.total - summary.infinite, 'image')}"
    if summary.deviation is None or summary.low is None or summary.high is None:
        return Cell(text.number(mean), hint=hint)
    hint += f", standard deviation {text.number(summary.deviation)}"
    return Cell(text.number(mean), f"{text.number(summary.low)} to {text.number(summary.high)}", hint=hint)


def _deviation(deviation: float, seeds: int, decimals: int) -> str:
    return f"± {text.percent(deviation, decimals)} (n = {seeds})".replace(" ", "\N{NO-BREAK SPACE}")


def proportion_cell(accuracy: Proportion, decimals: int, doubt: str = "") -> Cell:
    """Return the accuracy of one run with its exact counts and interval."""
    small = f"{accuracy.correct}/{accuracy.total}\n{text.span(accuracy.low, accuracy.high, decimals)}"
    return Cell(text.percent(accuracy.accuracy, decimals), small, doubt=doubt)


def doubt(runs: Iterable[AttackedRun], condition: str) -> str:
    """Return the warning beside an accuracy of these runs; empty unless more attack steps would lower one of them."""
    return NOT_CONVERGED if any(condition in run.adversarial.not_converged for run in runs) else ""


def accuracy(recipe: RecipeRuns[AttackedRun], condition: str) -> Estimate:
    """Return the estimate of a recipe's accuracy under a condition of its adversarial evaluations."""
    return estimate([run.adversarial.accuracy[condition] for run in recipe.runs])


def alarm_cell(alarms: Iterable[Alarm]) -> Cell:
    """Return a badge with the worst status and the number of alarms of each status."""
    counts = dict.fromkeys(STATUSES, 0)
    for alarm in alarms:
        counts[alarm.status] += 1
    raised = [f"{number} {status}" for status, number in counts.items() if number and status != "pass"]
    worst = next((status for status, number in counts.items() if number), None)
    if worst is None:
        return Cell("none checked")
    return Cell(", ".join(raised) or f"{counts['pass']} pass", status=worst)


def legend(seen: StudyRuns[Run]) -> list[tuple[str, int]]:
    """Return the legend of a figure that shows all recipes: name and position."""
    return [(recipe.name, recipe.position) for recipe in seen.recipes]


def basis(attacked: Attacked) -> str:
    """Return the sentence that says on what the accuracies of a table or figure were measured."""
    samples = sorted({run.adversarial.samples for run in attacked.runs})
    images = f"{' or '.join(map(text.count, samples))} test images of {attacked.manifest.name}"
    attacks = attacked.first.adversarial.attacks
    fewer = "".join(f", {name} on {text.count(use.images)} of them" for name, use in attacks.items() if use.images)
    return f"Accuracy in % on {images}{fewer}; {spread(attacked)}."


def spread(seen: StudyRuns[Run], interval: str = "95 % Wilson interval over images") -> str:
    """Return the seeds, and what the spread of a value is: `interval` with one seed, a deviation with several."""
    seeds = seen.study.runs.seed
    deviation = f"mean ± sample standard deviation over n = {len(seeds)} trainings"
    return f"{text.seeds(seeds)}; {interval if len(seeds) == 1 else deviation}"


def threat(attacked: Attacked) -> str:
    """Return the threat of the adversarial suite."""
    return text.threat(attacked.suite.threat.norm, attacked.suite.threat.eps)
