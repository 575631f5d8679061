"""What the record says that one step of a training did."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from nofrost import train
from nofrost.train.objectives import Batch
from nofrost.train.step_record import trace_step
from nofrost.train.trainer import Trainer

Make = Callable[..., Trainer]
N, STEPS = 20, 3  # images of a batch and steps of the attack, as in conftest.py
BN, MBN, NF = "bn", "mbn", "nf"


def first_batch(trainer: Trainer) -> Batch:
    return next(trainer.phase.images.epoch(0, 0, 0))


BOTH, ADVERSARIAL = {"clean": N, "adversarial": N}, {"adversarial": N}
ONE_STEP = {"attack": {"name": "pgd", "steps": 1}}
SETS = {"views": {"augmentation_sets": ["tda", "deepaugment"]}}


@pytest.mark.parametrize(
    ("objective", "normaliser", "changes", "images", "passes", "updates_of_statistics"),
    [  # passes: forward in training mode, forward in evaluation mode, backward, updates of the weights
        ({"name": "st"}, BN, {}, {"clean": N}, (1, 0, 1, 1), {"bn": 1}),
        ({"name": "pgdat"}, BN, {}, ADVERSARIAL, (1, STEPS, STEPS + 1, 1), {"bn": 1}),
        ({"name": "sat", "batching": "joint"}, BN, {}, BOTH, (1, STEPS, STEPS + 1, 1), {"bn": 1}),
        ({"name": "sat", "batching": "separate"}, BN, {}, BOTH, (2, STEPS, STEPS + 2, 1), {"bn": 2}),
        ({"name": "sat", "batching": "separate"}, NF, {}, BOTH, (2, STEPS, STEPS + 2, 1), {}),
        ({"name": "sat", "clean_share": 0.2}, BN, {}, {"clean": N // 5, "adversarial": N}, None, {"bn": 2}),
        (
            {"name": "mbnat", "batching": "joint"},
            MBN,
            {},
            BOTH,
            (1, STEPS, STEPS + 1, 1),
            {"clean": 1, "adversarial": 1},
        ),
        ({"name": "mbnat"}, MBN, {}, BOTH, (2, STEPS, STEPS + 2, 1), {"clean": 1, "adversarial": 1}),
        ({"name": "alp"}, BN, {}, BOTH, (1, STEPS, STEPS + 1, 1), {"bn": 1}),
        ({"name": "trades"}, BN, {}, BOTH, (2, None, None, 1), {"bn": 2}),
        ({"name": "fat"}, BN, {}, ADVERSARIAL, (1, None, None, 1), {"bn": 1}),
        ({"name": "fast"}, BN, ONE_STEP, ADVERSARIAL, (2, 0, 2, 1), {"bn": 2}),
        ({"name": "free", "replays": 4}, BN, ONE_STEP, {"adversarial": 4 * N}, (4, 0, 4, 4), {"bn": 4}),
        (
            {"name": "multi-view", "views": ["tda", "deepaugment", "clean", "adversarial"]},
            BN,
            SETS,
            {"tda": N, "deepaugment": N, **BOTH},
            (4, STEPS, STEPS + 4, 1),
            {"bn": 4},
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) and "name" in value else "",
)
def test_the_record_describes_a_step(
    objective: dict[str, Any],
    normaliser: str,
    changes: dict[str, Any],
    images: dict[str, int],
    passes: tuple[int | None, ...] | None,
    updates_of_statistics: dict[str, int],
    make_trainer: Make,
) -> None:
    trainer = make_trainer(objective, normaliser, **changes)
    trainer.train_step(first_batch(trainer))
    step = trainer.state.steps["train"]
    assert step.images == images
    assert step.batch_norm_updates == updates_of_statistics
    counts = [getattr(step, name) for name in ("forward_train", "forward_eval", "backward", "updates")]
    for expected, count in zip(passes or (), counts, strict=False):
        assert expected in (None, count), counts
    assert (step.attack is None) == ("adversarial" not in images)
    if step.attack:
        assert step.attack["steps"] == trainer.phase.recipe.attack.steps
        assert step.attack["eps"] == "8/255"
    assert step.trained_parameters == sum(parameter.numel() for parameter in trainer.model.parameters())
    assert (step.world_size, step.images_per_rank) == (1, N)


def test_no_gradient_takes_memory_while_the_next_attack_runs(make_trainer: Make) -> None:
    trainer = make_trainer({"name": "pgdat"})
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train_step(first_batch(trainer))
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert not all(torch.equal(*pair) for pair in zip(before, trainer.model.parameters(), strict=True))


@pytest.mark.parametrize(("name", "normaliser"), [("sat", BN), ("mbnat", MBN), ("free", NF)])
def test_a_trace_changes_no_bit_and_leaves_no_hook(name: str, normaliser: str, make_trainer: Make) -> None:
    weights = []
    for traced in (True, False):
        trainer = make_trainer({"name": name}, normaliser, **(ONE_STEP if name == "free" else {}))
        batch = first_batch(trainer)
        trainer.state.step = 1  # past the step that the trainer traces by itself
        with trace_step(trainer.model) if traced else nullcontext():
            trainer.train_step(batch)
        assert not trainer.state.steps
        assert not trainer.model._forward_hooks
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_record_shows_the_first_step_that_had_a_budget(make_trainer: Make, digits: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": N, "threat_warmup_epochs": 1}
    recipe = make_trainer({"name": "sat"}, schedule=schedule).phase.recipe
    train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
    (phase, step), *others = json.loads((tmp_path / "out" / "record.json").read_text())["steps"].items()
    assert (phase, others) == ("train", [])
    assert step["images"] == BOTH
    assert step["forward_eval"] == STEPS
    row = json.loads((tmp_path / "out" / "curves.json").read_text())[0]
    assert 0 < row["train_clean"] <= 1
    assert 0 < row["train_adversarial"] <= 1
