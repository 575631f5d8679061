"""Both evaluations of a run as they are on disk, with plausible numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nofrost.config import AdversarialSuite, OodSuite, Study, Threat
from nofrost.results import (
    AdversarialMetrics,
    Alarm,
    AttackUse,
    BudgetCurve,
    BudgetPoint,
    EvaluationRecord,
    Proportion,
    Protocol,
    StepsCurve,
    StepsPoint,
    write_result,
)
from tests.report.dataset_on_disk import digits
from tests.report.ood_on_disk import make_ood_evaluation

CLEAN_ACCURACY = {"st": 0.985, "sat": 0.96, "mbnat": 0.972, "nofrost": 0.953}
ROBUST_ACCURACY = {"st": 0.02, "sat": 0.60, "mbnat": 0.45, "nofrost": 0.63}
STRENGTH = {"fgsm": 0.12, "pgd-20": 0.02, "apgd-ce-100": 0.0}
EPS = 32 / 255


def make_evaluations(
    folder: Path, study: Study, recipe: str, seed: int, samples: int, rng: np.random.Generator
) -> None:
    for name, attacks in study.suites.adversarial.items():
        flags = _flags(attacks, recipe, seed, samples, rng)
        _attacked(folder / "evaluate-adversarial" / name, attacks, study, recipe, flags, rng)
    for name, shifts in study.suites.ood.items():
        made = folder / "evaluate-ood" / name
        make_ood_evaluation(made, shifts, recipe, samples, CLEAN_ACCURACY.get(recipe, 0.9))
        write_result(made / "record.json", _record("evaluate-ood", shifts, None, samples))


def _record(stage: str, suite: AdversarialSuite | OodSuite, threat: Threat | None, samples: int) -> EvaluationRecord:
    fields = {**record_fields(stage), "config": suite.as_json()}
    return EvaluationRecord(**fields, split="test", protocol=_protocol(suite, threat, samples))


def record_fields(stage: str) -> dict[str, Any]:
    """Return what the record of every stage holds."""
    libraries = {"torch": "2.13.0", "torchvision": "0.28.0", "numpy": "2.4.6"}
    return {"stage": stage, "nofrost": "0.1.0", "config": {}, "inputs": {}, "seeds": {}, "libraries": libraries}


def _flags(
    suite: AdversarialSuite, recipe: str, seed: int, samples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    jitter = int(rng.integers(-4, 5)) if seed else 0
    difficulty = np.random.default_rng(0).uniform(size=samples) * 0.8 + rng.uniform(size=samples) * 0.2
    order = np.argsort(np.argsort(difficulty))
    clean, robust = CLEAN_ACCURACY.get(recipe, 0.9), ROBUST_ACCURACY.get(recipe, 0.5)
    flags = {"clean": order < round(clean * samples)}
    for name in suite.attacks:
        flags[name] = order < round((robust + STRENGTH.get(name, 0.05)) * samples) + jitter
    flags["worst-case"] = np.logical_and.reduce(list(flags.values()))
    return flags


def _attacked(
    folder: Path,
    suite: AdversarialSuite,
    study: Study,
    recipe: str,
    flags: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    samples = len(flags["clean"])
    clean, robust = CLEAN_ACCURACY.get(recipe, 0.9), ROBUST_ACCURACY.get(recipe, 0.5)
    branches = {}
    if study.recipes[recipe].model.normaliser == "mbn":
        by_branch = {"clean": (0.98, 0.2), "adversarial": (0.9, 0.6)}
        branches = {
            branch: {
                name: Proportion.of(round(accuracy * samples), samples)
                for name, accuracy in zip(("clean", "pgd-20"), accuracies, strict=True)
            }
            for branch, accuracies in by_branch.items()
        }
    masked = recipe == "mbnat"
    metrics = AdversarialMetrics(
        kind="adversarial",
        title=suite.title,
        protocol=suite.protocol,
        samples=samples,
        seed=suite.seed,
        threat=suite.threat,
        subset=False,
        cascade=suite.cascade,
        attacks={
            name: AttackUse(name=name, cumulative=suite.cascade and place > 0)
            for place, name in enumerate(suite.attacks)
        },
        accuracy={name: Proportion.of_flags(flag) for name, flag in flags.items()},
        not_converged=("apgd-ce-100", "worst-case") if masked and "apgd-ce-100" in suite.attacks else (),
        branches=branches,
        steps_curve=_steps_curve(clean, robust, samples, masked),
        budget_curve=_budget_curve(clean, robust, samples),
        alarms=_alarms(recipe, masked),
        properties={},
        weight_norms=None,
        batch_norm=(),
        indices_sha256=f"{samples:064d}",
    )
    write_result(folder / "metrics.json", metrics)
    write_result(folder / "record.json", _record("evaluate-adversarial", suite, suite.threat, samples))
    images, labels = digits()
    predictions = np.where(flags["clean"], labels[:samples], (labels[:samples] + 1) % 10)
    arrays = {f"correct/{name}": flag for name, flag in flags.items()}
    np.savez(
        folder / "flags.npz", indices=np.arange(samples), labels=labels[:samples], predictions=predictions, **arrays
    )
    clean_images = images[:8].astype(np.float32) / 255
    adversarial = np.clip(clean_images + rng.choice([-EPS, EPS], clean_images.shape), 0, 1).astype(np.float32)
    np.savez(
        folder / "examples.npz",
        images=clean_images,
        adversarial=adversarial,
        labels=labels[:8],
        predictions=predictions[:8],
        adversarial_predictions=(labels[:8] + rng.integers(0, 2, 8)) % 10,
        attack=np.array(["pgd-20"]),
    )


def _steps_curve(clean: float, robust: float, samples: int, masked: bool) -> StepsCurve:
    points = tuple(
        StepsPoint.of(round((robust + (clean - robust) * np.exp(-n / 6)) * samples), samples, steps=n)
        for n in (1, 2, 5, 10, 20, 50, 100)
    )
    reason = f"falls by {'3.1' if masked else '0.0'} points from 50 to 100 steps"
    return StepsCurve(attack="apgd-ce", points=points, converged=not masked, slope_reason=reason)


def _budget_curve(clean: float, robust: float, samples: int) -> BudgetCurve:
    budgets = (
        ("8/255", "1/4", 8 / 255),
        ("16/255", "1/2", 16 / 255),
        ("32/255", "1", 32 / 255),
        ("48/255", "3/2", 48 / 255),
        ("64/255", "2", 64 / 255),
        ("1", "255/32", 1.0),
    )

    def remaining(value: float) -> int:
        return round(clean * np.exp(-((value / EPS) ** 1.5) * np.log(clean / max(robust, 0.01))) * samples)

    points = tuple(
        BudgetPoint.of(
            remaining(value), samples, eps=eps, multiple=multiple, value=value, norm="linf", unbounded=value == 1
        )
        for eps, multiple, value in budgets
    )
    return BudgetCurve(attack="pgd-20", points=points)


def _alarms(recipe: str, masked: bool) -> tuple[Alarm, ...]:
    falls = "Accuracy still falls by 3.1 points from 50 to 100 steps." if masked else "It is flat from 50 to 100 steps."
    return (
        Alarm(name="iterative at least as strong as single-step", status="pass", reason="PGD-20 is below FGSM."),
        Alarm(name="whole pixel range", status="pass", reason="Accuracy falls to 0.0 % in a ball of size 1."),
        Alarm(name="steps converged", status="fail" if masked else "pass", reason=falls),
        Alarm(
            name="attack agreement",
            status="warn" if recipe == "st" else "pass",
            reason="APGD-CE finds 2.2 points more than PGD at like steps.",
        ),
    )


def _protocol(suite: AdversarialSuite | OodSuite, threat: Threat | None, samples: int) -> Protocol:
    return Protocol(
        suite=suite.title,
        suite_sha256="5" * 64,
        view=suite.view,
        threat=threat,
        samples=samples,
        indices_sha256=f"{samples:064d}",
        data_sha256="d" * 64,
        seeds={"suite": 0},
        batch_size=256,
        reduced_batch_sizes={},
        dtype="float32",
        tf32=False,
        autocast=False,
        deterministic=True,
        device="cpu",
        devices=("A processor",),
        versions={"nofrost": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
    )
