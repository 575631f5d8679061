"""What a study costs before it is run: trainings, passes of the models, minutes on this machine, hours on a GPU.

Passes are counted in one step of each phase, and in one evaluation with each suite, of tiny networks. What one takes is
measured with the study's own networks. Not counted are what is neither a pass nor its gradient (reading, corrupting),
model properties, further test sets, and that attacks spare images which are wrong already. A training attack that stops
early (FAT) is counted as for an untrained network, for which it needs the fewest steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite, DatasetSpec, OodSuite, Recipe, Study
from nofrost.config.suite import SuiteAttack
from nofrost.data import Manifest
from nofrost.data.dataset_card import find_card
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness
from nofrost.models import (
    Mixture,
    MixtureBatchNorm,
    branch,
    build,
    default_device,
    single_thread_if_small,
)
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.mixture import Selector
from nofrost.train import find_starts
from nofrost.train.micro_batches import MicroBatches
from nofrost.train.objectives import Adversary, Batch, create_objective

# Of a step that is counted and of an evaluation; attacks need other classes to aim at.
_COUNTED, _CLASSES, _SIDE = 4, 10, 16
# Pixels of the images of a pass that is timed, and the seconds that it is repeated for.
_PIXELS, _TIMED_S = 64 * 32 * 32, 0.5
TERAFLOPS = 20.0


@dataclass(frozen=True)
class Passes:
    """Images that pass forwards through a model, and those whose gradient passes back through it."""

    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, factor: float) -> Passes:
        return Passes(self.forward * factor, self.backward * factor)


@dataclass(frozen=True)
class Speed:
    """Seconds of a pass of one image on this machine, and its floating-point operations."""

    forward_s: float
    backward_s: float
    forward_flop: float

    def seconds(self, passes: Passes) -> float:
        """Return the seconds of these passes."""
        return passes.forward * self.forward_s + passes.backward * self.backward_s

    def flop(self, passes: Passes) -> float:
        """Return the operations of these passes; back, each layer computes two gradients."""
        return self.forward_flop * (passes.forward + 2 * passes.backward)


@dataclass(frozen=True)
class Images:
    """How many images a dataset has, and of which form.

    Attributes:
        train, selection, test: in each split.
        size: height and width in pixels, where they are all alike.
    """

    train: int
    selection: int
    test: int
    size: tuple[int, int]
    channels: int
    classes: int


@dataclass(frozen=True)
class RunCost:
    """What a recipe costs with one seed.

    Attributes:
        start: the recipe whose training has done its first phases; empty for none.
        epochs: that are trained, without those.
        training: passes of these, and of the measurements on the selection split.
        evaluation: passes, by the suite.
        minutes: on this machine.
        gpu_hours: at the rate that the cost was asked for.
    """

    recipe: str
    start: str
    epochs: int
    training: Passes
    evaluation: dict[str, Passes]
    minutes: float
    gpu_hours: float


@dataclass(frozen=True)
class StudyCost:
    """What a study costs: each recipe with one seed, and all with all seeds."""

    images: Images
    seeds: int
    runs: tuple[RunCost, ...]
    teraflops: float = field(default=TERAFLOPS)

    @property
    def trainings(self) -> int:
        """Their number."""
        return self.seeds * len(self.runs)

    @property
    def minutes(self) -> float:
        """On this machine, one run after the other."""
        return self.seeds * sum(run.minutes for run in self.runs)

    @property
    def gpu_hours(self) -> float:
        """At the rate that the cost was asked for."""
        return self.seeds * sum(run.gpu_hours for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        totals = {"trainings": self.trainings, "minutes": self.minutes, "gpu_hours": self.gpu_hours}
        return {**asdict(self), "runs": [asdict(run) for run in self.runs], **totals}


def study_cost(study: Study, manifest: Manifest | None = None, teraflops: float = TERAFLOPS) -> StudyCost:
    """Return what a study costs.

    Args:
        manifest: of its dataset where that is prepared; None takes the published numbers of images.
        teraflops: floating-point operations that a GPU does in a second, in 10^12.

    Raises:
        UserError: the number of images is not known before the dataset is prepared.
    """
    images = _images_of(manifest) if manifest else published_images(study.dataset)
    first = find_starts(study.recipes, study.runs.recipe)
    speeds: dict[Signature, Speed] = {}
    counted: dict[Mixture | None, dict[str, Passes]] = {}
    runs = []
    for name in study.runs.recipe:
        recipe = study.recipes[name]
        phases = recipe.in_phases()
        done = len(study.recipes[first[name]].in_phases()) if name in first else 0
        seconds = flop = 0.0
        epochs, training = 0, Passes()
        for phase in list(phases.values())[done:]:
            speed = _speed(phase, images, speeds)
            measured = images.selection * -(-phase.schedule.epochs // phase.selection.every_epochs)
            passes = passes_of_image(phase) * (images.train * phase.schedule.epochs)
            passes += passes_of_selection(phase) * measured
            epochs, training = epochs + phase.schedule.epochs, training + passes
            seconds, flop = seconds + speed.seconds(passes), flop + speed.flop(passes)
        speed, mixture = _speed(recipe, images, speeds), _mixture(recipe)
        if mixture not in counted:
            counted[mixture] = {
                key: passes_of_suite(each, images, mixture) for key, each in study.suites.by_key.items()
            }
        suites = counted[mixture]
        for passes in suites.values():
            seconds, flop = seconds + speed.seconds(passes), flop + speed.flop(passes)
        hours = flop / (teraflops * 1e12) / 3600
        runs.append(RunCost(name, first.get(name, ""), epochs, training, suites, seconds / 60, hours))
    return StudyCost(images, len(study.runs.seed), tuple(runs), teraflops)


def published_images(spec: DatasetSpec) -> Images:
    """Return the images of a dataset by its published numbers.

    Raises:
        UserError: its source has none, such as a folder.
    """
    card = find_card(spec.source)
    if card is None:
        raise UserError(
            f"how many images source {spec.source} has is not known before: prepare the dataset, and name its folder "
            "with --dataset"
        )
    train, test = card.images.get("train"), card.images.get("test", card.images.get("val"))
    own_test = train is not None and test is not None
    if train is None or test is None:
        total = sum(card.images.values())
        test = round(spec.test_share * total)
        train = total - test
    options = spec.model_extra or {}
    chosen, class_limit = options.get("classes"), options.get("class_limit")
    classes = len(chosen) if isinstance(chosen, list | tuple) else card.classes
    train, test = (round(count * classes / card.classes) for count in (train, test))
    if isinstance(class_limit, int):
        # of the training images; the test images that are cut from them are among these
        limited = class_limit * classes
        if own_test:
            train = min(train, limited)
        else:
            limited = min(train + test, limited)
            test = round(spec.test_share * limited)
            train = limited - test
    kept = min(1.0, spec.limit / (train + test)) if spec.limit else 1.0
    train, test = round(train * kept), round(test * kept)
    selection = round(train * spec.selection_share)
    side = spec.image_size or (spec.view.crop if spec.view and spec.view.crop else None)
    size = (side, side) if side else card.image_size or (224, 224)
    return Images(train - selection, selection, test, size, card.channels, classes)


def _images_of(manifest: Manifest) -> Images:
    counts = {name: split.count for name, split in manifest.splits.items()}
    return Images(
        counts.get("train", 0),
        counts.get("selection", 0),
        counts.get("test", 0),
        manifest.image_size,
        manifest.channels,
        len(manifest.classes),
    )


def passes_of_image(phase: Recipe) -> Passes:
    """Return the passes of a training step of a phase for each image of its batch."""
    model = _network(phase.model.model_copy(update={"arch": "resnet8", "drop_path": 0.0}), (_SIDE, _SIDE), 3, _CLASSES)
    objective = create_objective(phase.objective.name, **phase.objective.settings())
    images, labels = torch.rand(_COUNTED, 3, _SIDE, _SIDE), torch.arange(_COUNTED)
    views = {view: torch.rand_like(images) for view in objective.augmented_views}
    batch = Batch(images, labels, torch.arange(_COUNTED), views)
    adversary = Adversary(phase.attack, phase.threat.norm, float(phase.threat.eps), 0, float(phase.schedule.epochs))
    micro_batches = MicroBatches(objective, model.train(), [batch], adversary, [{}])
    scaler = torch.amp.GradScaler(enabled=False)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        while micro_batches.backward(scaler, None):
            pass
    return Passes(*counts) * (1 / _COUNTED)


def passes_of_selection(phase: Recipe) -> Passes:
    """Return the passes of a measurement on the selection split for each of its images."""
    mixture = _mixture(phase)
    clean = Passes(forward=float(mixture.passes if mixture else 1))
    if create_objective(phase.objective.name, **phase.objective.settings()).robust_weight == 0:
        return clean
    spec, threat = phase.selection.attack, phase.threat
    attack = create_attack(spec.name, norm=threat.norm, eps=float(threat.eps), seed=0, **spec.settings())
    model = _always_right(mixture)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        attack(model, torch.rand(_COUNTED, 3, _SIDE, _SIDE), torch.zeros(_COUNTED, dtype=torch.int64))
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
    plain: dict[str, Any] = {"training_images": None, "properties": None, "max_images": None, "view": None}
    whole = {name: attack for name, attack in suite.attacks.items() if attack.is_whole}
    branch_attacks = tuple(whole) if suite.branch_attacks is None else suite.branch_attacks
    # A suite has an attack at least: where none is of all images, a cheap one stands in.
    whole = whole or {"stand-in": SuiteAttack(name="fgsm")}
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


def _counted_evaluation(suite: AdversarialSuite, mixture: Mixture | None) -> Passes:
    """Return the passes for each image of an evaluation with a suite, of a network that is never wrong, so that it is
    attacked to the end."""
    model = _always_right(mixture)
    images, labels = torch.rand(_COUNTED, 3, _SIDE, _SIDE), torch.zeros(_COUNTED, dtype=torch.int64)
    with torch.random.fork_rng([]), _counted(model.network) as counts:
        evaluate_robustness(model, images, labels, suite)
    return Passes(*counts) * (1 / _COUNTED)


def _always_right(mixture: Mixture | None) -> Classifier:
    """Return a tiny model that answers class 0 to every image, with a gradient; with a mixture, of mixture BN."""
    pixels, selector = 3 * _SIDE * _SIDE, Selector(0.5)
    layers: list[nn.Module] = []
    if mixture:
        layers = [MixtureBatchNorm(nn.BatchNorm1d(pixels), nn.BatchNorm1d(pixels), selector)]
    signature = _signature({"arch": "linear", "normaliser": "none"}, (_SIDE, _SIDE), 3, _CLASSES)
    model = Classifier(nn.Sequential(nn.Flatten(), *layers, _AlwaysRight(pixels)), signature, selector)
    if mixture:
        selector.deploy(mixture)
    return model.eval()


def _mixture(phase: Recipe) -> Mixture | None:
    """Return the mixture that the model of a phase is deployed with; None if it has no mixture BN."""
    model = phase.model
    if model.normaliser != "mbn":
        return None
    return Mixture(model.mixture_weight, model.mixture_inference, model.mixture_share)


class _AlwaysRight(nn.Module):
    """Answers class 0 to every image [N, pixels], with a gradient."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(pixels, _CLASSES)
        nn.init.normal_(self.linear.weight, std=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images)
        return logits + 100.0 * nn.functional.one_hot(torch.zeros(len(images), dtype=torch.int64), _CLASSES)


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


