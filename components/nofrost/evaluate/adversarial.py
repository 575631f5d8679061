"""The stage evaluate-adversarial: a trained model against a suite of attacks, on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.plan import Plan, make_plan
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.robustness import measure, work
from nofrost.evaluate.sample import spaced_rows
from nofrost.evaluate.stage_files import EXAMPLES, channels_last, publish, read_inputs
from nofrost.stage import stage_output
from nofrost.telemetry import progress


def run_adversarial(dataset: Path, checkpoint: Path, suite: AdversarialSuite, out: Path) -> dict[str, Any]:
    """Attack the model of `checkpoint` on the test split of `dataset`; write the result to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz``, ``examples.npz`` and ``record.json``. A killed run goes on from
    its last finished attack and gives the same numbers.

    Args:
        dataset: output folder of prepare.
        checkpoint: output folder of train; its best checkpoint is evaluated.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, or the suite names what there is not.
    """
    plan = make_plan(suite)
    inputs = read_inputs(dataset, checkpoint)
    with stage_output(out, fingerprint=inputs.fingerprint(suite), resumable=True) as partial:
        measurement = inputs.measurement(suite, partial)
        total, done = work(measurement, plan)
        with measurement.ready(), progress("evaluate-adversarial", total, done) as measurement.progress:
            result = measure(measurement, suite, plan)
            examples = _examples(measurement, plan, result)
        metrics = result.metrics()
        publish(partial, "evaluate-adversarial", suite, inputs, metrics, result.arrays(), examples)
    return metrics


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
