"""Evaluating a model with an adversarial suite."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nofrost.attacks.model import Model
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate.adversarial.judging import check_gradients, judge, not_converged
from nofrost.evaluate.adversarial.measured_losses import measured_losses, measured_training
from nofrost.evaluate.adversarial.mixtures import measured_mixtures
from nofrost.evaluate.adversarial.plan import Budget, SuitePlan, make_plan
from nofrost.evaluate.adversarial.result import RobustnessResult
from nofrost.evaluate.measuring.attacking import EvaluatedModel, through
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.protocol import protocol
from nofrost.evaluate.measuring.sample import Rows, Sample, sample_of_tensors
from nofrost.evaluate.properties.fooling import measured_fooling
from nofrost.evaluate.properties.suite import measured_layers, summaries
from nofrost.evaluate.properties.tilting import Centroids, tilting_angles
from nofrost.models.contents import model_sha256
from nofrost.models.device import model_device, usable_device
from nofrost.models.modes import batch_statistics
from nofrost.results import AdversarialMetrics, Alarm, AttackUse, BudgetCurve, Proportion, StepsCurve, StepsPoint
from nofrost.statistics import Flags


def robustness(
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
    """Attack a model with every attack of a suite, and return accuracies, curves and alarms.

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
            model, images and suite, continues from there with the same result. For modules only; two modules with equal
            weights and equal ``repr`` count as the same.
        show_progress: whether to show on standard error how far each attack is, and the time left.

    Raises:
        UserError: images, labels, suite, device or the model's output are not as described.
    """
    plan = make_plan(_adversarial(suite))
    needs_training = {
        "training_images": plan.suite.training_images,
        "properties.tilting_angle": plan.suite.properties and plan.suite.properties.tilting_angle,
    }
    for key in (key for key, needed in needs_training.items() if needed):
        raise UserError(f"{key} is for a dataset on disk: use nofrost.evaluate.run, or leave it out")
    sample = sample_of_tensors(images, labels, indices, plan.suite.max_images)
    module = _module(model, checkpoint_dir)
    target = model_device(module) if device is None else usable_device(device)
    data = sample.sha256()
    folder = None
    if checkpoint_dir is not None:
        depends_on = [plan.suite.as_json(), data, model_sha256(module)]
        folder = Path(checkpoint_dir) / hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
    engine = Engine(sample, plan.suite.batch_size, target, MeasurementCache(folder))
    evaluated = EvaluatedModel(module, sample.labels, target)
    statistics = batch_statistics(module) if plan.suite.batch_statistics == "batch" else nullcontext()
    with engine.ready(module), statistics:
        check(engine, evaluated, plan)
        engine.run(plan.measurements(evaluated, sample).unique, "evaluate-adversarial" if show_progress else None)
        return result_of(engine, evaluated, plan, data)


def check(engine: Engine, model: EvaluatedModel, plan: SuitePlan) -> None:
    """Check that the model can be evaluated with the suite, before anything is measured.

    Raises:
        UserError: the model does not take such images, does not return logits, has fewer classes than the labels or
            than an attack of the suite needs, or has no gradient although every attack needs one.
    """
    model.check(engine.sample)
    images, _, _ = engine.sample.batch(np.zeros(1, dtype=np.int64), engine.device)
    plan.check(model.classes(images), images)
    check_gradients(engine, model, plan)


def result_of(
    engine: Engine,
    model: EvaluatedModel,
    plan: SuitePlan,
    data_sha256: str,
    training: Sample | None = None,
    of_training: Centroids | None = None,
) -> RobustnessResult:
    """Return the result of the suite, measuring what is not in the engine's cache; call inside ``engine.ready``.

    Args:
        data_sha256: of the dataset, or of the images and labels themselves.
        training: images of the training split, where the suite asks for them.
        of_training: centroids of all training images, where the suite asks for the tilting angle.
    """
    measured = plan.measurements(model, engine.sample, training)
    clean = engine.right(measured.clean)
    # With losses an attack also runs on images that are wrong when clean: what it makes right stays wrong.
    rows = {name: engine.sample.rows_of(plan.suite.attacks[name]) for name in measured.attacks}
    attacked = {name: clean[rows[name]] & engine.right(each) for name, each in measured.attacks.items()}
    # wang2022 does not say whether its attacker sees the mixture or a branch, so the worst case is over both.
    counted_branches = plan.counted(plan.branch_attacks)
    through_branches = {
        through(branch): reduce(np.logical_and, (engine.right(by_attack[name]) for name in counted_branches), clean)
        for branch, by_attack in measured.through.items()
    }
    survived = [_of_all(attacked[name], rows[name], len(clean)) for name in plan.counted(attacked)]
    worst = reduce(np.logical_and, (*survived, *through_branches.values()), clean)
    flags = {"clean": clean, **attacked, **through_branches, "worst-case": worst}
    branches: dict[str, dict[str, Flags]] = {
        branch: {name: engine.right(each) for name, each in by_condition.items()}
        for branch, by_condition in measured.branches.items()
    }
    steps = {steps: clean & engine.right(each) for steps, each in measured.steps.items()}
    budgets = tuple((budget, clean & engine.right(each)) for budget, each in measured.budgets)
    properties = {name: engine.values(each) for name, each in measured.properties.items()}
    if of_training is not None:
        properties |= tilting_angles(engine, model, of_training)
    layers = measured_layers(engine, model, plan.suite)
    alarms = judge(engine, model, plan, flags, steps, budgets)
    suite, of_layers = plan.suite, layers.metrics()
    losses = measured_losses(engine, model, measured.losses)
    mixtures = measured_mixtures(engine, measured.mixtures, counted_branches)
    on_training = measured_training(engine, measured.training)
    of_losses = losses.metrics()
    fooling = measured_fooling(engine, model, suite)
    metrics = AdversarialMetrics(
        kind="adversarial",
        title=suite.title,
        protocol=suite.protocol,
        samples=len(engine.sample),
        seed=suite.seed,
        threat=suite.threat,
        subset=suite.max_images is not None and len(engine.sample) >= suite.max_images,
        cascade=suite.cascade,
        attacks={
            name: _attack_use(condition, None if suite.attacks[name].is_whole else len(rows[name]))
            for name, condition in plan.attacks.items()
        },
        accuracy=_accuracies(flags),
        not_converged=not_converged(plan, flags, steps),
        branches={branch: _accuracies(by_condition) for branch, by_condition in branches.items()},
        steps_curve=_steps_curve(suite, steps, alarms),
        budget_curve=_budget_curve(suite, budgets),
        alarms=alarms,
        properties=summaries(properties, suite),
        weight_norms=of_layers.weight_norms,
        batch_norm=of_layers.batch_norm,
        indices_sha256=engine.sample.indices_sha256(),
        **of_losses,
        training=on_training.metrics(clean, of_losses["cross_entropy"]["clean"]) if on_training else None,
        mixtures=mixtures.metrics(),
        fooling=fooling.metrics() if fooling else None,
    )
    return RobustnessResult(
        metrics=metrics,
        protocol=protocol(
            suite.title, suite.as_json(), engine.sample, engine.device, data_sha256, engine.cache.reduced_batch_sizes
        ),
        sample=engine.sample,
        predictions=engine.values(measured.clean),
        flags=flags,
        branches=branches,
        steps=steps,
        budgets=budgets,
        properties=properties,
        layers=layers,
        losses=losses,
        training=on_training,
        mixtures=mixtures,
        fooling=fooling,
    )


def strongest_attack(plan: SuitePlan, flags: Mapping[str, Flags]) -> str:
    """Return the attack of the suite that breaks the most images, the first one of a tie; in a cascade, each attack is
    counted on the images that it was run on. Attacks of a subset of the images count only where there are no others,
    and so does noise that is not cut to the threat."""
    broken, before = {}, flags["clean"]
    counted = plan.counted(plan.attacks)
    whole = [name for name, attack in plan.suite.attacks.items() if attack.is_whole]
    for name in whole:
        if name in counted:
            broken[name] = int((before & ~flags[name]).sum())
        before = flags[name] if plan.suite.cascade else before
    if not broken:
        return counted[0]
    return max(broken, key=lambda name: broken[name])


def _attack_use(condition: Condition, images: int | None) -> AttackUse:
    use = {**condition.attack.as_json(), "cumulative": condition.after is not None, "images": images}
    return AttackUse.model_validate(use)


def _of_all(flags: Flags, rows: Rows, total: int) -> Flags:
    """Return the flags [total] of all images, those that were not attacked as not broken."""
    of_all = np.ones(total, dtype=np.bool_)
    of_all[rows] = flags
    return of_all


def _accuracies(flags: Mapping[str, Flags]) -> dict[str, Proportion]:
    return {name: Proportion.of_flags(each) for name, each in flags.items()}


def _steps_curve(suite: AdversarialSuite, steps: Mapping[int, Flags], alarms: Iterable[Alarm]) -> StepsCurve | None:
    if suite.steps_curve is None:
        return None
    verdict = next(alarm for alarm in alarms if alarm.name == "steps-converged")
    points = tuple(StepsPoint.of_flags(flags, steps=count) for count, flags in steps.items())
    converged, attack = verdict.status == "pass", suite.steps_curve.attack.name
    return StepsCurve(attack=attack, points=points, converged=converged, slope_reason=verdict.reason)


def _budget_curve(suite: AdversarialSuite, budgets: Iterable[tuple[Budget, Flags]]) -> BudgetCurve | None:
    if suite.budget_curve is None:
        return None
    points = tuple(budget.accuracy(flags) for budget, flags in budgets)
    return BudgetCurve(attack=suite.budget_curve.attack.name, points=points)


def _adversarial(suite: str | Path | AdversarialSuite) -> AdversarialSuite:
    if isinstance(suite, AdversarialSuite):
        return suite
    loaded = load_suite(suite)
    if not isinstance(loaded, AdversarialSuite):
        raise UserError(f"suite {suite} is of kind {loaded.kind}: robustness is measured with one of kind adversarial")
    return loaded


def _module(model: Model, checkpoint_dir: str | Path | None) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not callable(model):
        raise UserError(f"a model is a module or a callable that maps images to logits, got a {type(model).__name__}")
    if checkpoint_dir is not None:
        raise UserError(
            "checkpoint_dir is for modules, because other callables cannot be told apart: leave it out, or put the "
            "callable into a torch.nn.Module"
        )
    return _FromCallable(model)


class _FromCallable(nn.Module):
    """A module around any callable that maps images to logits."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Call the function."""
        return self._function(images)
