"""Commands that read a changed recipe, suite or study, and run what it says if it is still right."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from nofrost.config import load_recipe, load_suite
from nofrost.config.yaml_text import as_yaml
from tests.faults import mutations
from tests.faults.fuzz_files import World, changed, unchanged

# Of recipes and suites: small, so that one that is still right takes a second.
TINY_RECIPE = (
    "model.arch=mlp-2-16", "model.normaliser=none", "views.image_size=null", "views.random_resized_crop=null",
    "views.horizontal_flip=false", "schedule.epochs=1", "schedule.batch_size=16", "schedule.lr_warmup_epochs=0",
    "attack.steps=1", "selection.attack.steps=1",
)  # fmt: skip
TINY_SUITES = {
    "adversarial-quick": (
        "max_images=6", "attacks={fgsm: {}, pgd: {steps: 2}, square: {queries: 10}}", "branch_attacks=null",
        "steps_curve.steps=[1, 2]", "budget_curve.attack.steps=1",
    ),
    "ood-quick": ("max_images=6", "corruptions=[brightness, contrast]", "severities=[1]"),
}  # fmt: skip
OBJECTIVES = ("st", "sat", "pgdat", "trades", "fat", "alp", "free", "fast")
TRAIN = "runs/st/seed-0/train"


def changed_values(values: Any, folder: Path, chance: random.Random, share: float = 0.7) -> Path:
    """Write settings as YAML or JSON, most with changed values, some with changed words or bytes."""
    if chance.random() < share:
        values = mutations.of_values(values, chance)
    text = json.dumps(values) if chance.random() < 0.3 else as_yaml(values)
    changes = (unchanged,) * 6 + (mutations.of_text,) * 2 + (mutations.of_bytes,)
    return changed(folder, "mine.yaml", text, chance, *changes)


def recipe(world: World, folder: Path, chance: random.Random) -> list[Any]:
    name = chance.choice(("st", "sat", "fast", "nofrost", "trades-fat-cifar", "xie2020-bn-clean"))
    path = changed_values(load_recipe(name).as_json(), folder, chance)
    return ["recipes", "show", path] if chance.random() < 0.7 else ["recipes", "diff", "sat", path]


def training(world: World, folder: Path, chance: random.Random) -> list[Any]:
    objective = f"objective={{name: {chance.choice(OBJECTIVES)}}}"
    path = changed_values(load_recipe("sat", (*TINY_RECIPE, objective)).as_json(), folder, chance, share=0.95)
    return ["train", "--recipe", path, "--dataset", world / "dataset", "--out", "out"]


def suite(world: World, folder: Path, chance: random.Random) -> list[Any]:
    name = chance.choice(sorted(TINY_SUITES))
    path = changed_values(load_suite(name, TINY_SUITES[name]).as_json(), folder, chance, share=0.95)
    return [
        "evaluate", "--suite", path, "--dataset", world / "dataset", "--checkpoint", world / TRAIN, "--out", "out"
    ]  # fmt: skip


def study(world: World, folder: Path, chance: random.Random) -> list[Any]:
    text = (world / "params.yaml").read_bytes()
    path = changed(folder, "mine.yaml", text, chance, mutations.of_text, mutations.of_text, mutations.of_bytes)
    return ["study", "select", path] if chance.random() < 0.5 else ["study", "show", path]


def stage_of_study(world: World, folder: Path, chance: random.Random) -> list[Any]:
    values = yaml.safe_load((world / "params.yaml").read_text(encoding="utf-8"))
    path = changed_values(values, folder, chance, share=0.95)
    dataset = ["--dataset", world / "dataset"]
    arguments = {
        "prepare": [],
        "augment": dataset,
        "train": [*dataset, "--recipe", "st"],
        "evaluate": [*dataset, "--suite", chance.choice(("adversarial", "ood")), "--checkpoint", world / TRAIN],
        "report": [*dataset, "--runs", world / "runs"],
    }
    stage = chance.choice(sorted(arguments))
    return [stage, "--study", path, *arguments[stage], "--out", "out"]
