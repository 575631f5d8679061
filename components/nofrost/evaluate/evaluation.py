"""An evaluation as a stage: of all test images, of one shard of them, or merged from all shards."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite
from nofrost.data.arrays import write_arrays
from nofrost.errors import UserError
from nofrost.evaluate.engine import show
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.merging import in_order, is_finished, record_of_all, recorded_batch_size, take_over
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.stage_files import CONDITIONS, Inputs
from nofrost.evaluate.trial import tried_batch_size
from nofrost.files import write_json
from nofrost.processes import ProcessGroup
from nofrost.stage import RECORD, stage_output

S = TypeVar("S", AdversarialSuite, OodSuite)
Arrays = dict[str, NDArray[Any]]
Tasks = dict[str, Callable[[], NDArray[Any]]]
PEER_LOST = (
    "another process of this evaluation has failed (its own error says why): start again, and it continues from what "
    "was measured"
)


@dataclass(frozen=True)
class Findings:
    """What an evaluation of all images writes: ``metrics.json``, ``flags.npz``, ``examples.npz`` and, unless it is
    empty, ``properties.npz``."""

    metrics: dict[str, Any]
    flags: Arrays
    examples: Arrays
    properties: Arrays = field(default_factory=dict)


def run(make: Callable[[], Evaluation[Any]], out: Path, shard: Shard | None) -> dict[str, Any]:
    """Run the evaluation that `make` returns: a shard of it, or all, shared among the processes that torchrun started.

    Raises:
        UserError: as `make`, or a shard is asked for and there are several processes.
    """
    with ProcessGroup.joined(PEER_LOST) as processes:
        evaluation = processes.agree(make)
        if processes.size == 1:
            return evaluation.run(out) if shard is None else evaluation.run_shard(shard, out)
        if shard is not None:
            raise UserError("--shard is for a process by itself, torchrun shards by itself: leave one of the two out")
        return evaluation.run_in_team(processes, out)


def merge(make: Callable[[], Evaluation[Any]], shards: Sequence[Path], out: Path) -> dict[str, Any]:
    """Merge the shards of the evaluation that `make` returns.

    Raises:
        UserError: as `make` and :meth:`Evaluation.merge`, or there are several processes.
    """
    with ProcessGroup.joined(PEER_LOST) as processes:
        if processes.size > 1:
            raise UserError("--merge is for a process by itself: start it without torchrun")
        return make().merge(shards, out)


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
        return self._whole(out, [], self._batch_size(self.suite.batch_size))

    def merge(self, shards: Sequence[Path], out: Path) -> dict[str, Any]:
        """Write to `out`, byte for byte, what :meth:`run` would have, from what the shards measured.

        Raises:
            UserError: `shards` are not all the shards of this evaluation, each of them once.
        """
        batch_size = self._batch_size(self.suite.batch_size or recorded_batch_size(shards))
        return self._whole(out, in_order(shards, self._record(batch_size)), batch_size)

    def run_shard(self, shard: Shard, out: Path) -> dict[str, Any]:
        """Measure the images of one shard and keep the arrays in `out` for merging; return its metrics."""
        return self._part(shard, out, self._batch_size(self.suite.batch_size))

    def run_in_team(self, team: ProcessGroup, out: Path) -> dict[str, Any]:
        """Let each process measure a shard beside `out`, and the first one merge them; as :meth:`run` otherwise.

        Returns:
            In the first process the metrics of the whole, in the others those of their shard.
        """
        folder = out.with_name(f"{out.name}.shards")
        shards = [Shard(index, team.size) for index in range(team.size)]
        places = [folder / f"{shard.index}-of-{shard.count}" for shard in shards]
        batch_size = team.agree(lambda: self._batch_size(self.suite.batch_size))
        own, place = shards[team.rank], places[team.rank]
        with team.report_local_error():
            finished = is_finished(place, own, self._record(batch_size))
            metrics = self._shard_metrics(own, batch_size) if finished else self._part(own, place, batch_size)
        team.barrier()
        if team.is_rank_zero:
            metrics = self.merge(places, out)
            shutil.rmtree(folder)
        return metrics

    def _batch_size(self, wanted: int | None) -> int:
        return tried_batch_size(self.inputs.model, self.inputs.sample, self.inputs.device, wanted)

    def _record(self, batch_size: int) -> dict[str, Any]:
        return self.inputs.record(self.stage, self.suite, batch_size)

    def _part(self, shard: Shard, out: Path, batch_size: int) -> dict[str, Any]:
        fingerprint = {**self.inputs.fingerprint(self.suite, batch_size), "shard": str(shard)}
        with stage_output(out, fingerprint=fingerprint, resumable=True) as partial:
            measurement = self.inputs.measurement(batch_size, partial, shard)
            tasks = self.tasks(measurement)
            show(measurement, tasks, f"{self.stage} {shard}")
            with measurement.ready():
                for measure in tasks.values():
                    measure()
            metrics = self._shard_metrics(shard, batch_size)
            write_json(partial / RECORD, {**self._record(batch_size), "shard": str(shard)})
            write_json(partial / "metrics.json", metrics)
        return metrics

    def _shard_metrics(self, shard: Shard, batch_size: int) -> dict[str, Any]:
        sample = self.inputs.sample.part(shard.rows(len(self.inputs.sample), batch_size))
        return {
            "kind": self.suite.kind,
            "title": self.suite.title,
            "shard": str(shard),
            "samples": len(sample),
            "seed": self.suite.seed,
            "batch_size": batch_size,
            "indices_sha256": sample.indices_sha256(),
        }

    def _whole(self, out: Path, shards: Sequence[Path], batch_size: int) -> dict[str, Any]:
        with stage_output(out, fingerprint=self.inputs.fingerprint(self.suite, batch_size), resumable=True) as partial:
            measurement = self.inputs.measurement(batch_size, partial)
            tasks = self.tasks(measurement)
            if shards:
                take_over(shards, tasks, measurement)
            show(measurement, tasks, self.stage)
            with measurement.ready():
                found = self.findings(measurement)
            write_arrays(partial / "flags.npz", found.flags)
            write_arrays(partial / "examples.npz", found.examples)
            if found.properties:
                write_arrays(partial / "properties.npz", found.properties)
            write_json(partial / RECORD, record_of_all(self._record(batch_size), shards))
            write_json(partial / "metrics.json", found.metrics)
            shutil.rmtree(partial / CONDITIONS)
        return found.metrics
