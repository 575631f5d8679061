"""The evaluations of a model as the gate reads them, and whether two models were evaluated on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite, Study, Suite
from nofrost.config.corruption_families import averaged
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report.flags import read_flags
from nofrost.report.recorded_suite import check_recorded_suite
from nofrost.report.runs import CLEAN, WORST_CASE
from nofrost.results import AdversarialMetrics, Contender, EvaluationRecord, OodMetrics, read_result
from nofrost.stage import RECORD
from nofrost.statistics import Flags

ADVERSARIAL, OOD = "evaluate-adversarial", "evaluate-ood"


@dataclass(frozen=True)
class OodResult:
    """What the evaluation with an ood suite measured on its N test images.

    Attributes:
        metrics: what the evaluation wrote.
        record: how it came about.
        corrupted: float64 [N], the share of corruptions (those of the mean) and severities on which the model is right,
            by image; None where the suite has no corruptions.
        confidence: float64 [N] in [0, 1], the probability of the predicted class of each clean image.
        clean: [N] whether the model is right on each clean image.
        indices: the images, by their numbers in the test split.
    """

    metrics: OodMetrics
    record: EvaluationRecord
    corrupted: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    clean: Flags
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Evaluations:
    """What the evaluations with the suites of the gate measured, that with the adversarial one on its N test images.

    Attributes:
        adversarial: what the evaluation wrote.
        adversarial_record: how it came about.
        clean, worst_case: [N] whether the model is right on each image, and still right under every attack.
        indices: the images, by their numbers in the test split.
        ood: None for a study without an ood suite.
    """

    contender: Contender
    adversarial: AdversarialMetrics
    adversarial_record: EvaluationRecord
    clean: Flags
    worst_case: Flags
    indices: NDArray[np.int64]
    ood: OodResult | None

    @property
    def failed_alarms(self) -> list[str]:
        """The names of the checks for gradient masking that failed."""
        return [alarm.name for alarm in self.adversarial.alarms if alarm.status == "fail"]


@dataclass(frozen=True)
class Unfinished:
    """A model whose evaluations cannot be used, and the reason in a sentence."""

    contender: Contender
    reason: str


def read_evaluations(folder: Path, contender: Contender, study: Study) -> Evaluations | Unfinished:
    """Return the evaluations of a model: all conditions of the suites of the study's gate on all of their images.

    Args:
        folder: holds ``evaluate-adversarial/<suite>`` and ``evaluate-ood/<suite>``.
    """
    attacked, shifted = study.gate_suites
    try:
        return Evaluations(
            contender=contender,
            **_read_adversarial(folder / ADVERSARIAL / attacked, study.suites.adversarial[attacked]),
            ood=_read_ood(folder / OOD / shifted, study.suites.ood[shifted]) if shifted else None,
        )
    except UserError as error:
        # The same words wherever the folder is.
        return Unfinished(contender, str(error).replace(f"{folder}/", ""))


def _read_adversarial(folder: Path, suite: AdversarialSuite) -> dict[str, Any]:
    """Return the fields of :class:`Evaluations` that the evaluation with an adversarial suite fills."""
    metrics = read_result(AdversarialMetrics, folder / "metrics.json")
    record = _read_record(folder, suite)
    for condition in (CLEAN, *suite.attacks, WORST_CASE):
        if condition not in metrics.accuracy:
            raise UserError(f"{folder} lacks {condition}: evaluate again")
    path = folder / "flags.npz"
    flags = read_flags(path, metrics)
    return {
        "adversarial": metrics,
        "adversarial_record": record,
        "clean": flags[CLEAN],
        "worst_case": flags[WORST_CASE],
        "indices": _values(read_arrays(path), "indices", np.int64, metrics.samples, path),
    }


def _read_ood(folder: Path, suite: OodSuite) -> OodResult:
    metrics = read_result(OodMetrics, folder / "metrics.json")
    record = _read_record(folder, suite)
    path = folder / "flags.npz"
    arrays = read_arrays(path)
    corrupted = [
        _values(arrays, f"correct/{name}/{point.severity}", np.bool_, metrics.samples, path)
        for name in averaged(metrics.corruptions)
        for point in metrics.corruptions[name].severities
    ]
    confidence = _values(arrays, "confidence", np.float64, metrics.samples, path)
    if not np.isfinite(confidence).all():
        raise UserError(f"{path}: confidence is not finite on each image: the outputs of the model overflow")
    return OodResult(
        metrics=metrics,
        record=record,
        corrupted=np.mean(corrupted, axis=0) if corrupted else None,
        confidence=confidence,
        clean=_values(arrays, "correct/clean", np.bool_, metrics.samples, path),
        indices=_values(arrays, "indices", np.int64, metrics.samples, path),
    )


def _read_record(folder: Path, suite: Suite) -> EvaluationRecord:
    # The record of a shard has a key more, and is refused.
    record = read_result(EvaluationRecord, folder / RECORD)
    # All of it: the same numbers decide about every model.
    check_recorded_suite(record.config, suite, folder, ignored=())
    return record


def _values(arrays: dict[str, NDArray[Any]], name: str, dtype: type, length: int, path: Path) -> NDArray[Any]:
    values = arrays.get(name)
    if values is None or values.dtype != dtype or values.shape != (length,):
        raise UserError(f"{path}: {name} does not hold a value for each of {length} images: evaluate again")
    return values


def other_images(challenger: Evaluations, champion: Evaluations) -> str | None:
    """Return in words the first thing in which the evaluations of two models differ; None if they can be compared."""
    pairs = [(ADVERSARIAL, challenger.adversarial_record, champion.adversarial_record)]
    indices = {ADVERSARIAL: (challenger.indices, champion.indices)}
    if challenger.ood and champion.ood:
        pairs.append((OOD, challenger.ood.record, champion.ood.record))
        indices[OOD] = challenger.ood.indices, champion.ood.indices
    for stage, one, other in pairs:
        for what, ours, theirs in (
            ("dataset", one.protocol.data_sha256, other.protocol.data_sha256),
            ("split", one.split, other.split),
            ("images", one.protocol.indices_sha256, other.protocol.indices_sha256),
            ("suite", one.config, other.config),
            ("version of nofrost", one.nofrost, other.nofrost),
        ):
            if ours != theirs:
                return f"the {what} of {stage}"
        if not np.array_equal(*indices[stage]):
            return f"the images of {stage}"
    return None
