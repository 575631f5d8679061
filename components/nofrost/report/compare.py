"""The estimate of an accuracy over the runs of a recipe, and the paired test between recipes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from numpy.typing import NDArray

from nofrost.report.runs import Attacked, AttackedRun, RecipeRuns, Run, Shifted, ShiftedRun, StudyRuns
from nofrost.results import MeanAccuracy, Proportion
from nofrost.statistics import Flags, mean_and_deviation, paired_comparison, paired_mean_comparison

ALPHA = 0.05
R = TypeVar("R", bound=Run)


@dataclass(frozen=True)
class Estimate:
    """An accuracy, or another measure of a recipe, and its spread.

    One seed: the value and its 95 % interval over test images. Several: the mean over seeds, with one sample standard
    deviation (ddof = 1) to each side. `counts` says how many images were right, seed by seed.
    """

    value: float
    low: float
    high: float
    deviation: float | None
    seeds: int
    counts: str = ""


def estimate(accuracies: Sequence[Proportion]) -> Estimate:
    """Return the estimate from one accuracy for each seed."""
    counts = "; ".join(f"{each.correct:,} of {each.total:,} images" for each in accuracies)
    if len(accuracies) == 1:
        return Estimate(accuracies[0].accuracy, accuracies[0].low, accuracies[0].high, None, 1, counts)
    return _shares_over_seeds([each.accuracy for each in accuracies], counts)


def estimate_mean(means: Sequence[MeanAccuracy]) -> Estimate:
    """Return the estimate from one mean over corrupted versions of the same images for each seed."""
    if len(means) == 1:
        mean = means[0]
        # The interval is Wilson's for an effective sample size, which is rounded: it may miss the mean by a hair.
        low, high = min(mean.mean_low, mean.mean_accuracy), max(mean.mean_high, mean.mean_accuracy)
        return Estimate(mean.mean_accuracy, low, high, None, 1)
    return _shares_over_seeds([mean.mean_accuracy for mean in means], "")


def estimate_value(values: Sequence[tuple[float, float, float]]) -> Estimate:
    """Return the estimate from one (value, low, high) for each seed, of a measure that may be negative."""
    if len(values) == 1:
        return Estimate(*values[0], None, 1)
    mean, deviation = mean_and_deviation([value for value, _, _ in values])
    spread = deviation or 0.0
    return Estimate(mean, mean - spread, mean + spread, deviation, len(values))


def _shares_over_seeds(values: Sequence[float], counts: str) -> Estimate:
    mean, deviation = mean_and_deviation(list(values))
    spread = deviation or 0.0
    return Estimate(mean, max(0.0, mean - spread), min(1.0, mean + spread), deviation, len(values), counts)


@dataclass(frozen=True)
class Pair:
    """Two recipes of one seed on the same images: the difference of their accuracies, in favour of the first, and the
    p value of a paired test, before and after Holm's correction."""

    first: str
    second: str
    seed: int
    corrected: float
    difference: float
    p_value: float

    @property
    def better(self) -> str | None:
        """The recipe that is right on more images, where the corrected test separates the two."""
        if self.corrected >= ALPHA:
            return None
        return self.first if self.difference > 0 else self.second


@dataclass(frozen=True)
class FlagPair(Pair):
    """The exact McNemar test, and how many images one recipe alone got right."""

    only_first: int
    only_second: int


@dataclass(frozen=True)
class MeanPair(Pair):
    """Student's paired test of mean accuracies over versions of the same images, and the difference's interval."""

    low: float
    high: float


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values after the step-down correction of Holm (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def compare(attacked: Attacked, condition: str) -> list[FlagPair]:
    """Return the comparison of every two recipes, seed by seed, on the images of `condition`.

    The correction counts all pairs and seeds of the condition. Empty when the runs were attacked on different images.
    """

    def flags(run: AttackedRun) -> Flags:
        return run.flags[condition]

    return [FlagPair(**test) for test in _tests(attacked, flags, paired_comparison)] if attacked.same_images else []


def compare_on_test_set(shifted: Shifted, name: str) -> list[FlagPair]:
    """Return the comparison on a further test set; empty when the runs were evaluated on different images of it."""

    def flags(run: ShiftedRun) -> Flags:
        return run.flags.by_set[name]

    return [FlagPair(**test) for test in _tests(shifted, flags, paired_comparison)] if shifted.same_images(name) else []


def compare_on_corruptions(shifted: Shifted, name: str | None = None) -> list[MeanPair]:
    """Return the comparison of mean accuracies over corruptions.

    Empty when the runs were evaluated on different images, or the corruptions hold different images.

    Args:
        name: of a test set of corrupted images; None: the corruptions of the suite.
    """

    def shares(run: ShiftedRun) -> NDArray[Any]:
        return run.flags.by_set[name]

    if not shifted.same_images(name):
        return []
    return [MeanPair(**test) for test in _tests(shifted, shares, paired_mean_comparison)]


def _tests(
    seen: StudyRuns[R], values: Callable[[R], NDArray[Any]], test: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the outcome of a test for every two recipes and each seed, with p values corrected for all of them."""
    tests = [
        {
            "first": first.name,
            "second": second.name,
            "seed": seed,
            **test(values(first.runs[index]), values(second.runs[index])),
        }
        for index, seed in enumerate(seen.study.runs.seed)
        for first, second in combinations(seen.recipes, 2)
    ]
    corrected = holm([test["p_value"] for test in tests])
    return [{**test, "corrected": p} for test, p in zip(tests, corrected, strict=True)]


def best_recipe(attacked: Attacked, condition: str) -> str | None:
    """Return the recipe that is separated from every other with every seed, or None when there is none."""
    return best_of(attacked.recipes, compare(attacked, condition))


def best_of(recipes: Sequence[RecipeRuns[Any]], pairs: Sequence[Pair]) -> str | None:
    """Return the recipe that these comparisons separate from every other with every seed, or None."""
    for recipe in recipes:
        comparisons = [pair for pair in pairs if recipe.name in (pair.first, pair.second)]
        if comparisons and all(pair.better == recipe.name for pair in comparisons):
            return recipe.name
    return None
