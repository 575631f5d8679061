"""Losses, top-5 accuracy, the generalisation gap and curves along γ are shown where they were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nofrost.report.collect import collect
from nofrost.report.sections.losses import losses
from nofrost.report.sections.mixtures import mixtures
from nofrost.results import (
    AdversarialMetrics,
    GeneralisationGap,
    MixtureAccuracy,
    PropertySummary,
    Proportion,
    read_result,
    write_result,
)
from tests.report.test_properties import shown

IMAGES = 360


def summary(mean: float) -> PropertySummary:
    bounds = {"low": mean - 0.05, "high": mean + 0.05, "mean": mean, "deviation": 0.4}
    return PropertySummary(total=IMAGES, infinite=0, quantiles={"0.5": mean}, options={}, **bounds)


def update(folder: Path, recipe: str, **keys: Any) -> None:
    path = folder / recipe / "seed-0" / "evaluate-adversarial" / "quick" / "metrics.json"
    write_result(path, read_result(AdversarialMetrics, path).model_copy(update=keys))


def add_losses(folder: Path, recipe: str, names: tuple[str, ...]) -> None:
    training = GeneralisationGap(
        accuracy=Proportion.of(90, 100),
        cross_entropy=summary(0.123),
        gap=0.0456,
        gap_low=-0.01,
        gap_high=0.09,
        loss_gap=0.321,
        indices_sha256="0",
    )
    losses = {name: summary(1.25 + number) for number, name in enumerate(names)}
    top_5 = {name: Proportion.of(340 - number, IMAGES) for number, name in enumerate(names)}
    update(folder, recipe, cross_entropy=losses, top_5=top_5, training=training)


def add_mixtures(folder: Path, recipe: str) -> None:
    def measured(inference: Any, weight: float, share: float | None = None) -> MixtureAccuracy:
        clean, robust = round(350 - 20 * weight), round(100 + 120 * weight)
        accuracy = {name: Proportion.of(count, IMAGES) for name, count in (("clean", clean), ("worst-case", robust))}
        return MixtureAccuracy(inference=inference, weight=weight, share=share, accuracy=accuracy)

    found = [measured("logits", weight) for weight in (1.0, 0.0, 0.5)] + [measured("random", 0.5, 0.25)]
    update(folder, recipe, mixtures=tuple(found))


def test_a_study_without_them_has_no_such_sections(tree: Any) -> None:
    (attacked,) = collect(tree.dataset, tree.augmentation, tree.runs, tree.study).attacked
    assert losses(attacked) is None
    assert mixtures(attacked) is None


def test_losses_and_the_generalisation_gap_are_shown(tree: Any) -> None:
    attacks = tuple(tree.study.suites.adversarial["quick"].attacks)
    for recipe in ("st", "mbnat"):
        add_losses(tree.runs, recipe, ("clean", *attacks))
    text, _ = shown(tree, losses)
    for words in ("1.25", "1.20 to 1.30", "94.4", "100 training images", "90.0", "+4.6", "−1.0 to +9.0", "0.321"):
        assert words in text, words
    assert "top-5 accuracy, %" in text


def test_losses_that_some_run_lacks_are_left_out(tree: Any) -> None:
    add_losses(tree.runs, "st", ("clean",))
    assert losses(collect(tree.dataset, tree.augmentation, tree.runs, tree.study).attacked[0]) is None


@pytest.mark.parametrize("recipe", ["mbnat"])
def test_mixtures_are_drawn_by_place_and_listed_by_growing_weight(tree: Any, recipe: str) -> None:
    add_mixtures(tree.runs, recipe)
    text, panels = shown(tree, mixtures)
    assert panels == ["in the logits", "in 25% of the layers"]
    assert text.index("97.2") < text.index("94.4")
    report = tree.report()
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "at γ = 0 to" in page.replace("\N{NO-BREAK SPACE}", " ")