def _network(model: Any, size: tuple[int, int], channels: int, classes: int) -> Classifier:
    return build(_signature(model, size, channels, classes))


def _signature(model: Any, size: tuple[int, int], channels: int, classes: int) -> Signature:
    keys = {key: value for key, value in dict(model).items() if key in Signature.model_fields}
    names = tuple(map(str, range(classes)))
    half = (0.5,) * channels
    return Signature(
        **keys, num_classes=classes, image_size=size, channels=channels, mean=half, std=half, classes=names
    )


def _speed(phase: Recipe, images: Images, known: dict[Signature, Speed]) -> Speed:
    """Return the speed of the network of a phase at the size of its images, measured once for each of them."""
    side = phase.views.image_size
    size = (side, side) if side else images.size
    signature = _signature(phase.model, size, images.channels, images.classes)
    key = signature.model_copy(update={"mixture_weight": 0.5})
    if key not in known:
        known[key] = measured_speed(build(signature).to(default_device()))
    return known[key]


def measured_speed(model: Classifier) -> Speed:
    """Return the speed of a model at its image size, of one branch where it has mixture BN."""
    height, width = model.signature.image_size
    count = max(1, _PIXELS // (height * width))
    images = torch.rand(count, model.signature.channels, height, width, device=model.mean.device)
    model.eval()
    # Passes are counted through one branch of mixture BN; what mixes two of them counts as two passes.
    with branch(model, "clean"), single_thread_if_small(model.mean.device, count * height * width):
        forward = _timed(lambda: model(images), count)

        def both() -> None:
            pixels = images.clone().requires_grad_()
            model(pixels).sum().backward()

        with_gradient = _timed(both, count, grad=True)
    with branch(model, "clean"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images[:1])
    return Speed(forward, max(with_gradient - forward, 0.0), float(counter.get_total_flops()))


def _timed(call: Any, count: int, grad: bool = False) -> float:
    """Return the seconds of a call for each of its `count` images, without those of its first time."""
    with torch.set_grad_enabled(grad):
        call()
        began, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - began < _TIMED_S:
            call()
            calls += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return (time.perf_counter() - began) / (calls * count)
