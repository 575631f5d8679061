"""A study in several runs of the pipeline, one after the other: its parts, then the report on all of them.

Each part has some of the runs of the study, a recipe and seed each.

Argo keeps a whole workflow in one object of at most 1 MiB, which a large study outgrows.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from nofrost.errors import RunFailedError, UserError
from nofrost.store import Store
from nofrost.tasks.run_record import COMMON, LISTS, outputs_name, read_outputs
from pipelines.study_plan import StudyPlan
from pipelines.submit.packages import Packages
from pipelines.submit.start import StartedRun
from pipelines.workflow_size import check_size, estimate_size, runs_that_fit


def plan_parts(
    plan: StudyPlan, split: int | None, packages: Packages, arguments: Mapping[str, str], version: str
) -> list[StudyPlan]:
    """Return the parts of a study, each for a run of the pipeline; the whole study where it has at most `split` runs.

    Args:
        split: most runs of a part; 0 for as many as fit, None to refuse a study that needs more than one part.
        arguments: of the pipeline.
        version: of KFP.

    Raises:
        UserError: a part is too large for Argo, and the message says how large it may be; or the report on all is.
    """
    given, shards = dict(arguments), packages.settings.shards
    most = len(plan.runs) if split is None else split or runs_that_fit(plan, packages.compile_part, given, version)
    if split == 0 and most == len(plan.runs):
        # The pipeline of a study has a report, and so is larger than that of a part with all of its runs.
        most = runs_that_fit(plan, packages.compile_study, given, version)
    # At least one, for which the checks below have the right words.
    parts = parts_of(plan, max(1, most))
    if len(parts) == 1:
        check_size(plan, packages.compile_study, given, shards=shards, version=version, split=split)
        return parts
    # As many as fit, whichever they are, need no other check.
    for part in parts if split or most == 0 else ():
        check_size(part, packages.compile_part, given, shards=shards, version=version, split=split)
    _check_report(plan, packages, given, version)
    return parts


def _check_report(plan: StudyPlan, packages: Packages, arguments: dict[str, str], version: str) -> None:
    """Raise UserError if the report on all parts would be too large, which would end the last of all runs."""
    folders = [f"runs/{run.recipe_id}/seed-{run.seed}" for run in plan.runs]
    outputs: dict[str, Any] = {key: _made_up(f"data/{key}") for key in COMMON}
    outputs["test_sets"] = [_made_up(f"data/test-sets/{suite.suite_id}") for suite in plan.ood]
    outputs["test_sets"] += [
        _made_up(f"data/{kind}/{further.name}") for further in plan.further for kind in ("datasets", "augmentations")
    ]
    outputs["trained"] = [_made_up(f"{folder}/train") for folder in folders]
    for kind, suites in (("adversarial", plan.adversarial), ("ood", plan.ood)):
        outputs[kind] = [
            _made_up(f"{folder}/evaluate-{kind}/{suite.suite_id}") for folder in folders for suite in suites
        ]
    size = estimate_size(*packages.compile_report(plan, outputs), arguments, version)
    if max(size.shares(version).values()) > 1:
        raise UserError(
            f"the report on {len(plan.runs)} runs of the study would outgrow one workflow of Argo (1 MiB; up to KFP "
            "2.16 also 128 KiB for an argument): use fewer recipes or seeds"
        )


def _made_up(path: str) -> str:
    """Return an output that compresses as little as a real one, and is as long as one of 100 GB in 100,000 files."""
    return f"{path}@{hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()}.dir:100000000000:100000"


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
        outputs.append(_outputs_of(run.run_id, store, part))
    return _joined(outputs)


def _outputs_of(run_id: str, store: Store, part: StudyPlan) -> dict[str, Any]:
    """Return what the run of a part of the study recorded of its outputs."""
    outputs, runs = read_outputs(run_id, store), len(part.runs)
    expected = {"trained": runs, "adversarial": runs * len(part.adversarial), "ood": runs * len(part.ood)}
    if outputs is None or {key: len(outputs[key]) for key in LISTS} != expected:
        name = outputs_name(run_id)
        raise RunFailedError(
            f"{name} in {store.url} does not hold the outputs of {runs} runs of the study: submit it again"
        )
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
