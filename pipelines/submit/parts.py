"""A study in several runs of the pipeline, one after the other: its parts, then the report on all of them.

Argo keeps a whole workflow in one object of at most 1 MiB, which a large study outgrows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from nofrost.errors import RunFailedError
from nofrost.store import Store
from nofrost.tasks.run_record import COMMON, LISTS, outputs_name, read_outputs
from pipelines.study_plan import StudyPlan
from pipelines.submit.packages import Packages
from pipelines.submit.start import StartedRun
from pipelines.workflow_size import check_size, runs_that_fit


def plan_parts(
    plan: StudyPlan, split: int | None, packages: Packages, arguments: Mapping[str, str], version: str
) -> list[StudyPlan]:
    """Return the parts of a study that are runs of their own; the whole study where it fits into one.

    Args:
        split: most runs of a part; 0 for as many as fit, None to refuse a study that needs more than one.
        arguments: of the pipeline.
        version: of KFP.

    Raises:
        UserError: a part is too large for Argo; the message says how large it may be.
    """
    make, given = packages.make_study, dict(arguments)
    parts = [plan]
    if split is not None:
        # At least one, for which the check below has the right words.
        parts = parts_of(plan, split or max(1, runs_that_fit(plan, make, given, version)))
    largest = max(parts, key=lambda part: len(part.runs))
    check_size(largest, make, given, shards=packages.shards, version=version)
    return parts


def parts_of(plan: StudyPlan, most: int) -> list[StudyPlan]:
    """Split a plan into plans of about the same number of runs, at most `most` each, in the order of the study."""
    count = -(-len(plan.runs) // most)
    cuts = [len(plan.runs) * index // count for index in range(count + 1)]
    return [replace(plan, runs=plan.runs[first:last]) for first, last in pairwise(cuts)]


def run_parts(
    parts: Sequence[StudyPlan], complete_part: Callable[[StudyPlan, str], StartedRun], store: Store
) -> dict[str, Any]:
    """Complete the runs of all parts, one after the other, and return their outputs as those of one run.

    Args:
        complete_part: runs a part, whose name ends as the second argument says.

    Raises:
        RunFailedError: a run did not succeed, or its outputs are not in the store.
    """
    outputs = []
    for number, part in enumerate(parts, 1):
        run = complete_part(part, f", part {number} of {len(parts)}")
        outputs.append(_outputs_of(run.run_id, store, len(part.runs)))
    return _joined(outputs)


def _outputs_of(run_id: str, store: Store, runs: int) -> dict[str, Any]:
    """Return what the run of a part with so many recipes and seeds recorded of its outputs."""
    outputs = read_outputs(run_id, store)
    if outputs is None or {len(outputs[key]) for key in LISTS} != {runs}:
        name = outputs_name(run_id)
        raise RunFailedError(f"{name} in {store.url} does not hold the outputs of {runs} runs: submit the study again")
    return outputs


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the outputs of all parts as those of one run; raise RunFailedError if their datasets are not the same."""
    for number, part in enumerate(parts, 1):
        for key in COMMON:
            if part[key] != parts[0][key]:
                raise RunFailedError(
                    f"part {number} of the study has the {key} {part[key]} and part 1 has {parts[0][key]}: the image "
                    "or the source data gave something else, so submit the study again"
                )
    common = {key: parts[0][key] for key in COMMON}
    return {**common, **{key: [text for part in parts for text in part[key]] for key in LISTS}}
