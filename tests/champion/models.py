"""Evaluations of made-up models, in memory and on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.champion.decision import decide
from nofrost.champion.evaluations import ADVERSARIAL, OOD, Evaluations, OodResult
from nofrost.config import GateSpec, Study, Threat, load_study
from nofrost.results import (
    AdversarialMetrics,
    Alarm,
    Contender,
    CorruptionAccuracy,
    EvaluationRecord,
    GateMetrics,
    OodMetrics,
    Proportion,
    Protocol,
    SeverityPoint,
    write_result,
)
from tests.ood_results import answers, calibration

STUDY = load_study(
    "digits",
    (
        "suites.ood.quick.corruptions=[contrast]",
        "suites.ood.quick.severities=[1]",
        "runs.recipe=[st, sat]",
    ),
)


def evaluations(
    worst_case: NDArray[np.bool_],
    clean: NDArray[np.bool_] | None = None,
    corrupted: NDArray[np.bool_] | None = None,
    confidence: NDArray[np.float64] | None = None,
    *,
    run: str = "sat/seed-0",
    alarms: tuple[str, ...] = (),
    data: str = "d",
    indices: NDArray[np.int64] | None = None,
    weights: str = "",
    study: Study = STUDY,
) -> Evaluations:
    """Return the evaluations of a model that is right on these images; it is right on each clean one by default.

    Args:
        alarms: statuses of its alarms.
        data: checksum of the dataset.
        weights: checksum of the model; another one for each by default.
    """
    samples = len(worst_case)
    clean = np.ones(samples, bool) if clean is None else clean
    corrupted = clean if corrupted is None else corrupted
    confidence = clean.astype(np.float64) if confidence is None else confidence
    indices = np.arange(samples) if indices is None else indices
    recipe, _, seed = run.partition("/seed-")
    adversarial = AdversarialMetrics(
        kind="adversarial",
        title=study.suites.adversarial["quick"].title,
        protocol="quick",
        samples=samples,
        seed=0,
        threat=study.suites.adversarial["quick"].threat,
        subset=False,
        cascade=False,
        attacks={},
        accuracy={name: Proportion.of_flags(flags) for name, flags in _flags(clean, worst_case).items()},
        not_converged=(),
        branches={},
        steps_curve=None,
        budget_curve=None,
        alarms=tuple(Alarm(name=f"check-{place}", status=status, reason="") for place, status in enumerate(alarms)),  # type: ignore[arg-type]
        properties={},
        weight_norms=None,
        batch_norm=(),
        indices_sha256=_sha256(indices),
    )
    mean = {"mean_accuracy": float(corrupted.mean()), "mean_low": 0.0, "mean_high": 1.0}
    contrast = CorruptionAccuracy(severities=(SeverityPoint.of_flags(corrupted, severity=1),), **mean)
    ood = OodMetrics(
        kind="ood",
        title=study.suites.ood["quick"].title,
        samples=samples,
        seed=0,
        clean=answers(int(clean.sum()), samples),
        corruptions={"contrast": contrast},
        corruption_error=None,
        corrupted_calibration=calibration(mean["mean_accuracy"]),
        averaging="unweighted mean over all corruptions and severities",
        test_sets={},
        corrupted_sets={},
        outlier_sets={},
        indices_sha256=_sha256(indices),
        **mean,
    )
    inputs = {"dataset": data, "model.safetensors": weights or hashlib.sha256(worst_case.tobytes()).hexdigest()}
    return Evaluations(
        contender=Contender(run="", recipe=recipe, seed=int(seed)),
        adversarial=adversarial,
        adversarial_record=_record(ADVERSARIAL, study.suites.adversarial["quick"].as_json(), inputs, data, indices),
        clean=clean,
        worst_case=worst_case,
        indices=indices,
        ood=OodResult(
            metrics=ood,
            record=_record(OOD, study.suites.ood["quick"].as_json(), inputs, data, indices),
            corrupted=corrupted.astype(np.float64),
            confidence=confidence,
            clean=clean,
            indices=indices,
        ),
    )


def write_evaluations(folder: Path, model: Evaluations) -> None:
    """Write what the stages would have written of a model."""
    assert model.ood
    adversarial, ood = f"{ADVERSARIAL}/quick", f"{OOD}/quick"
    for name, metrics, record in (
        (adversarial, model.adversarial, model.adversarial_record),
        (ood, model.ood.metrics, model.ood.record),
    ):
        (folder / name).mkdir(parents=True)
        write_result(folder / name / "metrics.json", metrics)
        write_result(folder / name / "record.json", record)
    flags = {f"correct/{name}": values for name, values in _flags(model.clean, model.worst_case).items()}
    np.savez(folder / adversarial / "flags.npz", indices=model.indices, **flags)
    assert model.ood.corrupted is not None
    corrupted = {"correct/contrast/1": model.ood.corrupted.astype(bool), "correct/clean": model.ood.clean}
    np.savez(folder / ood / "flags.npz", indices=model.ood.indices, confidence=model.ood.confidence, **corrupted)


def _flags(clean: NDArray[np.bool_], worst_case: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    return {"clean": clean, **dict.fromkeys((*STUDY.suites.adversarial["quick"].attacks, "worst-case"), worst_case)}


def _sha256(indices: NDArray[np.int64]) -> str:
    return hashlib.sha256(indices.tobytes()).hexdigest()


def _record(
    stage: str, config: dict[str, Any], inputs: dict[str, str], data: str, indices: NDArray[np.int64]
) -> EvaluationRecord:
    protocol = Protocol(
        suite="",
        suite_sha256="5" * 64,
        view=None,
        threat=Threat(),
        samples=len(indices),
        indices_sha256=_sha256(indices),
        data_sha256=data,
        seeds={},
        batch_size=256,
        reduced_batch_sizes={},
        dtype="float32",
        tf32=False,
        autocast=False,
        deterministic=True,
        device="cpu",
        devices=("A processor",),
        versions={},
    )
    return EvaluationRecord(
        stage=stage,
        nofrost="0.1.0",
        config=config,
        inputs=inputs,
        seeds={},
        libraries={},
        split="test",
        protocol=protocol,
    )


def decided(decision: str) -> GateMetrics:
    """Return the decision of a gate on a model that has or has not failed an alarm."""
    challenger = evaluations(np.ones(30, bool), alarms=("pass" if decision == "promote" else "fail",))
    return decide("digits", GateSpec(), [challenger], None)
