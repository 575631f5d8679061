"""Fooling images are shown with the share that a model is sure of, where they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.report.sections.fooling import fooling
from nofrost.results import AdversarialMetrics, PropertySummary, Proportion, read_result, write_result
from nofrost.results.properties import FoolingImages
from tests.report.test_properties import attacked, shown

OPTIONS = {"images": 10, "steps": 100, "step_size": "1/100", "confidence": 0.9}


def add_fooling(folder: Path) -> None:
    values = {"mean": 0.625, "deviation": 0.1, "low": 0.5, "high": 0.75}
    summary = PropertySummary(total=10, infinite=0, quantiles={}, options=OPTIONS, **values)
    metrics = read_result(AdversarialMetrics, folder / "metrics.json")
    found = FoolingImages(confident=Proportion.of(4, 10), confidence=summary)
    write_result(folder / "metrics.json", metrics.model_copy(update={"fooling": found}))
    with np.load(folder / "flags.npz") as flags:
        arrays = {name: flags[name] for name in flags.files}
    arrays |= {
        "fooling/images": np.zeros((8, 8, 8, 1), np.uint8),
        "fooling/targets": np.arange(10),
        "fooling/confidence": np.linspace(0.1, 1, 10),
    }
    np.savez(folder / "flags.npz", **arrays)


def test_fooling_images_are_shown_where_they_were_made(tree: Any) -> None:
    assert fooling(attacked(tree)) is None
    folders = [run.evaluation for run in attacked(tree).runs]
    for folder in folders:
        add_fooling(folder)
    text, _ = shown(tree, fooling)
    for words in ("confidence ≥ 0.9, %", "40.0", "0.625", "Of 10 images of uniform noise", "100 steps of 1/100"):
        assert words in text, words
    assert "noise taken for class two" in (tree.report() / "report.html").read_text(encoding="utf-8")
    (folders[0] / "flags.npz").unlink()
    np.savez(folders[0] / "flags.npz", **{"correct/clean": np.ones(360, np.bool_)})
    with pytest.raises(UserError, match=r"flags\.npz"):
        fooling(attacked(tree))
