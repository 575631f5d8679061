"""How large the workflow of a compiled pipeline becomes, and how many runs of a study fit into one.

Argo keeps a workflow in one Kubernetes object: its specification as JSON, and the statuses of its nodes as gzip in
base64 (`workflow/packer/packer.go`). When both together grow beyond 1 MiB the workflow fails in the middle of the run.
The estimate writes such a specification and such statuses (:mod:`pipelines.workflow`) and compresses them. Beside an
independent estimate of graphs like these (12 and 24 runs in 4 shards, 36 in one) it is 4 to 11 % higher for KFP up to
2.16 and 5 to 10 % lower for 2.17. Neither was measured on a cluster, and each may be wrong by 30 %. So the
estimate and a fifth of it must fit.

Up to KFP 2.16 the text of a component is also an argument of its driver, which Linux limits to 128 KiB; the nested
pipelines with all runs are the longest.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nofrost.errors import UserError
from pipelines.package import Documents, package_text
from pipelines.study_plan import StudyPlan
from pipelines.workflow import Workflow

Json = dict[str, Any]
Compile = Callable[[StudyPlan], Documents]
VERSION = "2.17"  # whose workflows are the largest
WORKFLOW_LIMIT = 1024 * 1024
ARGUMENT_LIMIT = 128 * 1024
RESERVE = 0.2
# Runs that are compiled at first of a larger study. The time grows with their square: 300 take 10 s, 28 half a second.
FIRST = 32


@dataclass(frozen=True)
class WorkflowSize:
    """Estimated size of one run of a pipeline in which every task runs once.

    Attributes:
        tasks: pods that work.
        pods: with the drivers, one for each task and each nested pipeline.
        package_bytes: of the compiled pipeline as YAML.
        workflow_bytes: of the Argo workflow when all has run.
        argument_bytes: of the longest argument of a driver.
    """

    tasks: int
    pods: int
    package_bytes: int
    workflow_bytes: int
    argument_bytes: int

    def __str__(self) -> str:
        package, workflow = self.package_bytes / 1000, self.workflow_bytes / 1000
        share = f"{self.workflow_bytes / WORKFLOW_LIMIT:.0%} of what Argo allows"
        return (
            f"{self.tasks} tasks, {self.pods} pods with the drivers; a package of {package:.0f} kB; a workflow of "
            f"about {workflow:.0f} kB, {share}"
        )

    def shares(self, version: str = VERSION) -> dict[str, float]:
        """Return how much of each limit it takes, that of the workflow with the reserve."""
        workflow = {"workflow": self.workflow_bytes * (1 + RESERVE) / WORKFLOW_LIMIT}
        return workflow if is_retried(version) else {**workflow, "argument": self.argument_bytes / ARGUMENT_LIMIT}


def estimate_size(spec: Json, platform: Json, arguments: Json, version: str = VERSION) -> WorkflowSize:
    """Estimate the size of a run of a compiled pipeline.

    Args:
        spec, platform: the two documents of the package.
        arguments: parameters of the run.
        version: of KFP. The default manifests of 2.17 wrap every node in another one for its retries.
    """
    workflow = Workflow(spec, platform, arguments, retried=is_retried(version))
    status = base64.b64encode(gzip.compress(workflow.status_text().encode(), compresslevel=6))
    return WorkflowSize(
        tasks=workflow.tasks,
        pods=workflow.pods,
        package_bytes=len(package_text((spec, platform))),
        workflow_bytes=workflow.spec_bytes + len(status),
        argument_bytes=workflow.largest_argument,
    )


def is_retried(version: str) -> bool:
    """Return whether the default manifests of a version of KFP retry every node. Its drivers also read files."""
    return tuple(int(part) for part in version.split(".")[:2]) >= (2, 17)


def runs_that_fit(plan: StudyPlan, compiled: Compile, arguments: Json, version: str = VERSION) -> int:
    """Return how many runs of a study fit into one workflow, whichever they are; 0 if one does not fit.

    Args:
        compiled: compiles the pipeline of a plan, such as :func:`pipelines.graph.make_part_pipeline` with its settings.
        arguments: parameters of the run.
        version: of KFP.
    """
    longest = sorted(plan.runs, key=lambda run: len(run.recipe), reverse=True)

    def share(count: int) -> float:
        part = plan if count == len(longest) else replace(plan, runs=tuple(longest[:count]))
        return max(estimate_size(*compiled(part), arguments, version).shares(version).values())

    fitting, fitting_share = 0, 0.0
    count = min(FIRST, len(longest))
    while (count_share := share(count)) <= 1:
        if count == len(longest):
            return count
        fitting, fitting_share = count, count_share
        count = min(2 * count, len(longest))
    too_many, too_large = count, count_share
    while too_many - fitting > 1:
        # Every run adds about the same.
        guess = fitting + int((too_many - fitting) * (1 - fitting_share) / (too_large - fitting_share))
        count = min(max(guess, fitting + 1), too_many - 1)
        if (count_share := share(count)) <= 1:
            fitting, fitting_share = count, count_share
        else:
            too_many, too_large = count, count_share
    return fitting


def check_size(
    plan: StudyPlan,
    compiled: Compile,
    arguments: Json,
    *,
    shards: int,
    version: str = VERSION,
    split: int | None = None,
) -> None:
    """Check that all runs of a study fit into one workflow.

    Args:
        compiled, arguments, version: as for :func:`runs_that_fit`.
        shards: of every evaluation, for the message.
        split: the number that was given with ``--split``, for the message.

    Raises:
        UserError: they do not; the message says how many do, and how to submit more.
    """
    fitting = runs_that_fit(plan, compiled, arguments, version)
    if fitting == len(plan.runs):
        return
    limit = (
        f"{len(plan.runs)} runs of the study at --shards {shards} would outgrow one workflow of Argo (1 MiB; up to "
        "KFP 2.16 also 128 KiB for an argument)"
    )
    if fitting == 0:
        raise UserError(f"{limit}, and so would a single one: use fewer shards")
    if split:
        raise UserError(f"{limit}: give --split {fitting} or less, or no number")
    raise UserError(
        f"{limit}: any {fitting} of them fit; submit with --split, which makes several runs of the pipeline, or use "
        "fewer shards or seeds"
    )
