"""What a run left in the store about its end: the errors of its tasks, and the note of `finish`.

Kubeflow's API has neither the message nor the exit code of a task.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nofrost.errors import UserError, remark
from nofrost.store import MissingError, Store

FOLDER = "nofrost/runs"


@dataclass(frozen=True)
class TaskError:
    """How a task ended that did not succeed; `exit_code` 2 stands for wrong input."""

    task: str
    exit_code: int
    message: str


def errors_of_tasks(run_id: str, store: Store) -> list[TaskError]:
    """Return the errors that the tasks of a run wrote, by the names of the tasks; none, with a remark, if the store
    cannot be read from here."""
    try:
        names = store.names(f"{FOLDER}/{run_id}/errors/")
        notes = [(name, _read(name, store)) for name in names]
    except UserError as error:
        remark(f"the errors that tasks of run {run_id} may have written cannot be read: {error}")
        return []
    return list(_parsed(notes))


def note_of_finish(run_id: str, store: Store) -> str | None:
    """Return how `finish` says that the run ended; None if it did not run, or the store cannot be read from here."""
    try:
        note = _read(f"{FOLDER}/{run_id}.json", store)
    except UserError as error:
        if not isinstance(error, MissingError):
            remark(f"how run {run_id} ended cannot be read: {error}")
        return None
    if not note.get("state"):
        return None
    return f"{note['state']}: {note['error']}" if note.get("error") else str(note["state"])


def _parsed(notes: list[tuple[str, dict[str, Any]]]) -> Iterator[TaskError]:
    for name, note in notes:
        try:
            yield TaskError(str(note["task"]), int(note["exit_code"]), " ".join(str(note["message"]).split()))
        except (KeyError, TypeError, ValueError):
            remark(f"{name} in the store is no error of a task: it is not shown")


def _read(name: str, store: Store) -> dict[str, Any]:
    """Return a note; empty if it is not one."""
    try:
        note = json.loads(store.get(name))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        return {}
    return note if isinstance(note, dict) else {}
