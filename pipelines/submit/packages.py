"""The pipelines of a submission, compiled into a folder: the whole study, its parts, and the report on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from nofrost.files import write_text
from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.package import Documents, canonical, package_text
from pipelines.study_plan import StudyPlan
from pipelines.submit.compiled import CompiledPipeline, check_compiled


@dataclass(frozen=True)
class Packages:
    """What the pipelines of a submission are compiled with, each once: first to estimate its size, then to be written.

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
    _compiled: dict[Any, Documents] = field(default_factory=dict, init=False, repr=False)

    def compile_study(self, plan: StudyPlan) -> Documents:
        return self._compile(make_pipeline, plan)

    def compile_part(self, plan: StudyPlan) -> Documents:
        return self._compile(make_part_pipeline, plan)

    def compile_report(self, plan: StudyPlan, outputs: Mapping[str, Any]) -> Documents:
        """Compile the pipeline that reports on a study whose parts have these outputs."""
        return canonical(make_report_pipeline(plan, outputs, self.cluster, caching=self.caching))

    def write(self, documents: Documents) -> CompiledPipeline:
        """Write a package.

        Raises:
            UserError: a text in it is not ASCII.
        """
        path = self.folder / f"nofrost-{len(list(self.folder.iterdir()))}.yaml"
        write_text(path, package_text(documents))
        return check_compiled(path, documents)

    def _compile(self, make: Callable[..., BaseComponent], plan: StudyPlan) -> Documents:
        if (make, plan) not in self._compiled:
            settings = {"shards": self.shards, "gpus": self.gpus, "nodes": self.nodes, "caching": self.caching}
            self._compiled[make, plan] = canonical(make(plan, self.cluster, **settings))
        return self._compiled[make, plan]
