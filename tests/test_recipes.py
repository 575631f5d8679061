"""Every recipe that is shipped trains: two steps on real digits, and the record says what a step did."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nofrost import augment, prepare, train
from nofrost.config import (
    AugmentationSpec,
    DatasetSpec,
    Recipe,
    load_recipe,
    load_study,
    shipped_names,
)
from nofrost.models import create_model

# The scale-down rule of a study (config/scaling.py): two steps an epoch, two steps of attack.
TRAINING_IMAGES = 40  # of 60, without those of the test and selection splits
SCALE = """
  model: {groups: 4}
  attack: {steps: 2}
  views: {image_size: 16, random_resized_crop: null, crop_padding: 1, horizontal_flip: false}
  schedule: {epochs: 1, batch_size: 16}
  selection: {attack: {name: pgd, steps: 1}}
"""
# The smallest network of the same family.
SMALL = {
    r"cifar-resnet\d+": "cifar-resnet18-w8",
    r"resnet\d+": "resnet8",
    r"wrn-.+": "wrn-10-1",
    r"cifar-vgg\d+|vgg\d+(_bn)?": "cifar-vgg8-w8",
    r"mlp-\d+-\d+": "mlp-2-16",
}
IN_TRAINING_MODE = ("fast", "free")  # objectives whose attack leaves the model as it trains


def small(name: str) -> dict[str, Any]:
    arch = load_recipe(name).model.arch
    arch = next((tiny for family, tiny in SMALL.items() if re.fullmatch(family, arch)), arch)
    size = {"views": {"image_size": pixels(arch)}} if pixels(arch) != 16 else {}
    return {"base": name, "model": {"arch": arch}, **size}


def pixels(arch: str) -> int:
    """Return the size of images for a small network; a VGG halves them five times."""
    return 32 if "vgg" in arch else 16


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    """All shipped recipes, made small by the rule that studies use."""
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    names = shipped_names("recipe")
    recipes = yaml.safe_dump({"recipes": {name: small(name) for name in names}})
    rest = (
        "augmentation: {methods: [deepaugment, corruptions]}\n"
        "suites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}\n"
    )
    path.write_text(f"name: tiny\ntitle: Tiny\ndataset: {{}}\nscale:{SCALE}{recipes}{rest}", encoding="utf-8")
    return load_study(path).recipes


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of digits whose training split has two batches of 16, by their pixels, and augmentation sets of one."""
    folder = tmp_path_factory.mktemp("inputs")
    for size in (16, 32):
        prepare.run(DatasetSpec(source="digits", image_size=size, limit=60), folder / f"dataset-{size}")
    network = {"width": 4, "epochs": 20, "batch_size": 8}
    spec = {"methods": ["deepaugment", "corruptions"], "deepaugment": network}
    augment.run(folder / "dataset-16", AugmentationSpec.model_validate(spec), folder / "augmentation")
    return folder


@pytest.mark.slow
def full_size(recipe: Recipe) -> dict[str, int]:
    """Return classes, pixels and channels of the data that a recipe is written for."""
    if recipe.views.image_size:
        return {"num_classes": 1000, "image_size": 224, "channels": 3}
    grey = recipe.model.arch.startswith(("mlp", "linear"))
    return {"num_classes": 10, "image_size": 28 if grey else 32, "channels": 1 if grey else 3}


def test_every_recipe_names_a_model_that_can_be_built_at_full_size() -> None:
    models = {recipe.model: recipe for recipe in map(load_recipe, shipped_names("recipe"))}
    for spec, recipe in models.items():
        if spec.arch in ("resnet338", "resnet518", "resnet638"):
            continue  # as resnet200, and slow to build
        options = {key: getattr(spec, key) for key in ("normaliser", "affine", "normaliser_eps", "groups", "drop_path")}
        with torch.device("meta"):
            create_model(spec.arch, **options, dropout=spec.dropout, **full_size(recipe))


