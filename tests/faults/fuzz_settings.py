"""Commands that read a changed recipe, suite or study, and run what it says if it is still right."""

from __future__ import annotations

import copy
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
TRAIN = "runs/st/seed-0/train"
ATTACKS = (
    *("fgsm", "bim", "pgd", "pgd-targeted", "mim", "cw-linf", "cw-l2", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t"),
    *("square", "rays", "awgn", "autoattack", "autoattack-paper"),
)
OBJECTIVES = ("st", "sat", "pgdat", "trades", "fat", "alp", "free", "fast", "mbnat", "multi-view")
# By key, values that are right for it somewhere.
WORDS = {
    "arch": ("mlp-2-16", "resnet8", "resnet18", "vit_tiny_patch16_224", "convnext_atto", "vgg11_bn", "mlp-0-0"),
    "normaliser": ("bn", "mbn", "gn", "in", "ln", "nf", "fixup", "none"),
    "name": (*ATTACKS, *OBJECTIVES),
    "norm": ("linf", "l2"),
    "eps": ("0", "1/255", "32/255", "1", "30", "1/1000000"),
    "step_size": ("0", "1/255", "1"),
    "trainable": ("all", "bn", "rest", "bn-not-first", "bn-not-last", "two-per-channel", "layer:conv1"),
    "reset": ("none", "statistics", "all"),
    "precision": ("float32", "bfloat16", "float16"),
    "shape": ("cosine", "step", "piecewise-linear", "constant"),
    "per": ("step", "epoch"),
    "protocol": ("quick", "paper", "standard"),
    "source": ("digits", "folder", "npz", "idx", "cifar10"),
    "path": ("dataset", ".", "/dev/null"),
}
NUMBERS = (0, 1, 2, 3, 7, 16, 17, 40, 41, 1000, 0.0, 1e-9, 0.1, 0.5, 0.999, 1.0, 2.5, 1e9, 1e30, -1)
# Settings that most files leave out.
RARE: dict[str, tuple[Any, ...]] = {
    "optimiser": ({"averaging": {"decay": 0.5}}, {"adaptive_clipping": {}}, {"nesterov": True}),
    "schedule": ({"shape": "step", "milestones": [0.5]}, {"shape": "piecewise-linear", "points": [[0, 1], [1, 0]]}),
    "selection": ({"guard": 0.1}, {"every_epochs": 5}),
    "model": ({"weights": TRAIN}, {"weights": TRAIN, "new_head": True}, {"normaliser_eps": 1.0}, {"dropout": 0.9}),
    "views": ({"augmentation_sets": ["tda"]}, {"image_size": 12}, {"random_resized_crop": 0.3}, {"crop_padding": 9}),
    "augmentation": ({"methods": ["deepaugment"]}, {"methods": ["tda"], "tda": {"noise": True}}, {"methods": []}),
    "recipe": (
        {"phases": {"a": {}, "b": {"trainable": "bn", "reset": "all"}}},
        {"phases": {"a": {"trainable": "layer:head"}}},
        {"phases": {"a": {"schedule": {"epochs": 2}}, "b": {"reset": "all"}}},
    ),
    "suite": (
        {"cascade": True},
        {"branch_attacks": []},
        {"batch_size": 1},
        {"properties": {"decision_margin": True, "weight_norms": True, "batch_norm": True, "gradient_norm": True}},
        {"properties": {"boundary_thickness": {"steps": 1}, "boundary_distance": {"queries": 5}}},
        {"properties": {"model_smoothness": True}},
        {"attacks": {name: {"name": name} for name in ("pgd-targeted", "mim", "cw-linf", "awgn")}},
        {"attacks": {"fab": {"name": "fab", "steps": 1}, "rays": {"name": "rays", "queries": 9}, "apgd-dlr": {}}},
    ),
}


def plausible(values: Any, kind: str, chance: random.Random) -> Any:
    """Change some values in place to such as may be right, and add some that may be."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        *path, key = chance.choice(list(mutations.places(values)))
        owner = values
        for part in path:
            owner = owner[part]
        value = owner[key]
        if isinstance(value, bool):
            owner[key] = not value
        elif isinstance(value, int | float):
            owner[key] = chance.choice(NUMBERS)
        elif key in WORDS:
            owner[key] = chance.choice(WORDS[key])
        elif isinstance(value, list) and value:
            owner[key] = chance.choice((value[:1], value * 2, value[::-1]))
        elif key in RARE and isinstance(value, dict):
            value.update(copy.deepcopy(chance.choice(RARE[key])))
        else:
            values.update(copy.deepcopy(chance.choice(RARE[kind])))
    return values


def changed_values(values: Any, folder: Path, chance: random.Random) -> Path:
    """Write settings as YAML or JSON, some with odd values, some with changed words or bytes."""
    if chance.random() < 0.6:
        values = mutations.of_values(values, chance)
    text = json.dumps(values) if chance.random() < 0.3 else as_yaml(values)
    return changed(folder, "mine.yaml", text, chance, mutations.of_text, mutations.of_bytes, unchanged)


def settings_to_run(values: Any, kind: str, folder: Path, chance: random.Random) -> Path:
    """Write settings of which many are still right."""
    if chance.random() < 0.2:
        return changed_values(values, folder, chance)
    return changed(folder, "mine.yaml", as_yaml(plausible(values, kind, chance)), chance, unchanged)


def recipe(world: World, folder: Path, chance: random.Random) -> list[Any]:
    name = chance.choice(("st", "sat", "fast", "nofrost", "trades-fat-cifar", "xie2020-bn-clean"))
    path = changed_values(load_recipe(name).as_json(), folder, chance)
    return ["recipes", "show", path] if chance.random() < 0.7 else ["recipes", "diff", "sat", path]


def training(world: World, folder: Path, chance: random.Random) -> list[Any]:
    objective = f"objective={{name: {chance.choice(OBJECTIVES[:8])}}}"
    values = load_recipe("sat", (*TINY_RECIPE, objective)).as_json()
    path = settings_to_run(values, "recipe", folder, chance)
    arguments = ["train", "--recipe", path, "--dataset", world / "dataset", "--out", "out"]
    return [*arguments, "--augmentation", world / "augmentation"] if chance.random() < 0.5 else arguments


def suite(world: World, folder: Path, chance: random.Random) -> list[Any]:
    name = chance.choice(sorted(TINY_SUITES))
    path = settings_to_run(load_suite(name, TINY_SUITES[name]).as_json(), "suite", folder, chance)
    return [
        "evaluate", "--suite", path, "--dataset", world / "dataset", "--checkpoint", world / TRAIN, "--out", "out"
    ]  # fmt: skip


def study(world: World, folder: Path, chance: random.Random) -> list[Any]:
    text = (world / "params.yaml").read_bytes()
    path = changed(folder, "mine.yaml", text, chance, mutations.of_text, mutations.of_text, mutations.of_bytes)
    return ["study", "select", path] if chance.random() < 0.5 else ["study", "show", path]


def stage_of_study(world: World, folder: Path, chance: random.Random) -> list[Any]:
    values = yaml.safe_load((world / "params.yaml").read_text(encoding="utf-8"))
    parts = (
        (values["recipes"]["st"], "recipe"),
        (values["suites"]["adversarial"]["quick"], "suite"),
        (values, "augmentation"),
    )
    if chance.random() < 0.7:
        plausible(*chance.choice(parts), chance)
        path = changed(folder, "mine.yaml", as_yaml(values), chance, unchanged)
    else:
        path = changed_values(values, folder, chance)
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
