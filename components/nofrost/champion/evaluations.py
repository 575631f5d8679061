"""Both evaluations of a model as the gate reads them, and whether two models were evaluated on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import Study
from nofrost.config.corruption_families import averaged
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report.flags import read_flags
from nofrost.report.runs import CLEAN, WORST_CASE
from nofrost.results import AdversarialMetrics, Contender, EvaluationRecord, OodMetrics, read_result
from nofrost.stage import RECORD
from nofrost.statistics import Flags

ADVERSARIAL, OOD = "evaluate-adversarial", "evaluate-ood"


@dataclass(frozen=True)
class Evaluations:
    """What both evaluations of a model measured on its N test images; M of them were corrupted.

    Attributes:
        adversarial, ood: what the evaluations wrote.
        adversarial_record, ood_record: how they came about.
        clean, worst_case: [N] whether the model is right on each image, and still right under every attack.
        corrupted: float64 [M], the share of corruptions (those of the mean) and severities that it is right on; None
            where the suite has no corruptions.
        confidence: float64 [M] in [0, 1], the probability of the predicted class of each clean image.
        ood_clean: [M] whether the model is right on each clean image of the corrupted ones.
        indices: the images of each evaluation, by their numbers in the test split.
    """

    contender: Contender
    adversarial: AdversarialMetrics
    ood: OodMetrics
    adversarial_record: EvaluationRecord
    ood_record: EvaluationRecord
    clean: Flags
    worst_case: Flags
    corrupted: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    ood_clean: Flags
    indices: dict[str, NDArray[np.int64]]

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
    """Return the evaluations of a model: all conditions of the study's suites on all of their images.

    Args:
        folder: holds ``evaluate-adversarial`` and ``evaluate-ood``.
    """
    try:
        return _read(folder, contender, study)
    except UserError as error:
        # The same words wherever the folder is.
        return Unfinished(contender, str(error).replace(f"{folder}/", ""))


def _read(folder: Path, contender: Contender, study: Study) -> Evaluations:
    adversarial = read_result(AdversarialMetrics, folder / ADVERSARIAL / "metrics.json")
    ood = read_result(OodMetrics, folder / OOD / "metrics.json")
    # The record of a shard has a key more, and is refused.
    records = {name: read_result(EvaluationRecord, folder / name / RECORD) for name in (ADVERSARIAL, OOD)}
    for name, suite in ((ADVERSARIAL, study.suites.adversarial), (OOD, study.suites.ood)):
        if records[name].config != suite.as_json():
            raise UserError(f"{folder / name} is an evaluation with another suite than the study's: evaluate again")
    for condition in (CLEAN, *study.suites.adversarial.attacks, WORST_CASE):
        if condition not in adversarial.accuracy:
            raise UserError(f"{folder / ADVERSARIAL} lacks {condition}: evaluate again")
    flags = read_flags(folder / ADVERSARIAL / "flags.npz", adversarial)
    path = folder / OOD / "flags.npz"
    arrays = read_arrays(path)
    corrupted = [
        _values(arrays, f"correct/{name}/{point.severity}", np.bool_, ood.samples, path)
        for name in averaged(ood.corruptions)
        for point in ood.corruptions[name].severities
    ]
    attacked = read_arrays(folder / ADVERSARIAL / "flags.npz")
    confidence = _values(arrays, "confidence", np.float64, ood.samples, path)
    if not np.isfinite(confidence).all():
        raise UserError(f"{path}: confidence is not finite on each image: the outputs of the model overflow")
    return Evaluations(
        contender=contender,
        adversarial=adversarial,
        ood=ood,
        adversarial_record=records[ADVERSARIAL],
        ood_record=records[OOD],
        clean=flags[CLEAN],
        worst_case=flags[WORST_CASE],
        corrupted=np.mean(corrupted, axis=0) if corrupted else None,
        confidence=confidence,
        ood_clean=_values(arrays, "correct/clean", np.bool_, ood.samples, path),
        indices={
            ADVERSARIAL: _values(
                attacked, "indices", np.int64, adversarial.samples, folder / ADVERSARIAL / "flags.npz"
            ),
            OOD: _values(arrays, "indices", np.int64, ood.samples, path),
        },
    )


def _values(arrays: dict[str, NDArray[Any]], name: str, dtype: type, length: int, path: Path) -> NDArray[Any]:
    values = arrays.get(name)
    if values is None or values.dtype != dtype or values.shape != (length,):
        raise UserError(f"{path}: {name} does not hold a value for each of {length} images: evaluate again")
    return values


def other_images(challenger: Evaluations, champion: Evaluations) -> str | None:
    """Return in words the first thing in which the evaluations of two models differ; None if they can be compared."""
    pairs = (
        (ADVERSARIAL, challenger.adversarial_record, champion.adversarial_record),
        (OOD, challenger.ood_record, champion.ood_record),
    )
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
        if not np.array_equal(challenger.indices[stage], champion.indices[stage]):
            return f"the images of {stage}"
    return None
