"""Setup of a training from its recipe: inputs, phases and a new model, all checked before the first step."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nofrost.attacks import attack_settings, create_attack
from nofrost.config import Recipe
from nofrost.config.model import Architecture
from nofrost.data import (
    Images,
    Manifest,
    Split,
    augmentation_checksum,
    checksum,
    read_augmentation_set,
    read_split,
)
from nofrost.errors import UserError, remark
from nofrost.files import sha256_file
from nofrost.models import Classifier, Signature, build, default_device, load_pretrained
from nofrost.models.checkpoint import read_signature, weights_file
from nofrost.models.device import computes_bfloat16
from nofrost.models.published_weights import check_published
from nofrost.models.trial import check_forward
from nofrost.processes import ProcessGroup
from nofrost.ranks import process_rank
from nofrost.results import AugmentationMetrics, read_result
from nofrost.results.dataset import CORRUPTIONS
from nofrost.seeds import derive_seed
from nofrost.train.batches import TrainingImages
from nofrost.train.decoding_threads import DecodingThreads
from nofrost.train.objectives import Adversary, Clock, Objective, check_methods, create_objective
from nofrost.train.optimiser import gradient_scaler
from nofrost.train.partial import Partial, batch_norms
from nofrost.train.schedule import lr_share, peak_lr, threat_share
from nofrost.train.shares import check_batches, images_of_batch


@dataclass(frozen=True)
class Phase:
    """The frozen description of one phase of a training: name, recipe, images and objective."""

    name: str
    recipe: Recipe
    images: TrainingImages
    objective: Objective

    @property
    def epochs(self) -> int:
        """Epochs of this phase."""
        return self.recipe.schedule.epochs

    @property
    def recorded_step(self) -> int:
        """The step, from 0, whose trace the record holds; where the budget starts at zero, step 0 has no attack."""
        return 1 if self.eps(0.0) == 0 else 0

    def lr(self, epochs_done: float) -> float:
        """Return the learning rate of the step that begins at `epochs_done` of this phase."""
        peak = peak_lr(self.recipe.optimiser, self.images.batch_size)
        return peak * lr_share(self.recipe.schedule, epochs_done, 1 / self.images.steps)

    def eps(self, epochs_done: float) -> float:
        """Return the budget at `epochs_done` of this phase, in pixels of [0, 1]."""
        return float(self.recipe.threat.eps) * threat_share(self.recipe.schedule, epochs_done)

    def adversary(self, seed: int, epochs_done: float, clock: Clock = nullcontext) -> Adversary:
        """Return the attack at `epochs_done` of this phase, whose time `clock` takes."""
        spec, norm = self.recipe.attack, self.recipe.threat.norm
        return Adversary(spec, norm, self.eps(epochs_done), seed, epochs_done, clock)

    def attack(self) -> dict[str, Any]:
        """Return the attack with all of its settings as JSON values; a None is derived from the other settings."""
        spec = self.recipe.attack
        settings = {**attack_settings(spec.name), **spec.as_json(), **(self.objective.fixed_settings or {})}
        settings.pop("seed")
        return {"name": spec.name, **settings, **self.recipe.threat.as_json()}


def input_checksums(
    recipe: Recipe, dataset: Path, manifest: Manifest, augmentation: Path | None, weights: Path | None
) -> dict[str, str]:
    """Return the checksum of each input that the recipe uses.

    Args:
        manifest: of the dataset.

    Raises:
        UserError: one is missing.
    """
    inputs = {"dataset": checksum(dataset, manifest)}
    if augmentation and _augmentation_sets(recipe):
        inputs["augmentation"] = augmentation_checksum(augmentation)
    if weights:
        check_published(weights, recipe.model.arch)
        inputs["weights"] = sha256_file(weights_file(weights))
    return inputs


def trained_corruptions(recipe: Recipe, augmentation: Path | None) -> tuple[str, ...]:
    """Return the corruptions of the images in the set ``corruptions``, if the recipe trains on it.

    Raises:
        UserError: the metrics of the augmentation sets are missing or damaged.
    """
    if augmentation is None or CORRUPTIONS not in _augmentation_sets(recipe):
        return ()
    return read_result(AugmentationMetrics, augmentation / "metrics.json").made_corruptions()


def phases_of(
    recipe: Recipe,
    name: str,
    dataset: Path,
    manifest: Manifest,
    augmentation: Path | None,
    group: ProcessGroup,
    window: int | None = None,
) -> list[Phase]:
    """Return the phases of the recipe called `name`, with this process's rows of their images.

    Args:
        manifest: of the dataset.
        window: shards whose rows are shuffled together; None for all.

    Raises:
        UserError: a setting is wrong, an objective is unknown, or does not fit the images that there are.
    """
    check_methods(recipe, f"recipe {name!r}")
    check_batches(recipe, group.size)
    sets = _augmentation_sets(recipe)
    if sets and augmentation is None:
        raise UserError(f"recipe {name!r} trains on augmentation sets: name their folder with --augmentation")
    origin = checksum(dataset, manifest)
    augmented: dict[str, Images] = {}
    if augmentation:
        augmented = {
            method: read_augmentation_set(augmentation, method, dataset=origin, verify=True) for method in sets
        }
    split = read_split(dataset, "train", verify=True, manifest=manifest)
    phases, threads = [], DecodingThreads()
    for phase_name, phase in recipe.in_phases().items():
        objective = create_objective(phase.objective.name, **phase.objective.settings())
        accumulation = phase.schedule.accumulation
        used = {method: augmented[method] for method in phase.views.augmentation_sets}
        images = TrainingImages(
            split,
            used,
            objective.augmented_views,
            phase.views,
            images_of_batch(phase.schedule.batch_size, len(split), accumulation, group.size),
            group,
            accumulation=accumulation,
            batch_statistics=recipe.model.batch_statistics,
            threads=threads,
            window=window,
        )
        phases.append(Phase(phase_name, phase, images, objective))
    return phases


def new_model(recipe: Recipe, manifest: Manifest, weights: Path | None, seed: int) -> Classifier:
    """Return the recipe's model for a dataset on its device, with random or pre-trained weights.

    Raises:
        UserError: it cannot be built, or the weights do not belong to it.
    """
    spec = recipe.model
    torch.manual_seed(derive_seed(seed, "weights"))
    mean, std = manifest.mean, manifest.std
    if spec.input_statistics == "weights":
        if weights is None:
            raise UserError("model.input_statistics: weights takes those of model.weights, which is not set: name them")
        published = read_signature(weights_file(weights))
        mean, std = published.mean, published.std
    signature = Signature(
        **spec.model_dump(include=set(Architecture.model_fields)),
        num_classes=len(manifest.classes),
        image_size=manifest.image_size,
        channels=manifest.channels,
        mean=mean,
        std=std,
        classes=manifest.classes,
    )
    model = build(signature)
    if spec.initial == "zeros":
        for parameter in model.network.get_classifier().parameters():  # type: ignore[operator]
            nn.init.zeros_(parameter)
    if spec.batch_norm_momentum is not None:
        for norm in batch_norms(model):
            norm.momentum = spec.batch_norm_momentum
    if weights:
        load_pretrained(model, weights, spec.new_head)
    return model.to(default_device())


def check_selection(recipe: Recipe, selection: Split) -> None:
    """Check that the recipe does without a selection split where that is empty.

    Raises:
        UserError: it does not.
    """
    if recipe.selection.guard and not len(selection):
        raise UserError(
            "selection.guard watches attacked accuracy on the selection split, and the dataset has none (its "
            "selection_share is 0): set selection.guard to null, or prepare the dataset with a selection_share"
        )


def check_phases(model: Classifier, phases: Sequence[Phase]) -> None:
    """Check that each phase can train the model, which stays as it is.

    Raises:
        UserError: one cannot.
    """
    if phases[0].recipe.selection.guard and not any(phase.objective.robust_weight for phase in phases):
        raise UserError(
            f"selection.guard watches attacked accuracy, which objective {phases[0].recipe.objective.name!r} does not "
            "measure: set it to null, or train on adversarial images"
        )
    statistics = phases[0].recipe.model.batch_statistics
    if statistics != "process" and not batch_norms(model):
        raise UserError(
            f"model.batch_statistics {statistics} is for batch norms, which {model.signature.arch} lacks: leave "
            "it at process, or choose another arch"
        )
    if phases[0].recipe.model.batch_norm_momentum is not None and not batch_norms(model):
        raise UserError(
            f"model.batch_norm_momentum is for batch norms, which {model.signature.arch} lacks: leave it out, or "
            "choose another arch"
        )
    trial = copy.deepcopy(model).eval()
    for phase in phases:
        recipe = phase.recipe
        for spec in (recipe.attack, recipe.selection.attack):
            threat = recipe.threat
            attack = create_attack(spec.name, norm=threat.norm, eps=threat.eps, seed=0, **spec.settings())
            attack.check_classes(trial.signature.num_classes)
        phase.objective.check(trial, recipe.attack)
        Partial.of(trial, recipe.trainable, recipe.reset, seed=0)
        gradient_scaler(recipe.precision, trial.mean.device)
        _check_image_size(trial, phase)
    in_bfloat16 = any(phase.recipe.precision == "bfloat16" for phase in phases)
    if in_bfloat16 and not computes_bfloat16(trial.mean.device) and process_rank().prints_results:
        remark(
            f"precision bfloat16 is emulated here, as this {trial.mean.device.type} has no units for it, which takes "
            "many times as long as float32: set precision: float32"
        )


def _check_image_size(model: Classifier, phase: Phase) -> None:
    height, width = phase.images.image_size
    if (height, width) == model.signature.image_size:
        check_forward(model)
    else:
        check_forward(model, (height, width), f", as views.image_size of phase {phase.name!r} makes them")


def _augmentation_sets(recipe: Recipe) -> list[str]:
    phases = recipe.in_phases().values()
    return list(dict.fromkeys(method for phase in phases for method in phase.views.augmentation_sets))
