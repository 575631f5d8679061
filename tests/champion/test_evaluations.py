"""Evaluations on disk: read as they were measured, or known to be unfinished, in the same words wherever they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.champion.evaluations import Evaluations, Unfinished, other_images, read_evaluations
from tests.champion.models import STUDY, evaluations, write_evaluations

MODEL = evaluations(np.arange(40) < 20, np.arange(40) < 36, np.arange(40) < 30, np.linspace(0.1, 1, 40))
ADVERSARIAL, OOD = "evaluate-adversarial/quick", "evaluate-ood/quick"


def test_what_was_measured_is_read(tmp_path: Path) -> None:
    write_evaluations(tmp_path, MODEL)
    read = read_evaluations(tmp_path, MODEL.contender, STUDY)
    assert isinstance(read, Evaluations)
    for name in ("clean", "worst_case", "indices"):
        assert np.array_equal(getattr(read, name), getattr(MODEL, name)), name
    for name in ("clean", "corrupted", "confidence", "indices"):
        assert np.array_equal(getattr(read.ood, name), getattr(MODEL.ood, name)), name
    assert other_images(read, MODEL) is None


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def change_arrays(path: Path, **changes: Any) -> None:
    with np.load(path) as arrays:
        values = {**arrays, **changes}
    np.savez(path, **{name: value for name, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda at: (at / ADVERSARIAL / "metrics.json").unlink(), "evaluate-adversarial/quick/metrics.json"),
        (lambda at: (at / OOD / "flags.npz").unlink(), "evaluate-ood/quick/flags.npz"),
        (lambda at: change_json(at / OOD / "metrics.json", lambda m: m.update(shard="0/2")), "unknown key 'shard'"),
        (lambda at: change_json(at / ADVERSARIAL / "record.json", lambda m: m.update(shard="0/2")), "'shard'"),
        (lambda at: change_json(at / ADVERSARIAL / "metrics.json", lambda m: m["accuracy"].pop("fgsm")), "lacks fgsm"),
        (
            lambda at: change_json(at / OOD / "record.json", lambda m: m["config"].update(seed=7)),
            "has seed 7, the study 0: eval",
        ),
        (
            lambda at: change_arrays(at / OOD / "flags.npz", confidence=None),
            "confidence does not hold a value for each",
        ),
        (
            lambda at: change_arrays(at / OOD / "flags.npz", confidence=np.r_[np.nan, np.ones(39)]),
            "confidence is not finite",
        ),
        (lambda at: change_arrays(at / OOD / "flags.npz", indices=np.arange(39)), "indices does not hold a value"),
        (
            lambda at: change_arrays(at / ADVERSARIAL / "flags.npz", **{"correct/worst-case": np.ones(40, bool)}),
            "correct/worst-case is not 20 of 40 images",
        ),
    ],
)
def test_what_is_not_whole_is_unfinished(damage: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    write_evaluations(tmp_path / "here", MODEL)
    damage(tmp_path / "here")
    read = read_evaluations(tmp_path / "here", MODEL.contender, STUDY)
    assert isinstance(read, Unfinished)
    assert reason in read.reason
    assert str(tmp_path) not in read.reason
