"""What the record says that one step of a training did, as it was witnessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost import train
from nofrost.config import Recipe
from nofrost.data import read_split
from nofrost.models import create_model
from nofrost.processes import ProcessGroup
from nofrost.train.batches import TrainingImages
from nofrost.train.objectives import create_objective
from nofrost.train.phase import Optimisation, Phase
from nofrost.train.witness import witnessing

N, STEPS = 20, 3
BN, MBN, NF = "bn", "mbn", "nf"


def phase_of(digits: Path, objective: Mapping[str, Any], normaliser: str, **changes: Any) -> Phase:
    recipe = Recipe.model_validate(
        {
            "title": "Tiny",
            "citation": "own",
            "model": {"arch": "resnet8", "normaliser": normaliser},
            "objective": objective,
            "attack": {"name": "pgd", "steps": STEPS, "keep": "last"},
            "schedule": {"epochs": 1, "batch_size": N},
            **changes,
        }
    )
    made = create_objective(recipe.objective.name, **recipe.objective.settings())
    split = read_split(digits, "train")
    sets = {name: np.array(split.images[::-1]) for name in recipe.views.augmentation_sets}
    images = TrainingImages(split, sets, made.augmented_views, recipe.views, N, ProcessGroup())
    return Phase("train", recipe, images, made)


def optimisation_of(phase: Phase, normaliser: str) -> tuple[torch.nn.Module, Optimisation]:
    torch.manual_seed(0)
    model = create_model("resnet8", normaliser=normaliser, num_classes=10, image_size=16, channels=1)
    return model, Optimisation(model, phase, 0, ProcessGroup(), begun=False)


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
def test_a_step_is_described_as_it_was(
    objective: dict[str, Any],
    normaliser: str,
    changes: dict[str, Any],
    images: dict[str, int],
    passes: tuple[int | None, ...] | None,
    updates_of_statistics: dict[str, int],
    digits: Path,
) -> None:
    phase = phase_of(digits, objective, normaliser, **changes)
    model, optimisation = optimisation_of(phase, normaliser)
    with witnessing(model) as witness:
        optimisation.step(next(phase.images.epoch(0, 0, 0)), phase.adversary(0, 0.0), witness)
    said = optimisation.describe(witness)
    assert said["images"] == images
    assert said["batch_norm_updates"] == updates_of_statistics
    found = [said[name] for name in ("forward_train", "forward_eval", "backward", "updates")]
    for expected, number in zip(passes or (), found, strict=False):
        assert expected in (None, number), found
    assert (said["attack"] is None) == ("adversarial" not in images)
    if said["attack"]:
        assert said["attack"]["steps"] == phase.recipe.attack.steps
        assert said["attack"]["eps"] == "8/255"
    assert said["trained_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (said["world_size"], said["images_per_rank"]) == (1, N)


def test_no_gradient_takes_memory_while_the_next_attack_runs(digits: Path) -> None:
    phase = phase_of(digits, {"name": "pgdat"}, BN)
    model, optimisation = optimisation_of(phase, BN)
    before = [parameter.clone() for parameter in model.parameters()]
    optimisation.step(next(phase.images.epoch(0, 0, 0)), phase.adversary(0, 0.0))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(("name", "normaliser"), [("sat", BN), ("mbnat", MBN), ("free", NF)])
def test_a_witness_changes_no_bit_and_leaves_nothing_behind(name: str, normaliser: str, digits: Path) -> None:
    phase = phase_of(digits, {"name": name}, normaliser, **(ONE_STEP if name == "free" else {}))
    weights = []
    for watched in (True, False):
        model, optimisation = optimisation_of(phase, normaliser)
        batch, adversary = next(phase.images.epoch(0, 0, 0)), phase.adversary(0, 0.0)
        if watched:
            with witnessing(model) as witness:
                optimisation.step(batch, adversary, witness)
        else:
            optimisation.step(batch, adversary)
        assert not model._forward_hooks
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_record_shows_the_first_step_that_had_a_budget(digits: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": N, "threat_warmup_epochs": 1}
    recipe = phase_of(digits, {"name": "sat"}, BN, schedule=schedule).recipe
    train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
    (phase, step), *others = json.loads((tmp_path / "out" / "record.json").read_text())["steps"].items()
    assert (phase, others) == ("train", [])
    assert step["images"] == BOTH
    assert step["forward_eval"] == STEPS
    row = json.loads((tmp_path / "out" / "curves.json").read_text())[0]
    assert 0 < row["train_clean"] <= 1
    assert 0 < row["train_adversarial"] <= 1
