"""The pipelines of a submission, compiled into a folder: the whole study, its parts, and the report on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.package import write_package
from pipelines.study_plan import StudyPlan
from pipelines.submit.compiled import CompiledPipeline, read_compiled


@dataclass(frozen=True)
class Packages:
    """What the pipelines of a submission are compiled with.

    Attributes:
        folder: where the packages are written.
        shards, gpus, nodes, caching: as for :func:`pipelines.graph.make_pipeline`.
    """

    folder: Path
    cluster: Cluster
    shards: int
    gpus: int
    nodes: int
    caching: bool

    def make_study(self, plan: StudyPlan) -> BaseComponent:
        """Return the pipeline of a study, to estimate its size."""
        return make_pipeline(plan, self.cluster, **self._settings)

    def study(self, plan: StudyPlan) -> CompiledPipeline:
        return self._compiled(self.make_study(plan))

    def part(self, plan: StudyPlan) -> CompiledPipeline:
        return self._compiled(make_part_pipeline(plan, self.cluster, **self._settings))

    def report(self, plan: StudyPlan, outputs: Mapping[str, Any]) -> CompiledPipeline:
        """Return the pipeline that reports on a study whose parts have these outputs."""
        return self._compiled(make_report_pipeline(plan, outputs, self.cluster, caching=self.caching))

    @property
    def _settings(self) -> dict[str, Any]:
        return {"shards": self.shards, "gpus": self.gpus, "nodes": self.nodes, "caching": self.caching}

    def _compiled(self, pipeline: BaseComponent) -> CompiledPipeline:
        path = self.folder / f"nofrost-{len(list(self.folder.iterdir()))}.yaml"
        write_package(path, pipeline)
        return read_compiled(path)
