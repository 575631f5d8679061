"""An evaluation out of distribution as it is on disk, with plausible numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nofrost.config import OodSuite
from nofrost.config.corruption_families import averaged, set_apart
from nofrost.results import (
    Answers,
    Calibration,
    CorruptedSet,
    CorruptionAccuracy,
    CorruptionError,
    Detection,
    MeanAccuracy,
    OodMetrics,
    OutlierSet,
    Proportion,
    ReliabilityBin,
    SeverityPoint,
    TestSetAccuracy,
    averaging_of,
    write_result,
)
from nofrost.statistics import BINS
from tests.report.dataset_on_disk import digits

TEST_SET_IMAGES = 200
# Sets whose source has this name are corrupted ones, and those with the option `outliers` hold outliers.
CORRUPTED_SOURCE = "cifar10-c"

Flags = np.ndarray
Corrupted = dict[str, dict[int, Flags]]


def make_ood_evaluation(folder: Path, suite: OodSuite, recipe: str, samples: int, clean: float) -> None:
    """Write what evaluate-ood writes, but for its record."""
    rng = np.random.default_rng([len(recipe), *recipe.encode()])
    corrupted = _corrupt(suite.corruptions, suite.severities, clean, samples, rng)
    right = _right(clean, samples, rng)
    arrays: dict[str, np.ndarray] = {"correct/clean": right, **_named("correct", corrupted)}
    sets: dict[str, dict[str, Any]] = {"test_sets": {}, "corrupted_sets": {}, "outlier_sets": {}}
    for name, spec in suite.test_sets.items():
        if spec.source == CORRUPTED_SOURCE:
            published = _corrupt(suite.corruptions or ("fog", "contrast"), (1, 3, 5), clean - 0.02, samples, rng)
            arrays |= _named(f"test-sets/{name}/correct", published)
            sets["corrupted_sets"][name] = _corrupted_set(published)
        elif (spec.model_extra or {}).get("outliers") or getattr(spec, "outliers", False):
            sets["outlier_sets"][name] = _outlier_set(clean)
        else:
            flags = _right(clean - 0.05, TEST_SET_IMAGES, rng)
            arrays[f"test-sets/{name}/correct"] = flags
            sets["test_sets"][name] = _test_set(flags, Proportion.of_flags(right), shaped=name.startswith("cue"))
    metrics = OodMetrics(
        kind="ood",
        title=suite.title,
        samples=samples,
        seed=suite.seed,
        clean=_answers(right),
        corruptions=_accuracies(corrupted),
        corruption_error=_error(corrupted) if suite.baseline else None,
        corrupted_calibration=_calibration(clean - 0.25, samples) if corrupted else None,
        **(_means(corrupted) if corrupted else dict.fromkeys(MeanAccuracy.last_keys) | {"averaging": averaging_of(())}),
        **sets,
        indices_sha256=f"{samples:064d}",
    )
    write_result(folder / "metrics.json", metrics)
    np.savez(folder / "flags.npz", **arrays)
    _examples(folder / "examples.npz", suite.corruptions, suite.severities)


def _right(accuracy: float, samples: int, rng: np.random.Generator) -> Flags:
    """Return flags of this accuracy, with images that all models find hard."""
    difficulty = np.random.default_rng(0).uniform(size=samples) * 0.8 + rng.uniform(size=samples) * 0.2
    return np.argsort(np.argsort(difficulty)) < round(accuracy * samples)


def _corrupt(
    names: Iterable[str], severities: Iterable[int], clean: float, samples: int, rng: np.random.Generator
) -> Corrupted:
    return {
        name: {
            severity: _right(clean * (1 - 0.02 * (index % 8 + 1) * severity), samples, rng) for severity in severities
        }
        for index, name in enumerate(names)
    }


def _named(prefix: str, corrupted: Corrupted) -> dict[str, Flags]:
    return {f"{prefix}/{name}/{severity}": each for name, by in corrupted.items() for severity, each in by.items()}


def _accuracies(corrupted: Corrupted) -> dict[str, CorruptionAccuracy]:
    return {
        name: CorruptionAccuracy(
            severities=tuple(SeverityPoint.of_flags(each, severity=severity) for severity, each in flags.items()),
            **dict(_mean({name: flags})),
        )
        for name, flags in corrupted.items()
    }


def _mean(corrupted: Corrupted) -> MeanAccuracy:
    value = float(np.mean([each.mean() for by in corrupted.values() for each in by.values()]))
    return MeanAccuracy(mean_accuracy=value, mean_low=value - 0.031, mean_high=value + 0.029)


def _means(corrupted: Corrupted) -> dict[str, Any]:
    further = {
        family: _mean({name: corrupted[name] for name in names}) for family, names in set_apart(corrupted).items()
    }
    counted = _mean({name: corrupted[name] for name in averaged(corrupted)})
    return {**dict(counted), "averaging": averaging_of(corrupted), "further_means": further}


def _error(corrupted: Corrupted) -> CorruptionError:
    error = 1 - _mean(corrupted).mean_accuracy
    return CorruptionError(mce=error / 0.79, relative_mce=error / 0.6, baseline="alexnet")


def _calibration(accuracy: float, samples: int) -> Calibration:
    """Return the calibration of a model that is a little too sure of itself."""
    shares = np.exp(np.linspace(-4, 0, BINS))
    bins = tuple(
        ReliabilityBin(
            count=count,
            confidence=(place + 0.5) / BINS,
            accuracy=round(count * max(0.0, (place + 0.5) / BINS - 0.2 * (1 - accuracy))) / count,
        )
        for place, share in enumerate(shares / shares.sum())
        if (count := round(samples * share))
    )
    error = 0.1 * (1 - accuracy) + 0.01
    return Calibration(error=error, low=error / 2, high=2 * error, bins=bins)


def _answers(flags: Flags) -> Answers:
    accuracy = Proportion.of_flags(flags)
    return Answers(**dict(accuracy), top5=_top5(accuracy), calibration=_calibration(accuracy.accuracy, accuracy.total))


def _top5(accuracy: Proportion) -> Proportion:
    return Proportion.of((accuracy.correct + accuracy.total) // 2, accuracy.total)


def _test_set(flags: Flags, clean: Proportion, shaped: bool) -> TestSetAccuracy:
    accuracy = Proportion.of_flags(flags)
    drop = clean.accuracy - accuracy.accuracy
    return TestSetAccuracy(
        **dict(_answers(flags)),
        name="collected anew",
        data_sha256="7" * 64,
        indices_sha256="8" * 64,
        classes=10,
        clean=clean,
        drop=drop,
        drop_low=drop - 0.02,
        drop_high=drop + 0.02,
        effective_robustness=None if shaped else 0.013,
        shape_bias=Proportion.of(len(flags) // 4, len(flags)) if shaped else None,
    )


def _corrupted_set(corrupted: Corrupted) -> CorruptedSet:
    mean = _mean(corrupted)
    return CorruptedSet(
        name="published",
        data_sha256="9" * 64,
        corruptions=_accuracies(corrupted),
        corruption_error=None,
        calibration=_calibration(mean.mean_accuracy, 1000),
        **_means(corrupted),
    )


def _outlier_set(clean: float) -> OutlierSet:
    area = clean - 0.1
    return OutlierSet(
        name="other things",
        data_sha256="6" * 64,
        indices_sha256="8" * 64,
        samples=150,
        max_softmax=Detection(auroc=area, low=area - 0.03, high=area + 0.03, fpr95=1 - area),
        energy=Detection(auroc=area + 0.02, low=area - 0.01, high=area + 0.05, fpr95=0.9 - area / 2),
    )


def _examples(path: Path, names: Iterable[str], severities: Iterable[int]) -> None:
    images, labels = digits()
    levels = sorted(set(severities))
    strengths = np.array(levels)[:, None, None, None] * 8
    noise = np.random.default_rng(0).normal(0, 1, (len(list(names)), len(levels), *images[0].shape))
    np.savez(
        path,
        image=images[0],
        label=labels[:1],
        index=np.zeros(1, np.int64),
        corrupted=np.clip(images[0] + strengths * noise, 0, 255).astype(np.uint8),
        names=np.array(list(names), np.str_),
        severities=np.array(levels),
    )
