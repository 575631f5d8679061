"""The training section: both curves, phases, what overfitted, what a step did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.report import figures
from nofrost.results import Epoch, Proportion

CATASTROPHIC = {"epoch": 4, "before": 0.512, "after": 0.021, "train_before": 0.55, "train_after": 0.93}
ROBUST = {
    "epoch": 5,
    "best": Proportion.of(90, 144).as_json(),
    "last": Proportion.of(50, 144).as_json(),
    "train_best": 0.61,
    "train_last": 0.88,
}


def edited(make_tree: Callable[..., Any], file: str, **changes: Any) -> str:
    """Return the report in Markdown of one training of sat with a file changed."""
    tree = make_tree("runs.recipe=[sat]", "suites.ood.quick.corruptions=[contrast]")
    tree.change(f"sat/seed-0/train/{file}", lambda content: {**content, **changes})
    return (tree.report() / "report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("kept", "words"),
    [(3, "! **warn** {} from epoch 3, before the fall"), (6, "✕ **fail** {} from epoch 6, after the")],
)
def test_catastrophic_overfitting_is_reported_with_its_numbers_and_the_kept_checkpoint(
    kept: int, words: str, make_tree: Callable[..., Any]
) -> None:
    found = {"catastrophic": CATASTROPHIC, "robust": None}
    page = edited(make_tree, "metrics.json", overfitting=found, best_epoch=kept)
    sentence = (
        "no-catastrophic-overfitting: in epoch 4 attacked accuracy on the selection split fell from 51.2 % to 2.1 %, "
        "while accuracy on the training adversary went from 55.0 % to 93.0 %; the checkpoint that was kept is"
    )
    assert words.format(sentence) in page
    assert "✓ **pass** no-robust-overfitting" in page
    assert "Training overfitted to its adversary in sat: see Training." in page


def test_robust_overfitting_is_reported_with_its_intervals(make_tree: Callable[..., Any]) -> None:
    page = edited(make_tree, "metrics.json", overfitting={"catastrophic": None, "robust": ROBUST}, best_epoch=5)
    (low, high), (last_low, last_high) = Proportion.of(90, 144).interval, Proportion.of(50, 144).interval
    assert (
        "! **warn** no-robust-overfitting: attacked accuracy on 144 images of the selection split fell from 62.5 % "
        f"({100 * low:.1f}–{100 * high:.1f}) in epoch 5 to 34.7 % ({100 * last_low:.1f}–{100 * last_high:.1f}) at the "
        "end, while accuracy on the training adversary went from 61.0 % to 88.0 %; the checkpoint that was kept is from"
    ) in page


def test_without_a_selection_split_the_report_says_that_the_last_epoch_was_kept(make_tree: Callable[..., Any]) -> None:
    page = edited(make_tree, "metrics.json", selection={"clean": None, "attacked": None, "score": 0.0})
    assert "The dataset has no selection split, so the vertical line marks the last epoch, whose checkpoint" in page
    assert "no-robust-overfitting" not in page


def test_a_training_that_stopped_early_gives_the_reason(make_tree: Callable[..., Any]) -> None:
    page = edited(make_tree, "metrics.json", stopped_early={"epoch": 4, "epochs": 15, "reason": "it fell"})
    assert "! **warn** trained-to-the-end: it fell: the training ended after epoch 4 of 15" in page


def test_a_table_lists_what_a_step_of_each_phase_did(make_tree: Callable[..., Any]) -> None:
    tree = make_tree("runs.recipe=[sat]", "suites.ood.quick.corruptions=[contrast]")
    path = tree.runs / "sat" / "seed-0" / "train" / "record.json"
    steps = json.loads(path.read_text())["steps"]["train"]
    shared = {**steps, "world_size": 2, "images_per_rank": 32, "accumulation": 4, "trained_parameters": 416}
    tree.change("sat/seed-0/train/record.json", lambda record: {**record, "steps": {"first": steps, "bn": shared}})
    page = (tree.report() / "report.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "pgd, 7 steps" in line
    ]
    counted = ["64 + 64 (clean + adversarial)", "pgd, 7 steps", "2", "7", "8", "1 + 1 (clean + adversarial)", "1"]
    assert rows[0] == ["sat (first)", *counted, "78,042"]
    counted[0] = "64 + 64 (clean + adversarial; 32 in each of 2 processes in 4 micro-batches)"
    assert rows[1] == ["sat (bn)", *counted, "416"]


def test_the_table_of_steps_shows_precision_averaging_and_groups(make_tree: Callable[..., Any]) -> None:
    grouped = "recipes.sat.model.batch_statistics=16"
    averaged = ("recipes.sat.precision=bfloat16", "recipes.sat.optimiser.averaging.decay=0.99", grouped)
    tree = make_tree("runs.recipe=[sat]", "suites.ood.quick.corruptions=[contrast]", *averaged)
    page = (tree.report() / "report.md").read_text(encoding="utf-8")
    assert "| sat (bfloat16; weights averaged, decay 0.99; batch statistics of 16 images)" in page


def test_the_output_of_the_train_stage_is_shown(digits: Path, make_tree: Callable[..., Any]) -> None:
    from nofrost import train

    small = ("recipes.sat.schedule.epochs=1", "recipes.sat.attack.steps=1", "recipes.sat.selection.attack.steps=1")
    warm = ("recipes.sat.schedule.lr_warmup_epochs=0", "recipes.sat.schedule.threat_warmup_epochs=0")
    tree = make_tree("runs.recipe=[sat]", "suites.ood.quick.corruptions=[contrast]", *small, *warm)
    train.run(digits, None, tree.study.recipes["sat"], "sat", 0, tree.runs / "sat" / "seed-0" / "train")
    page = (tree.report() / "report.md").read_text(encoding="utf-8")
    batch = tree.study.recipes["sat"].schedule.batch_size
    assert f"{batch} + {batch} (clean + adversarial)" in page
    assert "✓ **pass** no-catastrophic-overfitting" in page
    assert "1 epoch, epoch 1 kept" in page


def test_a_line_marks_the_end_of_a_phase_and_the_description_names_phases(make_tree: Callable[..., Any]) -> None:
    def drawing(phases: tuple[str, ...]) -> str:
        return figures.training_panels([(0, 1, [epoch(number + 1, phase) for number, phase in enumerate(phases)])])[0]

    one, two = drawing(("a", "a", "a", "a")), drawing(("a", "a", "b", "b"))
    assert two.count("stroke-dasharray") == one.count("stroke-dasharray") + 2  # in both axes
    tree = make_tree("runs.recipe=[sat]", "suites.ood.quick.corruptions=[contrast]")
    tree.change(
        "sat/seed-0/train/curves.json",
        lambda rows: [{**row, "phase": "natural" if row["epoch"] < 4 else "batch norms"} for row in rows],
    )
    page = (tree.report() / "report.md").read_text(encoding="utf-8")
    assert "phases natural and batch norms" in page
    assert "Dashed vertical lines separate the phases of a training." in page


def epoch(number: int, phase: str) -> Epoch:
    unmeasured = dict.fromkeys(key for key in Epoch.model_fields if key.startswith(("train_", "selection_")))
    return Epoch(epoch=number, phase=phase, loss=1.0, lr=0.1, eps=0.0, **unmeasured)
