"""The errors that ended tasks of a run, in the store: pods and their logs may be gone before anybody looks.

Each is a small object ``nofrost/runs/RUN/errors/TASK.json`` with the keys of :class:`RecordedError`; of a training on
several nodes each has its own, ``TASK-node-N.json`` but for node 0.
"""

import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from nofrost.cluster.job.identity import RUN_ID
from nofrost.ends import End, first_cause
from nofrost.errors import PeerLostError, remark
from nofrost.limits import whole_number
from nofrost.masking import without_secrets
from nofrost.store import MissingError, Store, open_store
from nofrost.tasks.run_record import errors_prefix, json_bytes

# A store that does not answer delays the end of a task that failed by no more.
_PATIENCE_S = 20.0
# Nodes that fail together end within this time: until they notice it, have saved, and have heard of each other.
_SAME_TRY_S = 300.0
_LONGEST = 2000
# What the name of a record ends with, after that of the task.
_OF_NODE = re.compile(r"(-node-[0-9]+)?\.json")


@dataclass(frozen=True)
class RecordedError:
    """How a task ended.

    Attributes:
        task: in words, such as "train sat, seed 0".
        exit_code: of its process; see :mod:`nofrost.errors`.
        message: a sentence, or of a bug the type and the message of the exception.
        time: in UTC, in the form of ISO 8601.
        input_is_wrong: the same would end the same on every machine. A full disk, for example, is no wrong input,
            though its exit code is 2.
    """

    task: str
    exit_code: int
    message: str
    time: str
    input_is_wrong: bool

    @property
    def end(self) -> End:
        """The end of the task's process, or of one of its nodes."""
        return End(self.exit_code, self.message, datetime.fromisoformat(self.time).timestamp())


def record_error(task: str, exit_code: int, message: str, store: str, *, input_is_wrong: bool = False) -> None:
    """Write the error of a task of the run that NOFROST_RUN_ID names; nothing without it.

    Secrets are left out. A store that refuses or does not answer is no error: the task has one already. That another
    node of the task is gone says nothing about why: such an error takes the place of no other one of this node.
    """
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    error = RecordedError(task, exit_code, without_secrets(message)[:_LONGEST], ended, input_is_wrong)

    # Also where the variables of the nodes are what is wrong.
    node = whole_number(os.environ.get("PET_NODE_RANK", "")) or 0

    def put(prefix: str) -> None:
        opened, name = open_store(store), f"{prefix}-node-{node}.json" if node else f"{prefix}.json"
        if exit_code != PeerLostError.exit_code or name not in opened.objects(name):
            opened.put(name, json_bytes(asdict(error)))

    _in_time(put, task)


def clear_error(task: str, store: str) -> None:
    """Delete what all nodes of an earlier try of a task, which now has succeeded, have recorded."""

    def delete(prefix: str) -> None:
        opened = open_store(store)
        opened.delete([name for name in opened.objects(prefix) if _OF_NODE.fullmatch(name.removeprefix(prefix))])

    _in_time(delete, task)


def errors_of(run: str, store: Store, since: datetime | None = None) -> list[RecordedError]:
    """Return one error for each task of a run that has failed, the first that ended first.

    Of a training on several nodes that is the cause of the others, by the order of :func:`nofrost.ends.first_cause`,
    among the nodes whose errors belong to the newest try.

    Args:
        since: older errors are left out.
    """
    errors: dict[str, dict[End, RecordedError]] = defaultdict(dict)
    for name in store.objects(errors_prefix(run)):
        # A try that succeeds deletes the error of the one before.
        with suppress(MissingError):
            content = store.get(name)
            try:
                error = RecordedError(**json.loads(content))
                end = error.end
            except (ValueError, TypeError):
                remark(f"{name} in {store.url} is no error of a task, and is left out")
                continue
            if since is None or end.at >= since.timestamp():
                errors[error.task][end] = error
    return sorted(map(_cause, errors.values()), key=lambda error: error.time)


def _cause(errors: Mapping[End, RecordedError]) -> RecordedError:
    newest = max(end.at for end in errors)
    return errors[first_cause(end for end in errors if newest - end.at <= _SAME_TRY_S)]


def _in_time(use: Callable[[str], object], task: str) -> None:
    """Call `use` with what the names of a task's records begin with, without an error, and not for longer than a failed
    task may wait.
    """
    run = os.environ.get(RUN_ID)
    if not run:
        return

    def call() -> None:
        # Whatever a store can raise: the end of the task is decided already.
        with suppress(Exception):
            use(errors_prefix(run) + _file_name(task))

    thread = threading.Thread(target=call, name="error", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)


def _file_name(task: str) -> str:
    words = task.replace(", ", "-").replace(" ", "-").replace("/", "-of-")
    return quote(words, safe="=")
