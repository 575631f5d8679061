"""Evaluating a model against an adversarial suite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nofrost import models
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate.judgement import judge
from nofrost.evaluate.measurement import BRANCHES, Measurement, task_name
from nofrost.evaluate.numerics import model_device, usable_device
from nofrost.evaluate.plan import Plan, make_plan
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.sample import Flags, Sample, batches, sample_of_tensors
from nofrost.evaluate.store import ConditionStore


def evaluate_robustness(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    suite: str | Path | AdversarialSuite = "adversarial-quick",
    *,
    indices: torch.Tensor | None = None,
    device: str | torch.device | None = None,
    checkpoint_dir: str | Path | None = None,
) -> RobustnessResult:
    """Attack a model with every attack of a suite and report what survived.

    Runs in float32 with TF32 and autocast off and every module in evaluation mode; torch's settings and the model are
    left as they were. The images stay where they are; batches go to the device.

    Args:
        model: maps images to logits [N, K], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1], evaluated in float32.
        labels: N integers in [0, K).
        suite: name of a shipped suite, path of a YAML file, or a suite. Its ``max_images`` takes evenly spaced images.
        indices: N integers that name the images; they pick the attacks' random numbers. Default: 0 to N - 1.
        device: where to compute; default: where the model is.
        checkpoint_dir: folder that keeps finished attacks, so that a killed evaluation, called again with the same
            model, images and suite, goes on from there with the same result. Use one folder for one model: two models
            with equal weights and equal ``repr`` are taken for the same.

    Raises:
        UserError: images, labels, suite, device or the model's output are not as described; one sentence says what to
            do.
    """
    if not isinstance(suite, AdversarialSuite):
        loaded = load_suite(suite)
        if not isinstance(loaded, AdversarialSuite):
            raise UserError(
                f"suite {suite} is of kind {loaded.kind}: evaluate_robustness takes one of kind adversarial"
            )
        suite = loaded
    plan = make_plan(suite)
    sample = sample_of_tensors(images, labels, indices, suite.max_images)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir) / _fingerprint(model, sample, suite)[:16]
    target = model_device(model) if device is None else usable_device(device)
    measurement = Measurement(model, sample, suite.batch_size, target, ConditionStore(folder))
    with measurement.ready():
        return measure(measurement, suite, plan)


def measure(measurement: Measurement, suite: AdversarialSuite, plan: Plan) -> RobustnessResult:
    """Return the result of the suite; call inside ``measurement.ready()``."""
    check_model(measurement)
    attacked = {name: measurement.attacked(condition) for name, condition in plan.attacks.items()}
    clean = measurement.correct()
    flags = {"clean": clean, **attacked, "worst-case": reduce(np.logical_and, attacked.values(), clean)}
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
        alarms=judge(measurement, plan, flags, steps, budgets),
    )


def check_model(measurement: Measurement) -> None:
    """Check on one image that the model takes such images and knows all labels.

    Raises:
        UserError: it does not.
    """
    sample = measurement.sample
    images, _, _ = sample.batch(np.zeros(1, dtype=np.int64), measurement.device)
    with torch.no_grad():
        try:
            logits = measurement.model(images)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            shape = " x ".join(map(str, images.shape[1:]))
            raise UserError(f"the model does not take float32 images of {shape} (C x H x W): {reason}") from error
    measurement.classify(images, "clean images")
    low, high = int(sample.labels.min()), int(sample.labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise UserError(f"labels run from {low} to {high}, but the model has {logits.shape[1]} classes (from 0)")


def tasks(measurement: Measurement, plan: Plan) -> dict[str, Callable[[], NDArray[Any]]]:
    """Return everything that :func:`measure` measures image by image: by the name it is stored under, how."""
    branches = BRANCHES if models.has_mixture(measurement.model) else ()
    predictions = {task_name(None, branch): partial(measurement.predictions, branch) for branch in (None, *branches)}
    of_the_model = [(condition, None) for condition in plan.conditions()]
    of_branches = [(condition, branch) for branch in branches for condition in plan.branch_attacks.values()]
    attacked = {
        task_name(condition, branch): partial(measurement.attacked, condition, branch)
        for condition, branch in (*of_the_model, *of_branches)
    }
    return {**predictions, **attacked}


def _branches(measurement: Measurement, plan: Plan) -> dict[str, dict[str, Flags]]:
    if not models.has_mixture(measurement.model):
        return {}
    return {
        branch: {
            "clean": measurement.correct(branch),
            **{name: measurement.attacked(condition, branch) for name, condition in plan.branch_attacks.items()},
        }
        for branch in BRANCHES
    }


def _fingerprint(model: nn.Module, sample: Sample, suite: AdversarialSuite) -> str:
    digest = hashlib.sha256(json.dumps([suite.as_json(), repr(model)], sort_keys=True).encode())
    digest.update(sample.labels.tobytes() + sample.indices.tobytes())
    for rows in batches(np.arange(len(sample)), suite.batch_size):
        digest.update(sample.read(rows).contiguous().numpy().tobytes())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
