"""An evaluation as a stage: of all test images, of one shard of them, or merged from all shards."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite
from nofrost.data.arrays import write_arrays
from nofrost.errors import remark
from nofrost.evaluate.inputs import Inputs
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Rows
from nofrost.evaluate.sharding import CONDITIONS, Shard, images_dealt, is_finished, load_shards, record_of_all, shard_in
from nofrost.files import work_path
from nofrost.lock import is_written_in
from nofrost.processes import ProcessGroup
from nofrost.results import AdversarialMetrics, EvaluationRecord, OodMetrics, ShardMetrics, ShardRecord, write_result
from nofrost.shard import folders_by_index
from nofrost.stage import RECORD, UNFINISHED, stage_output, target_of

S = TypeVar("S", AdversarialSuite, OodSuite)
Arrays = dict[str, NDArray[Any]]
Metrics = AdversarialMetrics | OodMetrics


@dataclass(frozen=True)
class Findings:
    """What an evaluation of all images writes: ``metrics.json``, ``flags.npz``, ``examples.npz`` and, unless it is
    empty, ``properties.npz``."""

    metrics: Metrics
    flags: Arrays
    examples: Arrays
    properties: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation(ABC, Generic[S]):
    """The evaluation of one model with one suite on the test split of a dataset."""

    stage: ClassVar[str]
    suite: S
    inputs: Inputs

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """Return every measurement of the suite once."""

    @abstractmethod
    def findings(self, engine: Engine) -> Findings:
        """Return the results of all measurements, which are in the engine's cache; call inside ``engine.ready``."""

    def ready(self, engine: Engine) -> AbstractContextManager[None]:
        """Return the context in which the model is measured."""
        return engine.ready(self.inputs.network)

    def check(self) -> None:
        """Check that the model can be evaluated with the suite, before anything is measured.

        Raises:
            UserError: it cannot.
        """
        engine = self.inputs.engine(self.suite.batch_size, folder=None)
        with self.ready(engine):
            self.check_model(engine)

    def check_model(self, engine: Engine) -> None:
        """Check the model on an image of `engine`, inside ``engine.ready``."""
        self.inputs.model.check(engine.sample)

    def run(self, out: Path) -> Metrics:
        """Measure all images, write the result to `out` and return its metrics."""
        with self._output(out, self.inputs.fingerprint(self.suite)) as partial:
            metrics = self._measure_all_images(partial, [])
        # An earlier run in several processes may have been killed.
        _remove_shards(_shards_folder(out))
        return metrics

    def merge(self, shards: Sequence[Path], out: Path) -> Metrics:
        """Write the result of all shards to `out`, byte for byte equal to that of :meth:`run`.

        Raises:
            UserError: `shards` are not all the shards of this evaluation, each of them once.
        """
        ordered = self._by_index(shards)
        with self._output(out, self.inputs.fingerprint(self.suite), ordered) as partial:
            return self._measure_all_images(partial, ordered)

    def run_shard(self, shard: Shard, out: Path) -> ShardMetrics:
        """Measure the images of one shard and keep the arrays in `out` for merging; return its metrics."""
        measurements = [self._of_shard(measurement, shard) for measurement in self.measurements()]
        if not len(self._rows(shard)):
            dealt = self._images_dealt()
            remark(
                f"shard {shard} has no image to measure, as {dealt} at a time belong to one shard: use fewer shards, "
                "or lower the suite's batch_size"
            )
        fingerprint = {**self.inputs.fingerprint(self.suite), "shard": str(shard)}
        with self._output(out, fingerprint) as partial:
            engine = self.inputs.engine(self.suite.batch_size, partial / CONDITIONS, self._rows(shard))
            with self.ready(engine):
                engine.run(measurements, f"{self.stage} {shard}")
            metrics = self._shard_metrics(shard)
            record = self._record(engine.cache.reduced_batch_sizes)
            write_result(partial / RECORD, ShardRecord(**dict(record), shard=str(shard)))
            write_result(partial / "metrics.json", metrics)
        return metrics

    def run_in_processes(self, processes: ProcessGroup, out: Path) -> Metrics | ShardMetrics:
        """Let each process measure one shard in a folder beside `out`, and rank 0 merge them into `out`.

        Returns:
            In rank 0 the metrics of all images, in other processes those of their shard.
        """
        folder = _shards_folder(out)
        shards = [Shard(index, processes.size) for index in range(processes.size)]
        outputs = [folder / f"{shard.index}-of-{shard.count}" for shard in shards]
        shard, shard_out = shards[processes.rank], outputs[processes.rank]
        with ExitStack() as stack:
            # Rank 0 keeps others from `out` from the start, and each process keeps them from its shard.
            output = self._output(out, self.inputs.fingerprint(self.suite))
            partial = processes.agree(lambda: stack.enter_context(output) if processes.is_rank_zero else None)
            with processes.report_local_error():
                finished = is_finished(shard_out, shard, self._record({}), self.measurements())
                metrics = self._shard_metrics(shard) if finished else self.run_shard(shard, shard_out)
            processes.barrier()
            if partial is None:
                return metrics
            merged = self._measure_all_images(partial, self._by_index(outputs))
        _remove_shards(folder)
        return merged

    def _by_index(self, folders: Sequence[Path]) -> list[Path]:
        record = self._record({})
        return folders_by_index((shard_in(folder, record), folder) for folder in folders)

    def _output(
        self, out: Path, fingerprint: dict[str, Any], shards: Sequence[Path] = ()
    ) -> AbstractContextManager[Path]:
        inputs = [*self.inputs.paths, *shards]
        return stage_output(out, stage=self.stage, inputs=inputs, fingerprint=fingerprint, resumable=True)

    def _record(self, reduced: dict[str, int]) -> EvaluationRecord:
        return self.inputs.record(self.stage, self.suite, reduced)

    def _rows(self, shard: Shard) -> Rows:
        return shard.rows(len(self.inputs.sample), self._images_dealt())

    def _of_shard(self, measurement: Measurement, shard: Shard) -> Measurement:
        """Return a measurement that has images of its own with those of the shard alone; any other as it is."""
        sample = measurement.sample
        if sample is None:
            return measurement
        rows = shard.rows(len(sample), self._images_dealt())
        among = tuple(self._of_shard(each, shard) for each in measurement.among)
        return replace(measurement, sample=sample.select(rows), among=among)

    def _images_dealt(self) -> int:
        return images_dealt(self.measurements(), self.suite.batch_size)

    def _shard_metrics(self, shard: Shard) -> ShardMetrics:
        sample = self.inputs.sample.select(self._rows(shard))
        return ShardMetrics(
            kind=self.suite.kind,
            title=self.suite.title,
            shard=str(shard),
            samples=len(sample),
            seed=self.suite.seed,
            batch_size=self.suite.batch_size,
            indices_sha256=sample.indices_sha256(),
        )

    def _measure_all_images(self, partial: Path, shards: Sequence[Path]) -> Metrics:
        """Measure what the shards lack, write the result to the partial output and return its metrics."""
        engine = self.inputs.engine(self.suite.batch_size, partial / UNFINISHED / CONDITIONS)
        measurements = self.measurements()
        if shards:
            load_shards(shards, measurements, engine)
        with self.ready(engine):
            engine.run(measurements, self.stage)
            findings = self.findings(engine)
        write_arrays(partial / "flags.npz", findings.flags)
        write_arrays(partial / "examples.npz", findings.examples)
        if findings.properties:
            write_arrays(partial / "properties.npz", findings.properties)
        record = self._record(engine.cache.reduced_batch_sizes)
        write_result(partial / RECORD, record_of_all(record, shards))
        write_result(partial / "metrics.json", findings.metrics)
        return findings.metrics


def _shards_folder(out: Path) -> Path:
    return work_path(target_of(out), "shards")


def _remove_shards(folder: Path) -> None:
    """Delete the shards that processes measured, unless one of an earlier run is still at it."""
    if folder.is_dir() and not is_written_in(folder):
        shutil.rmtree(folder)
