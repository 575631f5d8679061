"""The stages evaluate-adversarial and evaluate-ood: a trained model against a suite, on the test split."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, Suite
from nofrost.errors import UserError
from nofrost.evaluate.adversarial.plan import SuitePlan, make_plan
from nofrost.evaluate.adversarial.result import RobustnessResult
from nofrost.evaluate.adversarial.robustness import check, result_of, strongest_attack
from nofrost.evaluate.evaluation import Evaluation, Findings, Metrics
from nofrost.evaluate.images import all_training_images
from nofrost.evaluate.inputs import ModelSource, channels_last, read_inputs
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import spaced_rows
from nofrost.evaluate.ood import OodEvaluation
from nofrost.evaluate.properties.tilting import centroids
from nofrost.evaluate.sharding import Shard
from nofrost.models.modes import batch_statistics
from nofrost.processes import ProcessGroup
from nofrost.results import ShardMetrics, TrainMetrics, read_result
from nofrost.telemetry.metrics.exposition import exposed

EXAMPLES = 8
PEER_LOST = (
    "another process of this evaluation has failed (its own error says why): start again, and it continues from what "
    "was measured"
)


def run(
    dataset: Path,
    model: ModelSource,
    suite: Suite,
    out: Path,
    shard: Shard | None = None,
    test_sets: Path | None = None,
) -> Metrics | ShardMetrics:
    """Evaluate a model with a suite on the test split of `dataset`; write the result to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz``, ``examples.npz``, ``record.json`` and, for properties of the
    model's layers, ``properties.npz``. A killed run goes on from its last finished batch and gives the same numbers.
    Under torchrun the processes share the work, and only the first returns the metrics of the whole.

    Args:
        dataset: output folder of prepare.
        model: output folder of train, whose best checkpoint is evaluated, a checkpoint, or a function that makes it.
        suite: adversarial or ood.
        test_sets: output folder of prepare-test-sets; needed only by a suite that has further test sets.
        shard: measure only these images, for :func:`merge`, which computes accuracies, alarms and examples. The
            ``metrics.json`` of a shard names the shard and its number of images; ``conditions/`` holds its arrays.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, the suite names an unknown attack or
            corruption, or a shard is asked for and there are several processes.
    """
    with ProcessGroup.joined(PEER_LOST) as processes:
        evaluation = processes.agree(lambda: _evaluation(dataset, model, suite, test_sets))
        if shard is not None and processes.size > 1:
            raise UserError("--shard is for a single process, and torchrun makes shards by itself: use one of the two")
        with exposed(evaluation.stage, *_trained_as(model)):
            if processes.size > 1:
                return evaluation.run_in_processes(processes, out)
            return evaluation.run(out) if shard is None else evaluation.run_shard(shard, out)


def merge(
    dataset: Path,
    model: ModelSource,
    suite: Suite,
    shards: Sequence[Path],
    out: Path,
    test_sets: Path | None = None,
) -> Metrics:
    """Write to the folder `out` what :func:`run` would have without shards, byte for byte.

    Only examples and the alarms that probe the model itself are computed here, so it takes a device of the same kind.

    Args:
        dataset, model, suite, test_sets: those of the shards.
        shards: output folders of all shards, in any order.

    Raises:
        UserError: as :func:`run`, these are not all shards of this evaluation, each of them once, or there are several
            processes.
    """
    with ProcessGroup.joined(PEER_LOST) as processes:
        if processes.size > 1:
            raise UserError("--merge is for a single process: start it without torchrun")
        evaluation = _evaluation(dataset, model, suite, test_sets)
        with exposed(evaluation.stage, *_trained_as(model)):
            return evaluation.merge(shards, out)


def _trained_as(model: ModelSource) -> tuple[str, str]:
    """Return recipe and seed of an output of train, as labels of metrics; empty texts for any other model."""
    if isinstance(model, Path):
        with suppress(UserError):
            metrics = read_result(TrainMetrics, (model if model.is_dir() else model.parent) / "metrics.json")
            return metrics.recipe, str(metrics.seed)
    return "", ""


def _evaluation(dataset: Path, model: ModelSource, suite: Suite, test_sets: Path | None) -> Evaluation[Any]:
    """Return the evaluation, after checking all that can be checked before anything is measured."""
    evaluation: Evaluation[Any]
    if isinstance(suite, AdversarialSuite):
        plan = make_plan(suite)
        evaluation = _AdversarialEvaluation(suite, read_inputs(dataset, model, suite), plan)
    else:
        evaluation = OodEvaluation(suite, read_inputs(dataset, model, suite, test_sets))
    evaluation.check()
    return evaluation


@dataclass(frozen=True)
class _AdversarialEvaluation(Evaluation[AdversarialSuite]):
    stage = "evaluate-adversarial"
    plan: SuitePlan

    @contextmanager
    def ready(self, engine: Engine) -> Iterator[None]:
        by_batch = self.suite.batch_statistics == "batch"
        with super().ready(engine), batch_statistics(self.inputs.network) if by_batch else nullcontext():
            yield

    def measurements(self) -> list[Measurement]:
        return self.plan.measurements(self.inputs.model, self.inputs.sample, self.inputs.training).unique

    def check_model(self, engine: Engine) -> None:
        check(engine, self.inputs.model, self.plan)

    def findings(self, engine: Engine) -> Findings:
        checksum, training = self.inputs.images.checksum, self.inputs.training
        properties = self.suite.properties
        images = (
            all_training_images(self.inputs.images, self.suite) if properties and properties.tilting_angle else None
        )
        of_training = None if images is None else centroids(images)
        result = result_of(engine, self.inputs.model, self.plan, checksum, training, of_training)
        examples = self._examples(engine, result)
        return Findings(result.metrics, result.arrays(), examples, result.layers.arrays())

    def _examples(self, engine: Engine, result: RobustnessResult) -> dict[str, NDArray[Any]]:
        """Return a few evenly spaced images and what the strongest attack of the suite makes of them.

        Images that are wrong when clean are attacked too, so that every pair shows what the attack does.
        """
        model, sample = self.inputs.model, engine.sample
        rows = spaced_rows(len(sample), EXAMPLES)
        attack = strongest_attack(self.plan, result.flags)
        size = engine.within_memory(EXAMPLES)
        adversarial = model.adversarial(self.plan.attacks[attack], sample, rows, size)
        classes = [model.classify(part.to(engine.device)) for part in torch.split(adversarial, size)]
        return {
            "images": channels_last(sample.read(rows)),
            "adversarial": channels_last(adversarial),
            "labels": sample.labels[rows],
            "indices": sample.indices[rows],
            "predictions": result.predictions[rows],
            "adversarial_predictions": torch.cat(classes).cpu().numpy(),
            "attack": np.array([attack]),
        }
