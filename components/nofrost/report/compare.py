"""The estimate of an accuracy over the runs of a recipe, and the paired test between recipes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from nofrost.report.runs import Collected
from nofrost.results import MeanAccuracy, Proportion
from nofrost.statistics import mean_and_deviation, paired_comparison

ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """An accuracy of a recipe in [0, 1] and its spread.

    One seed: the accuracy and its 95 % Wilson interval over test images. Several: the mean over seeds, with one sample
    standard deviation (ddof = 1) to each side. `counts` says how many images were right, seed by seed.
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
    return _over_seeds([each.accuracy for each in accuracies], counts)


def estimate_mean(means: Sequence[MeanAccuracy]) -> Estimate:
    """Return the estimate from one mean over corrupted versions of the same images for each seed."""
    if len(means) == 1:
        mean = means[0]
        # The interval is Wilson's for an effective sample size, which is rounded: it may miss the mean by a hair.
        low, high = min(mean.mean_low, mean.mean_accuracy), max(mean.mean_high, mean.mean_accuracy)
        return Estimate(mean.mean_accuracy, low, high, None, 1)
    return _over_seeds([mean.mean_accuracy for mean in means], "")


def _over_seeds(values: Sequence[float], counts: str) -> Estimate:
    mean, deviation = mean_and_deviation(list(values))
    spread = deviation or 0.0
    return Estimate(mean, max(0.0, mean - spread), min(1.0, mean + spread), deviation, len(values), counts)


@dataclass(frozen=True)
class Pair:
    """Two recipes of one seed on the same images: exact McNemar test, and its p value after Holm's correction."""

    first: str
    second: str
    seed: int
    difference: float
    only_first: int
    only_second: int
    p_value: float
    corrected: float

    @property
    def better(self) -> str | None:
        """The recipe that is right on more images, where the corrected test separates the two."""
        if self.corrected >= ALPHA:
            return None
        return self.first if self.difference > 0 else self.second


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values after the step-down correction of Holm (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def compare(collected: Collected, condition: str) -> list[Pair]:
    """Return the comparison of every two recipes, seed by seed, on the images of `condition`.

    The correction counts all pairs and seeds of the condition. Empty when the runs were attacked on different images.
    """
    if not collected.same_images:
        return []
    tests = []
    for index, seed in enumerate(collected.study.runs.seed):
        for first, second in combinations(collected.recipes, 2):
            flags = (first.runs[index].flags[condition], second.runs[index].flags[condition])
            tests.append((first.name, second.name, seed, paired_comparison(*flags)))
    corrected = holm([test["p_value"] for *_, test in tests])
    return [
        Pair(first, second, seed, corrected=p, **test)
        for (first, second, seed, test), p in zip(tests, corrected, strict=True)
    ]


def best_recipe(collected: Collected, condition: str) -> str | None:
    """Return the recipe that is separated from every other with every seed, or None when there is none."""
    pairs = compare(collected, condition)
    for recipe in collected.recipes:
        comparisons = [pair for pair in pairs if recipe.name in (pair.first, pair.second)]
        if comparisons and all(pair.better == recipe.name for pair in comparisons):
            return recipe.name
    return None
