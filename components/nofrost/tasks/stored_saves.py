"""What saves are in the store, and which of them are needed.

The saves of one task, in whatever run, are in a store of their own, below ``nofrost/unfinished/KEY/``. So what a newer
save has replaced can be deleted without asking what else may need it: by the task that replaced it, or by
``nofrost store gc`` if that was killed before.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.store import AlteredError, Leftover, MissingError, Ref, Store, files_of
from nofrost.store.base import StoredObject, object_name

UNFINISHED = "nofrost/unfinished/"
# Holds the ref of the newest save, and is written after everything else of it.
POINTER = "save"
# Counts the starts of a task since its newest save (:mod:`nofrost.tasks.start_limit`).
STARTS = "starts"
# The newest save is needed until no task has continued from it for this time.
_GIVEN_UP_AFTER_S = 30 * 24 * 3600.0


def saves_of(out: Path, depends_on: Sequence[str], store: Store) -> Store:
    """Return the store of the saves of one task alone.

    Args:
        out: the folder that the task writes, of which the name alone counts.
        depends_on: what the output depends on, as text.
    """
    key = hashlib.sha256(json.dumps({"out": out.name, "depends_on": list(depends_on)}).encode()).hexdigest()
    return store.below(UNFINISHED + key)


def read_pointer(store: Store) -> bytes | None:
    """Return the pointer to the newest save of a task; None if there is none."""
    try:
        return store.get(POINTER)
    except MissingError:
        return None


def ref_of(pointer: bytes, store: Store) -> Ref:
    """Return the ref that a pointer contains.

    Raises:
        AlteredError: it is not a ref.
    """
    try:
        return Ref.parse(pointer.decode(errors="replace"))
    except UserError as error:
        raise AlteredError(f"{POINTER} in {store.url}: {error}") from None


def sweep_saves(store: Store, least_age_s: float, *, delete: bool) -> list[Leftover]:
    """Return the objects of saves that a newer one has replaced, after deleting those that are dead if `delete` is set.

    Tasks delete them themselves unless they are killed before or may not. The newest save of a task and the count of
    its starts stay, until no task has continued from it for 30 days.

    Args:
        least_age_s: age in seconds from which on an object is dead; a younger one may belong to a save that is being
            published.
    """
    tasks: dict[str, dict[str, StoredObject]] = defaultdict(dict)
    for name, stored in store.objects(UNFINISHED).items():
        tasks[name.removeprefix(UNFINISHED).partition("/")[0]][name] = stored
    now, leftovers = time.time(), []
    for key, objects in sorted(tasks.items()):
        given_up = now - max(stored.changed for stored in objects.values()) >= _GIVEN_UP_AFTER_S
        needed = set() if given_up else {STARTS, *_names_of_newest_save(store.below(UNFINISHED + key))}
        for name, stored in sorted(objects.items()):
            if name.removeprefix(f"{UNFINISHED}{key}/") not in needed:
                leftovers.append(Leftover(name, stored.size, now - stored.changed >= least_age_s))
    if delete:
        store.delete([leftover.name for leftover in leftovers if leftover.is_dead])
    return leftovers


def _names_of_newest_save(store: Store) -> set[str]:
    """Return the names of all objects that the newest save of a task needs; none if it is not whole."""
    with suppress(MissingError, AlteredError):
        pointer = read_pointer(store)
        if pointer is not None:
            ref = ref_of(pointer, store)
            return {POINTER, *map(object_name, {ref.md5, *files_of(ref, store).values()})}
    return set()
