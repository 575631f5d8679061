"""How many images pass through a model, forwards and back, in a training step, a selection and an evaluation.

They are counted with tiny networks, as their number depends on the branches of a network alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite, OodSuite, Recipe
from nofrost.config.model import Architecture
from nofrost.config.suite import SuiteAttack
from nofrost.evaluate import evaluate_robustness
from nofrost.models import Classifier, Mixture, create_model
from nofrost.study_cost.dataset_images import Images
from nofrost.train.micro_batches import MicroBatches
from nofrost.train.objectives import Adversary, Batch, create_objective

# Of a step that is counted and of an evaluation; attacks need other classes to aim at.
_COUNTED, _CLASSES, _SIDE = 4, 10, 16


@dataclass(frozen=True)
class Passes:
    """Images that pass forwards through a model, and those whose gradient passes back through it."""

    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, factor: float) -> Passes:
        return Passes(self.forward * factor, self.backward * factor)


def passes_of_image(phase: Recipe) -> Passes:
    """Return the passes of a training step of a phase for each image of its batch."""
    objective = create_objective(phase.objective.name, **phase.objective.settings())
    counted = {"arch": objective.arch or "resnet8", "drop_path": 0.0}
    settings = phase.model.model_dump(include=set(Architecture.model_fields)) | counted
    model = create_model(**settings, num_classes=_CLASSES, image_size=_SIDE)
    images, labels = torch.rand(_COUNTED, 3, _SIDE, _SIDE), torch.arange(_COUNTED)
    views = {view: torch.rand_like(images) for view in objective.augmented_views}
    batch = Batch(images, labels, torch.arange(_COUNTED), views)
    adversary = Adversary(phase.attack, phase.threat.norm, float(phase.threat.eps), 0, float(phase.schedule.epochs))
    micro_batches = MicroBatches(objective, model, [batch], adversary, [{}])
    scaler = torch.amp.GradScaler(enabled=False)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        while micro_batches.backward(scaler, None):
            pass
    return Passes(*counts) * (1 / _COUNTED)


def passes_of_selection(phase: Recipe) -> Passes:
    """Return the passes of a measurement on the selection split for each of its images."""
    mixture = mixture_of(phase)
    clean = Passes(forward=float(mixture.passes if mixture else 1))
    if create_objective(phase.objective.name, **phase.objective.settings()).robust_weight == 0:
        return clean
    spec, threat = phase.selection.attack, phase.threat
    attack = create_attack(spec.name, norm=threat.norm, eps=float(threat.eps), seed=0, **spec.settings())
    model = _always_right(mixture)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        attack(model, *_images_and_labels())
    return clean + Passes(*counts) * (1 / _COUNTED)


def passes_of_suite(suite: AdversarialSuite | OodSuite, images: Images, mixture: Mixture | None = None) -> Passes:
    """Return the passes of an evaluation of these images with a suite.

    Args:
        mixture: that a mixture-BN model is deployed with; None for another model.
    """
    tested = min(images.test, suite.max_images or images.test)
    if isinstance(suite, OodSuite):
        conditions = 1 + len(suite.corruptions) * len(suite.severities)
        return Passes(float(tested * conditions * (mixture.passes if mixture else 1)))
    whole = {name: attack for name, attack in suite.attacks.items() if attack.is_whole}
    branch_attacks = tuple(whole) if suite.branch_attacks is None else suite.branch_attacks
    # A suite has an attack at least: where none is of all images, a cheap one stands in.
    whole = whole or {"stand-in": SuiteAttack(name="fgsm")}
    plain: dict[str, Any] = {"training_images": None, "properties": None, "max_images": None, "view": None}
    common = {**plain, "branch_attacks": branch_attacks}
    base = _counted_evaluation(suite.model_copy(update={**common, "attacks": whole}), mixture)
    passes = base * tested
    # Attacks of fewer images are no attacks of branches; each adds its own passes to those of the others.
    for name, attack in suite.attacks.items():
        if attack.is_whole:
            continue
        of_classes = tested * min(1.0, (attack.classes or images.classes) / images.classes)
        on_all = attack.model_copy(update={"max_images": None, "classes": None})
        update = {**common, "attacks": {**whole, name: on_all}}
        with_it = _counted_evaluation(suite.model_copy(update=update), mixture)
        passes += (with_it + base * -1) * min(of_classes, attack.max_images or of_classes)
    return passes


def mixture_of(phase: Recipe) -> Mixture | None:
    """Return the mixture that the model of a phase is deployed with; None if it has no mixture BN."""
    model = phase.model
    if model.normaliser != "mbn":
        return None
    return Mixture(model.mixture_weight, model.mixture_inference, model.mixture_share)


def _counted_evaluation(suite: AdversarialSuite, mixture: Mixture | None) -> Passes:
    """Return the passes for each image of an evaluation with a suite, of a network that is never wrong, so that it is
    attacked to the end."""
    model = _always_right(mixture)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        evaluate_robustness(model, *_images_and_labels(), suite)
    return Passes(*counts) * (1 / _COUNTED)


def _images_and_labels() -> tuple[Tensor, Tensor]:
    return torch.rand(_COUNTED, 3, _SIDE, _SIDE), torch.zeros(_COUNTED, dtype=torch.int64)


def _always_right(mixture: Mixture | None) -> Classifier:
    """Return a tiny model that answers class 0 to every image, with a gradient; with a mixture, of mixture BN."""
    normaliser = "mbn" if mixture else "none"
    model = create_model("linear", normaliser=normaliser, num_classes=_CLASSES, image_size=_SIDE)
    if mixture:
        model.selector.deploy(mixture)
    layer = model.network.get_classifier()  # type: ignore[operator]
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    layer.bias.data[0] = 100.0
    return model.eval()


@contextmanager
def _counted(model: nn.Module) -> Iterator[list[float]]:
    """Yield the images that passed forwards and back through a model in the block."""
    counts = [0.0, 0.0]

    def count(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        counts[0] += len(logits)
        if logits.requires_grad:

            def count_back(gradient: Tensor) -> None:
                counts[1] += len(gradient)

            logits.register_hook(count_back)  # type: ignore[no-untyped-call]

    hook = model.register_forward_hook(count)
    try:
        yield counts
    finally:
        hook.remove()
