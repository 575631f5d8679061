"""An evaluation as a stage: of all test images, of one shard of them, or merged from all shards."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.merging import in_order, take_over
from nofrost.evaluate.robustness import check_model
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.stage_files import CONDITIONS, Inputs, write_arrays
from nofrost.files import write_json
from nofrost.stage import RECORD, stage_output
from nofrost.telemetry import progress

S = TypeVar("S", AdversarialSuite, OodSuite)
Arrays = dict[str, NDArray[Any]]
Tasks = dict[str, Callable[[], NDArray[Any]]]


@dataclass(frozen=True)
class Findings:
    """What an evaluation of all images writes: ``metrics.json``, ``flags.npz`` and ``examples.npz``."""

    metrics: dict[str, Any]
    flags: Arrays
    examples: Arrays


@dataclass(frozen=True)
class Evaluation(ABC, Generic[S]):
    """A suite that a model is measured with on a test split."""

    stage: ClassVar[str]
    suite: S
    inputs: Inputs

    @abstractmethod
    def tasks(self, measurement: Measurement) -> Tasks:
        """Return everything that is measured image by image: by the name of its array [N], how to measure it."""

    @abstractmethod
    def findings(self, measurement: Measurement) -> Findings:
        """Return what all images show, measuring what has not been; called inside ``measurement.ready()``."""

    def run(self, out: Path) -> dict[str, Any]:
        """Measure all images, write the result to `out` and return its metrics."""
        return self._whole(out, [])

    def merge(self, shards: Sequence[Path], out: Path) -> dict[str, Any]:
        """Write to `out`, byte for byte, what :meth:`run` would have, from what the shards measured.

        Raises:
            UserError: `shards` are not all the shards of this evaluation, each of them once.
        """
        return self._whole(out, in_order(shards, self.inputs.record(self.stage, self.suite)))

    def run_shard(self, shard: Shard, out: Path) -> dict[str, Any]:
        """Measure the images of one shard and keep the arrays in `out` for merging; return its metrics."""
        fingerprint = {**self.inputs.fingerprint(self.suite), "shard": str(shard)}
        with stage_output(out, fingerprint=fingerprint, resumable=True) as partial:
            measurement = self.inputs.measurement(self.suite, partial, shard)
            tasks = self.tasks(measurement)
            with self._measuring(measurement, tasks, f"{self.stage} {shard}"):
                if len(measurement.sample):
                    check_model(measurement)
                for measure in tasks.values():
                    measure()
            metrics = {
                "kind": self.suite.kind,
                "title": self.suite.title,
                "shard": str(shard),
                "samples": len(measurement.sample),
                "seed": self.suite.seed,
                "indices_sha256": measurement.sample.indices_sha256(),
            }
            write_json(partial / RECORD, {**self.inputs.record(self.stage, self.suite), "shard": str(shard)})
            write_json(partial / "metrics.json", metrics)
        return metrics

    def _whole(self, out: Path, shards: Sequence[Path]) -> dict[str, Any]:
        with stage_output(out, fingerprint=self.inputs.fingerprint(self.suite), resumable=True) as partial:
            measurement = self.inputs.measurement(self.suite, partial)
            tasks = self.tasks(measurement)
            if shards:
                take_over(shards, tasks, measurement)
            with self._measuring(measurement, tasks, self.stage):
                found = self.findings(measurement)
            write_arrays(partial / "flags.npz", found.flags)
            write_arrays(partial / "examples.npz", found.examples)
            write_json(partial / RECORD, self.inputs.record(self.stage, self.suite))
            write_json(partial / "metrics.json", found.metrics)
            shutil.rmtree(partial / CONDITIONS)
        return found.metrics

    @contextmanager
    def _measuring(self, measurement: Measurement, tasks: Tasks, title: str) -> Iterator[None]:
        """Get torch and the model ready and show how much of the work is done."""
        images, finished = len(measurement.sample), sum(map(measurement.store.has, tasks))
        work = progress(title, len(tasks) * images, finished * images)
        with measurement.ready(), work as measurement.progress:
            yield
