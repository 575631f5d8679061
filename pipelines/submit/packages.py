"""The pipelines of a submission, compiled into a folder: the whole study, its parts, and the report on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import Documents, canonical, write_package
from pipelines.study_plan import StudyPlan
from pipelines.submit.compiled import CompiledPipeline, check_compiled


@dataclass(frozen=True)
class Packages:
    """What the pipelines of a submission are compiled with, each once: first to estimate its size, then to be written.

    Attributes:
        folder: where the packages are written.
        settings: of all graphs.
    """

    folder: Path
    settings: GraphSettings
    _compiled: dict[Any, Documents] = field(default_factory=dict, init=False, repr=False)

    def compile_study(self, plan: StudyPlan) -> Documents:
        return self._compile(make_pipeline, plan)

    def compile_part(self, plan: StudyPlan) -> Documents:
        return self._compile(make_part_pipeline, plan)

    def compile_report(self, plan: StudyPlan, outputs: Mapping[str, Any]) -> Documents:
        """Compile the pipeline that reports on a study whose parts have these outputs."""
        return canonical(make_report_pipeline(plan, outputs, self.settings))

    def write(self, documents: Documents) -> CompiledPipeline:
        """Write a package.

        Raises:
            UserError: a text in it is not ASCII.
        """
        path = self.folder / f"nofrost-{len(list(self.folder.iterdir()))}.yaml"
        write_package(path, documents)
        return check_compiled(path, documents)

    def _compile(self, make: Callable[[StudyPlan, GraphSettings], BaseComponent], plan: StudyPlan) -> Documents:
        if (make, plan) not in self._compiled:
            self._compiled[make, plan] = canonical(make(plan, self.settings))
        return self._compiled[make, plan]
