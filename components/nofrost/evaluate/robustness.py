"""Evaluating a model against an adversarial suite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nofrost import models
from nofrost.attacks.model import Model
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate.engine import show
from nofrost.evaluate.fingerprint import model_sha256, sample_sha256
from nofrost.evaluate.judgement import check_attackable, judge
from nofrost.evaluate.measurement import BRANCHES, Branch, Measurement, task_name, through_condition, through_name
from nofrost.evaluate.plan import Plan, make_plan
from nofrost.evaluate.properties.per_image import measured_properties, property_tasks
from nofrost.evaluate.properties.per_model import measured_layers
from nofrost.evaluate.protocol import protocol
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.sample import Flags, sample_of_tensors
from nofrost.evaluate.store import ConditionStore
from nofrost.evaluate.trial import tried_batch_size
from nofrost.models.device import model_device, usable_device


def evaluate_robustness(
    model: Model,
    images: torch.Tensor,
    labels: torch.Tensor,
    suite: str | Path | AdversarialSuite = "adversarial-quick",
    *,
    indices: torch.Tensor | None = None,
    device: str | torch.device | None = None,
    checkpoint_dir: str | Path | None = None,
    show_progress: bool = False,
) -> RobustnessResult:
    """Attack a model with every attack of a suite and report what survived.

    Runs in float32 with TF32 and autocast off and every module in evaluation mode; torch's settings and the model are
    left as they were. The images stay where they are; batches go to the device. One process measures everything.

    Args:
        model: maps images to logits [N, K], its input normaliser inside. A module, or any callable (which is then left
            on the device and in the mode that it is in).
        images: floats [N, C, H, W] in [0, 1], evaluated in float32.
        labels: N integers in [0, K).
        suite: name of a shipped suite, path of a YAML file, or a suite. Its ``max_images`` takes evenly spaced images.
        indices: N integers that name the images; they pick the attacks' random numbers. Default: 0 to N - 1.
        device: where to compute; default: where the model is.
        checkpoint_dir: folder that keeps every finished batch, so that a killed evaluation, called again with the same
            model, images and suite, goes on from there with the same result. For modules only; two with equal weights
            and equal ``repr`` are taken for the same.
        show_progress: whether to show on standard error how far each attack is, and the time left.

    Raises:
        UserError: images, labels, suite, device or the model's output are not as described; one sentence says what to
            do.
    """
    suite = _adversarial(suite)
    plan = make_plan(suite)
    sample = sample_of_tensors(images, labels, indices, suite.max_images)
    module = _module(model, checkpoint_dir)
    target = model_device(module) if device is None else usable_device(device)
    batch_size = tried_batch_size(module, sample, target, suite.batch_size)
    data = sample_sha256(sample)
    folder = None
    if checkpoint_dir is not None:
        depends_on = [suite.as_json(), data, model_sha256(module), batch_size]
        folder = Path(checkpoint_dir) / hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
    measurement = Measurement(module, sample, batch_size, target, ConditionStore(folder))
    if show_progress:
        show(measurement, tasks(measurement, suite, plan), "evaluate-adversarial")
    with measurement.ready():
        result = measure(measurement, suite, plan)
        return replace(result, protocol=protocol(suite, sample, target, batch_size, data))


def _adversarial(suite: str | Path | AdversarialSuite) -> AdversarialSuite:
    if isinstance(suite, AdversarialSuite):
        return suite
    loaded = load_suite(suite)
    if not isinstance(loaded, AdversarialSuite):
        raise UserError(f"suite {suite} is of kind {loaded.kind}: evaluate_robustness takes one of kind adversarial")
    return loaded


def _module(model: Model, checkpoint_dir: str | Path | None) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not callable(model):
        raise UserError(f"a model is a module or a callable that maps images to logits, got a {type(model).__name__}")
    if checkpoint_dir is not None:
        raise UserError(
            "checkpoint_dir is for modules, as nothing tells two other callables apart: leave it out, or put the "
            "callable into a torch.nn.Module"
        )
    return _FromCallable(model)


class _FromCallable(nn.Module):
    """A module around any callable that maps images to logits."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Call the callable."""
        return self._function(images)


def measure(measurement: Measurement, suite: AdversarialSuite, plan: Plan) -> RobustnessResult:
    """Return the result of the suite; call inside ``measurement.ready()``."""
    check_attackable(measurement, plan)
    of_images = property_tasks(measurement, suite)
    attacked = {name: measurement.attacked(condition) for name, condition in plan.attacks.items()}
    clean, through = measurement.correct(), _through_branches(measurement, plan)
    worst = reduce(np.logical_and, (*attacked.values(), *through.values()), clean)
    flags = {"clean": clean, **attacked, **through, "worst-case": worst}
    steps = {count: measurement.attacked(condition) for count, condition in plan.steps.items()}
    budgets = tuple((point, measurement.attacked(point.condition)) for point in plan.budgets)
    return RobustnessResult(
        suite=suite,
        sample=measurement.sample,
        predictions=measurement.predictions(),
        flags=flags,
        branches=_branches(measurement, plan),
        steps=steps,
        budgets=budgets,
        properties=measured_properties(of_images),
        layers=measured_layers(measurement, suite),
        alarms=judge(measurement, plan, flags, steps, budgets),
    )


def tasks(measurement: Measurement, suite: AdversarialSuite, plan: Plan) -> dict[str, Callable[[], NDArray[Any]]]:
    """Return everything that :func:`measure` measures image by image, in its order: by the name it is stored under,
    how."""
    found: dict[str, Callable[[], NDArray[Any]]] = {task_name(None, None): measurement.predictions}
    for condition in plan.attacks.values():
        found[task_name(condition, None)] = partial(measurement.attacked, condition)
    for branch in _branches_of(measurement):
        for condition in plan.branch_attacks.values():
            found[through_name(condition, branch)] = partial(measurement.attacked_through, condition, branch)
    for condition in plan.conditions():
        found[task_name(condition, None)] = partial(measurement.attacked, condition)
    for branch in _branches_of(measurement):
        found[task_name(None, branch)] = partial(measurement.predictions, branch)
        for condition in plan.branch_attacks.values():
            found[task_name(condition, branch)] = partial(measurement.attacked, condition, branch)
    return {**found, **property_tasks(measurement, suite)}


def _branches(measurement: Measurement, plan: Plan) -> dict[str, dict[str, Flags]]:
    return {
        branch: {
            "clean": measurement.correct(branch),
            **{name: measurement.attacked(condition, branch) for name, condition in plan.branch_attacks.items()},
        }
        for branch in _branches_of(measurement)
    }


def _through_branches(measurement: Measurement, plan: Plan) -> dict[str, Flags]:
    """Return by branch whether the deployed mixture withstands what all attacks make of the images through it.

    wang2022 does not say whether its attacker sees the mixture or a branch, so the worst case is over both.
    """
    return {
        through_condition(branch): reduce(
            np.logical_and,
            (measurement.attacked_through(condition, branch) for condition in plan.branch_attacks.values()),
            measurement.correct(),
        )
        for branch in _branches_of(measurement)
    }


def _branches_of(measurement: Measurement) -> tuple[Branch, ...]:
    return BRANCHES if models.has_mixture(measurement.model) else ()
