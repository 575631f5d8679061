"""The ends of a run: its dvc.lock candidate when all went well, and in any case how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from nofrost.store import Output, Ref, open_store
from nofrost.tasks.ending import exit_on_error
from nofrost.tasks.plan import study_of


@exit_on_error
def write_candidate(study: str, source: str, outputs: Sequence[str], run: str, image: str, store: str) -> str:
    """Leave the candidate that `nofrost promote RUN` merges into dvc.lock; returns its name in the store.

    Args:
        study: the study that was run.
        source: ref of the source of the dataset, or empty.
        outputs: everything that the run made.
        run: id of the run.
        image: the image in which the stages ran.
    """
    from nofrost import promotion

    return promotion.write_candidate(
        [Output.parse(text) for text in outputs],
        study=study_of(study),
        run=run,
        image=image,
        source=Ref.parse(source) if source else None,
        store=open_store(store),
    )


@exit_on_error
def finish(run: str, state: str, error: str, store: str) -> str:
    """Note in the store how the run ended, whatever happened; returns the note's name.

    Args:
        state: as Kubeflow says it: SUCCEEDED, FAILED or CANCELLED.
        error: the message of the task that failed, or empty.
    """
    name = f"nofrost/runs/{run}.json"
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"run": run, "state": state, "error": error, "ended": ended}
    open_store(store).put(name, (json.dumps(note, indent=2) + "\n").encode())
    print(f"run {run}: {state}" + (f": {error}" if error else ""))
    return name
