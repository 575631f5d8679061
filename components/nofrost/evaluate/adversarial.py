"""The stage evaluate-adversarial: a trained model against a suite of attacks, on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite
from nofrost.evaluate.evaluation import Evaluation, Findings, Tasks, merge, run
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.plan import Plan, make_plan
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.robustness import measure, tasks
from nofrost.evaluate.sample import spaced_rows
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.stage_files import EXAMPLES, Source, channels_last, read_inputs


def run_adversarial(
    dataset: Path, model: Source, suite: AdversarialSuite, out: Path, shard: Shard | None = None
) -> dict[str, Any]:
    """Attack a model on the test split of `dataset`; write the result to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz``, ``examples.npz``, ``record.json`` and, for properties of the
    model's layers, ``properties.npz``. A killed run goes on from its last finished batch and gives the same numbers.
    Under torchrun the processes share the work, and only the first returns the metrics of the whole.

    Args:
        dataset: output folder of prepare.
        model: output folder of train, whose best checkpoint is evaluated, a checkpoint, or a function that makes it.
        shard: measure only these images, for :func:`merge_adversarial`. Accuracies, alarms and examples are left to
            it: ``metrics.json`` then says which shard of how many images it is, and ``conditions/`` holds the arrays.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, or the suite names what there is not.
    """
    return run(lambda: _evaluation(dataset, model, suite), out, shard)


def merge_adversarial(
    dataset: Path, model: Source, suite: AdversarialSuite, shards: Sequence[Path], out: Path
) -> dict[str, Any]:
    """Write to the folder `out` what :func:`run_adversarial` would have without shards, byte for byte.

    Only the alarms that ask the model itself and the examples are computed here, so it takes a device of the same
    kind.

    Args:
        dataset, model, suite: those of the shards.
        shards: output folders of all shards, in any order.

    Raises:
        UserError: as :func:`run_adversarial`, or these are not all shards of this evaluation, each of them once.
    """
    return merge(lambda: _evaluation(dataset, model, suite), shards, out)


def _evaluation(dataset: Path, model: Source, suite: AdversarialSuite) -> _Adversarial:
    plan = make_plan(suite)
    return _Adversarial(suite, read_inputs(dataset, model, suite), plan)


@dataclass(frozen=True)
class _Adversarial(Evaluation[AdversarialSuite]):
    stage = "evaluate-adversarial"
    plan: Plan

    def tasks(self, measurement: Measurement) -> Tasks:
        return tasks(measurement, self.suite, self.plan)

    def findings(self, measurement: Measurement) -> Findings:
        result = measure(measurement, self.suite, self.plan)
        examples = _examples(measurement, self.plan, result)
        return Findings(result.metrics(), result.arrays(), examples, result.layers.arrays())


def _examples(measurement: Measurement, plan: Plan, result: RobustnessResult) -> dict[str, NDArray[Any]]:
    """Return a few evenly spaced images and what the strongest attack of the suite makes of them.

    Images that are wrong when clean are attacked too, so that every pair shows what the attack does.
    """
    rows = spaced_rows(len(measurement.sample), EXAMPLES)
    name = result.strongest_attack
    adversarial = measurement.adversarial(plan.attacks[name], rows)
    classes = measurement.classify(adversarial.to(measurement.device), f"images attacked by {name}")
    return {
        "images": channels_last(measurement.sample.read(rows)),
        "adversarial": channels_last(adversarial),
        "labels": measurement.sample.labels[rows],
        "indices": measurement.sample.indices[rows],
        "predictions": result.predictions[rows],
        "adversarial_predictions": classes.cpu().numpy(),
        "attack": np.array([name]),
    }
