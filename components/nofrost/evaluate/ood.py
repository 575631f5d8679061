"""The stage evaluate-ood: a trained model on corrupted images of the test split (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.config import OodSuite
from nofrost.errors import UserError
from nofrost.evaluate.evaluation import Evaluation, Findings, Tasks, merge, run
from nofrost.evaluate.measurement import Measurement, task_name
from nofrost.evaluate.result import proportion
from nofrost.evaluate.sample import Flags, Rows
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.stage_files import Inputs, Source, channels_last, read_inputs
from nofrost.statistics import wilson_interval
from nofrost.transforms.corruptions import check_corruption, corrupt

Corrupted = tuple[str, int]  # name and severity


def run_ood(dataset: Path, model: Source, suite: OodSuite, out: Path, shard: Shard | None = None) -> dict[str, Any]:
    """Count what a model gets right on corrupted test images; write the result to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz``, ``examples.npz`` and ``record.json``. A killed run goes on from
    its last finished batch and gives the same numbers. Under torchrun the processes share the work.

    Args:
        dataset: output folder of prepare.
        model: output folder of train, whose best checkpoint is evaluated, a checkpoint, or a function that makes it.
        shard: measure only these images, for :func:`merge_ood`. Accuracies and examples are left to it:
            ``metrics.json`` then says which shard of how many images it is, and ``conditions/`` holds the arrays.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, or the suite names a corruption or
            severity that there is not.
    """
    return run(lambda: _evaluation(dataset, model, suite), out, shard)


def merge_ood(dataset: Path, model: Source, suite: OodSuite, shards: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write to the folder `out` what :func:`run_ood` would have without shards, byte for byte.

    Args:
        dataset, model, suite: those of the shards.
        shards: output folders of all shards, in any order.

    Raises:
        UserError: as :func:`run_ood`, or these are not all shards of this evaluation, each of them once.
    """
    return merge(lambda: _evaluation(dataset, model, suite), shards, out)


def _evaluation(dataset: Path, model: Source, suite: OodSuite) -> _Ood:
    inputs = read_inputs(dataset, model, suite)
    return _Ood(suite, inputs, _conditions(suite, inputs))


@dataclass(frozen=True)
class _Ood(Evaluation[OodSuite]):
    stage = "evaluate-ood"
    conditions: list[Corrupted]

    def tasks(self, measurement: Measurement) -> Tasks:
        each = {
            _name(condition): partial(_corrupted, measurement, self.suite, condition) for condition in self.conditions
        }
        return {task_name(None, None): measurement.predictions, **each}

    def findings(self, measurement: Measurement) -> Findings:
        clean = measurement.correct()
        flags = {condition: _corrupted(measurement, self.suite, condition) for condition in self.conditions}
        metrics = _metrics(self.suite, measurement, clean, flags)
        return Findings(metrics, _arrays(measurement, clean, flags), _examples(measurement, self.suite))


def _conditions(suite: OodSuite, inputs: Inputs) -> list[Corrupted]:
    """Return every corruption at every severity, after checking that each can be made."""
    names, severities = dict.fromkeys(suite.corruptions), sorted(set(suite.severities))
    conditions = [(name, severity) for name in names for severity in severities]
    for name, severity in conditions:
        try:
            check_corruption(name, severity, channels=inputs.manifest.channels)
        except UserError as error:
            raise UserError(f"suite key corruptions: {error}") from None
    return conditions


def _name(condition: Corrupted) -> str:
    return "-".join(map(str, condition))


def _corrupted(measurement: Measurement, suite: OodSuite, condition: Corrupted) -> Flags:
    """Return whether the model is right on each corrupted image, [N], measuring it unless an earlier run has."""
    name, severity = condition

    def right(images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        corrupted = corrupt(images, name, severity, seed=suite.seed, indices=indices)
        return measurement.classify(corrupted, f"images with {name}") == labels

    return measurement.per_image(_name(condition), right, dtype=np.bool_, title=f"{name} {severity}")


def _metrics(suite: OodSuite, measurement: Measurement, clean: Flags, flags: dict[Corrupted, Flags]) -> dict[str, Any]:
    corruptions = {}
    for name in dict.fromkeys(name for name, _ in flags):
        own = {severity: each for (corruption, severity), each in flags.items() if corruption == name}
        points = [{"severity": severity, **proportion(each).as_json()} for severity, each in own.items()]
        corruptions[name] = {"severities": points, **_mean(list(own.values()))}
    return {
        "kind": "ood",
        "title": suite.title,
        "samples": len(measurement.sample),
        "seed": suite.seed,
        "clean": proportion(clean).as_json(),
        "corruptions": corruptions,
        **_mean(list(flags.values())),
        "averaging": "unweighted mean over all corruptions and severities",
        "indices_sha256": measurement.sample.indices_sha256(),
    }


def _mean(flags: list[Flags]) -> dict[str, float]:
    """Return the mean accuracy over conditions and its 95 % interval.

    The conditions share their images, so the counts are not independent. The interval is Wilson's for as many
    independent images as would give the spread that is seen between images (the effective sample size, Kish 1965).
    """
    per_image = np.mean(flags, axis=0)
    mean = float(per_image.mean())
    spread = float(per_image.var(ddof=1)) if len(per_image) > 1 else 0.0
    independent = mean * (1 - mean) / spread * len(per_image) if spread else len(per_image)
    effective = round(min(independent, len(flags) * len(per_image)))
    low, high = wilson_interval(round(mean * effective), effective)
    return {"mean_accuracy": mean, "mean_low": low, "mean_high": high}


def _arrays(measurement: Measurement, clean: Flags, flags: dict[Corrupted, Flags]) -> dict[str, NDArray[Any]]:
    sample = measurement.sample
    arrays: dict[str, NDArray[Any]] = {
        "indices": sample.indices,
        "labels": sample.labels,
        "predictions": measurement.predictions(),
        "correct/clean": clean,
    }
    return arrays | {f"correct/{name}/{severity}": each for (name, severity), each in flags.items()}


def _examples(measurement: Measurement, suite: OodSuite) -> dict[str, NDArray[Any]]:
    """Return the first image with every corruption at the highest severity."""
    sample, severity = measurement.sample, max(suite.severities)
    row: Rows = np.zeros(1, dtype=np.int64)
    image = sample.read(row)
    names = list(dict.fromkeys(suite.corruptions))
    shown = [
        channels_last(corrupt(image, name, severity, seed=suite.seed, indices=sample.indices[row]))[0] for name in names
    ]
    return {
        "image": channels_last(image)[0],
        "label": sample.labels[row],
        "index": sample.indices[row],
        "corrupted": np.stack(shown),
        "names": np.array(names),
        "severity": np.array([severity]),
    }
