"""The train stage: inputs, fingerprint and output folder around the loop."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from nofrost.attacks import create_attack
from nofrost.config import Recipe
from nofrost.data import augmentation_checksum, checksum, read_augmentation_set, read_manifest, read_split
from nofrost.errors import UserError
from nofrost.files import write_json, write_text
from nofrost.models import (
    Classifier,
    create_model,
    default_device,
    device_name,
    fitting_threads,
    save_checkpoint,
)
from nofrost.stage import record, stage_output
from nofrost.train.batches import TrainingImages, derive_seed
from nofrost.train.loop import Training
from nofrost.train.objectives import create_objective
from nofrost.train.state import State, remove_state


def run(dataset: Path, augmentation: Path | None, recipe: Recipe, name: str, seed: int, out: Path) -> dict[str, Any]:
    """Train one recipe with one seed and write checkpoints, curves and metrics to `out`.

    Killed at any moment and started again with the same arguments, it goes on from the last save and, on the CPU,
    ends with the same bits.

    Args:
        dataset: output of prepare; trained on its train split, chosen on its selection split, test left alone.
        augmentation: output of augment; needed when the recipe names augmentation sets.
        recipe: how to train.
        name: of the recipe, for the record.
        seed: of everything random.
        out: holds ``best.safetensors``, ``last.safetensors`` (each with a ``.json``), ``curves.json``, ``curves.csv``,
            ``metrics.json``, ``timing.json`` and ``record.json``.

    Raises:
        UserError: recipe and dataset do not fit, or the loss is no longer a number.
        StoppedError: SIGTERM came; the state is saved beside `out`.
    """
    inputs = {"dataset": checksum(dataset)}
    augmented = []
    if recipe.views.augmentation_sets:
        if augmentation is None:
            raise UserError(f"recipe {name!r} trains on augmentation sets: name their folder with --augmentation")
        inputs["augmentation"] = augmentation_checksum(augmentation)
        sets = recipe.views.augmentation_sets
        augmented = [read_augmentation_set(augmentation, method, dataset=inputs["dataset"]) for method in sets]
    images = TrainingImages(
        read_split(dataset, "train", verify=True), tuple(augmented), recipe.views, recipe.schedule.batch_size
    )
    fingerprint = {"recipe": recipe.as_json(), "seed": seed, "inputs": inputs}
    with torch.random.fork_rng():
        model = _new_model(dataset, recipe, seed)
        with stage_output(out, fingerprint=fingerprint, resumable=True) as folder:
            device = default_device()
            selection = read_split(dataset, "selection", verify=True)
            training = Training(model.to(device), recipe, seed, images, selection, device, folder)
            with fitting_threads(device, images.batch_pixels):
                state = training.run(f"train {name}, seed {seed}")
                return _finish(folder, training, state, name, inputs)


def _new_model(dataset: Path, recipe: Recipe, seed: int) -> Classifier:
    manifest = read_manifest(dataset)
    torch.manual_seed(derive_seed(seed, "weights"))
    spec = recipe.model
    model = create_model(
        spec.arch,
        normaliser=spec.normaliser,
        num_classes=len(manifest.classes),
        image_size=manifest.image_size,
        channels=manifest.channels,
        mean=manifest.mean,
        std=manifest.std,
        dropout=spec.dropout,
        drop_path=spec.drop_path,
        mixture_weight=spec.mixture_weight,
        classes=manifest.classes,
    )
    _check(recipe, model)
    return model


def _check(recipe: Recipe, model: Classifier) -> None:
    objective = create_objective(recipe.objective.name, **recipe.objective.settings())
    for spec in (recipe.attack, recipe.selection.attack):
        create_attack(spec.name, norm=recipe.threat.norm, eps=recipe.threat.eps, seed=0, **spec.settings())
    objective.check(model, recipe.attack)
    if bool(objective.augmented_views) != bool(recipe.views.augmentation_sets):
        raise UserError("views.augmentation_sets and objective multi-view belong together: set both or neither")


def _finish(folder: Path, training: Training, state: State, name: str, inputs: dict[str, str]) -> dict[str, Any]:
    recipe, best = training.recipe, state.best
    save_checkpoint(folder / "last.safetensors", training.model, {"seed": training.seed, "epoch": state.epoch})
    for suffix in ("safetensors", "json"):
        chosen = folder / f"best-{best['epoch']:05d}.{suffix}"
        if chosen.exists():  # not so when a kill came after this line of an earlier run
            chosen.replace(folder / f"best.{suffix}")
    images = recipe.schedule.epochs * training.images.steps * recipe.schedule.batch_size
    metrics = {
        "recipe": name,
        "seed": training.seed,
        "parameters": sum(parameter.numel() for parameter in training.model.parameters()),
        "epochs": state.epoch,
        "best_epoch": best["epoch"],
        "selection": {key: best[key] for key in ("clean", "attacked", "score")},
        "training_images": len(training.images.split),
    }
    timing = {
        "seconds": state.seconds,
        "images_per_second": images / state.seconds,
        "device": device_name(training.device),
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "timing.json", timing)
    write_json(folder / "curves.json", state.curves)
    write_text(folder / "curves.csv", _csv(state.curves))
    made = record(
        "train",
        config=recipe.as_json(),
        inputs=inputs,
        seeds={"seed": training.seed},
        libraries=("torch", "torchvision", "timm", "numpy"),
    )
    write_json(folder / "record.json", {**made, "device": training.device.type})
    remove_state(folder)
    return metrics


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