def expected(recipe: Recipe) -> dict[str, Any]:
    """Return what one step of a recipe without phases does, from the definition of its objective."""
    spec, size = recipe.objective, recipe.schedule.batch_size
    if size == "all":
        size = TRAINING_IMAGES
    views = {
        "st": ["clean"],
        "nearest-centroid": ["clean"],
        "pgdat": ["adversarial"],
        "fat": ["adversarial"],
        "fast": ["adversarial"],
        "free": ["adversarial"],
        "multi-view": list(spec.setting("views") or ()),
        "augmix": ["clean", "augmix", "augmix-2"],
    }.get(spec.name, ["clean", "adversarial"])
    images = dict.fromkeys(views, size)
    if (clean_share := spec.setting("clean_share")) is not None:
        images["clean"] = round(clean_share * size)
    images = {view: count for view, count in images.items() if count}
    joint = (spec.setting("batching") or ("joint" if spec.name == "augmix" else "separate")) == "joint"
    replays = spec.setting("replays") or 1
    passes = replays * (1 if joint else len(images))
    moves = passes + (spec.name == "fast")
    if recipe.schedule.running_statistics_epochs == recipe.schedule.epochs:
        moves = 0
    of_branches = {"clean": moves if joint else 1, "adversarial": moves if joint else 1} if moves else {}
    updates = {"bn": {"bn": moves}, "mbn": of_branches or {"clean": 0, "adversarial": 0}}
    return {
        "images": {view: replays * count for view, count in images.items()},
        "forward_train": passes + (spec.name == "fast"),
        "batch_norm_updates": updates.get(recipe.model.normaliser, {}),
        "updates": replays,
        "world_size": 1,
        "images_per_rank": size,
    }


def passes_of_attack(recipe: Recipe) -> tuple[range, int]:
    """Return how many passes in evaluation mode an attack takes, and how many of them without a gradient."""
    name, steps = recipe.objective.name, recipe.attack.setting("steps") or 0
    if name in IN_TRAINING_MODE or "adversarial" not in expected(recipe)["images"]:
        return range(1), 0
    # TRADES first asks for the clean prediction, targeted PGD for the number of classes
    extra = int(name.startswith("trades") or recipe.attack.name == "pgd-targeted")
    least = 1 if name in ("fat", "trades-fat") else steps  # early stopping may let all images go
    return range(least + extra, steps + extra + 1), extra


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_names("recipe"))
def test_every_recipe_takes_two_steps_and_records_what_a_step_does(
    name: str, scaled: dict[str, Recipe], inputs: Path, tmp_path: Path
) -> None:
    recipe, out = scaled[name], tmp_path / "out"
    augmentation = inputs / "augmentation" if recipe.views.augmentation_sets else None
    train.run(inputs / f"dataset-{pixels(recipe.model.arch)}", augmentation, recipe, name, 0, out)
    phases = recipe.in_phases()
    curves = json.loads((out / "curves.json").read_text())
    assert len(curves) == sum(phase.schedule.epochs for phase in phases.values())
    assert all(math.isfinite(row["loss"]) for row in curves)
    assert all(bool(tensor.isfinite().all()) for tensor in load_file(out / "last.safetensors").values())
    steps = json.loads((out / "record.json").read_text())["steps"]
    assert list(steps) == list(phases)
    for phase, did in steps.items():
        own = phases[phase]
        assert {key: did[key] for key in expected(own)} == expected(own)
        attack = own.attack if "adversarial" in did["images"] else None
        assert (did["attack"] and did["attack"]["name"]) == (attack and attack.name)
        assert (did["attack"] and did["attack"]["steps"]) == (attack and attack.setting("steps"))
        passes, without_gradient = passes_of_attack(own)
        assert did["forward_eval"] in passes
        # Centroids are set, without a gradient through the model.
        forward = did["forward_train"] if own.objective.name != "nearest-centroid" else 0
        assert did["backward"] == forward + did["forward_eval"] - without_gradient
        assert did["trained_parameters"] > 0
