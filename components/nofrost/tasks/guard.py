"""The guard: a training that was started again and again without getting anywhere ends for good.

Operators restart without end, and Kubeflow counts its own tries only. So the starts are counted in the store, in the
object ``nofrost/unfinished/KEY/starts`` beside the saves of the work; `nofrost store gc` deletes it with those.
"""

import json
import os
from contextlib import suppress

from nofrost.cluster.variables import RUN_ID
from nofrost.errors import UserError
from nofrost.store import MissingError, Store
from nofrost.tasks.run_record import json_bytes
from nofrost.tasks.stored_saves import STARTS, read_pointer

MOST_STARTS = 3


def count_start(saves: Store, title: str) -> None:
    """Count a start of a work in the run that NOFROST_RUN_ID names, since its newest save; nothing without that.

    To be called by one process, before it restores the newest save.

    Args:
        saves: the store of the saves of this work alone.
        title: the work in words, such as "train sat, seed 0".

    Raises:
        UserError: three starts in this run have made no new save.
    """
    run = os.environ.get(RUN_ID)
    if not run:
        return
    pointer = read_pointer(saves)
    since = {"run": run, "save": pointer.decode(errors="replace") if pointer else None}
    starts = _starts_since(since, saves)
    if starts >= MOST_STARTS:
        raise UserError(
            f"{title} was started {starts} times in run {run} without a new save, and is not started again: look at "
            "the errors that the run has recorded (nofrost/runs/RUN/errors in the store) and at the logs, such as for "
            "memory; then submit again, as a new run counts anew"
        )
    saves.put(STARTS, json_bytes({**since, "starts": starts + 1}))


def _starts_since(since: dict[str, str | None], saves: Store) -> int:
    try:
        text = saves.get(STARTS)
    except MissingError:
        return 0
    with suppress(ValueError, TypeError, KeyError):
        counted = json.loads(text)
        if all(counted[key] == value for key, value in since.items()):
            return int(counted["starts"])
    return 0
