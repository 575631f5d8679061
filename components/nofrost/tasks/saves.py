"""The saves of a resumable stage in the store: each is published when it is made, and the next try goes on from it.

The saves of one work are in a store of their own, below ``nofrost/unfinished/KEY/``. So what a newer save has replaced
can be deleted without asking what else may need it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError, remark
from nofrost.files import MARK, work_path
from nofrost.stage import FINGERPRINT, save_interval_s
from nofrost.store import AlteredError, Leftover, MissingError, Ref, Store, files_of, pull
from nofrost.store.base import StoredObject, object_name
from nofrost.store.local_file import LocalFile
from nofrost.store.threads import for_each
from nofrost.store.tree import Entry, address, as_object

UNFINISHED = "nofrost/unfinished/"
# Holds the ref of the newest save, and is written after everything else of it.
POINTER = "save"
# What a stage writes last: a training the pointer to its files, an evaluation each finished batch and measurement.
_WRITTEN_LAST = ("state.json", "*.npz")
# Seconds between two looks for a new save; a look costs little beside making one.
POLL_S = 1.0
# A snapshot during which the stage has written is taken again.
_SNAPSHOTS, _SNAPSHOT_WAIT_S = 20, 0.05
# The newest save is needed until nobody has gone on with it for so long.
_GIVEN_UP_AFTER_S = 30 * 24 * 3600.0


@contextmanager
def checkpointed_in_store(out: Path, depends_on: Sequence[str], store: Store) -> Iterator[None]:
    """Keep the saves of a resumable stage in the store, so that another try, on any machine, goes on from the newest.

    The newest save of an earlier try is restored first. Each save of this try is published as soon as it is made, in a
    thread, for which the stage does not wait; files that the store has from the save before are not sent again. A
    stage that fails or is stopped publishes its last save. An error of the store does not make the stage fail: it is
    tried again with the next save.

    Args:
        out: the folder that the stage writes; its saves are in ``.OUT.nofrost-partial``.
        depends_on: what the output depends on, as text; a save of another configuration is never restored.

    Raises:
        UserError: the store does not answer, so that it is not known whether there is a save; or the interval of saves
            (see :func:`nofrost.stage.save_interval_s`) is wrong.
    """
    key = hashlib.sha256(json.dumps({"out": out.name, "depends_on": list(depends_on)}).encode()).hexdigest()
    saves = _Saves(work_path(out, "partial"), store.below(UNFINISHED + key))
    saves.restore()
    stop = threading.Event()
    thread = threading.Thread(target=saves.publish_until, args=(stop,), name="saves", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        stop.set()
        thread.join()
        saves.publish()
        raise
    stop.set()
    thread.join()


class _Saves:
    """The saves in a partial output, and the store of this work alone to which they are published."""

    def __init__(self, partial: Path, store: Store) -> None:
        self._partial, self._store = partial, store
        # The stage replaces files and deletes them, also while they are sent: these links keep them.
        self._links = work_path(partial, "kept")
        self._longest_rest_s = save_interval_s() / 4
        # The files of the newest published save by path, and the addresses that the store surely holds.
        self._published: Mapping[str, LocalFile] = {}
        self._stored: set[str] = set()
        # The files that a stage writes last, as they were when the newest save was published.
        self._seen: Mapping[str, tuple[int, ...]] = {}
        self._problem = ""

    def restore(self) -> None:
        """Pull the newest save to the partial output, if there is one."""
        try:
            ref = _newest_save(self._store)
            if ref is not None:
                pull(ref, self._partial, self._store)
                self._stored = set(files_of(ref, self._store).values())
                self._seen = self._written_last()
        except (MissingError, AlteredError) as error:
            remark(f"the save of an earlier try is not whole ({error}): the work begins anew")

    def publish_until(self, stop: threading.Event) -> None:
        """Publish every save that is made until `stop` is set."""
        rest = POLL_S
        while not stop.wait(rest):
            began = time.monotonic()
            self.publish()
            # At most a tenth of the time goes into publishing, also where something is saved every second.
            rest = max(POLL_S, min(10 * (time.monotonic() - began), self._longest_rest_s))

    def publish(self) -> None:
        """Publish the newest save unless the store has it. What prevents that is said, but once."""
        seen = self._written_last()
        if seen == self._seen:
            return
        try:
            self._send(self._snapshot())
            self._seen, self._problem = seen, ""
        except (OSError, UserError) as error:
            if str(error) != self._problem:
                remark(f"the newest save is not in the store yet, and is tried again: {error}")
            self._problem = str(error)
        finally:
            shutil.rmtree(self._links, ignore_errors=True)

    def _snapshot(self) -> dict[str, LocalFile]:
        """Return all files of the newest save by path, those that are new as links.

        Raises:
            UserError: the stage writes all the time.
        """
        for _ in range(_SNAPSHOTS):
            # A file that was just deleted is one more reason to begin again.
            with suppress(FileNotFoundError):
                states = _states(self._partial)
                shutil.rmtree(self._links, ignore_errors=True)
                known = {
                    path: file for path, file in self._published.items() if _state(file.status) == states.get(path)
                }
                for path in states.keys() - known.keys():
                    _link(self._partial / path, self._links / path)
                if _states(self._partial) == states:
                    return {path: known.get(path) or LocalFile.of(self._links / path) for path in states}
            time.sleep(_SNAPSHOT_WAIT_S)
        raise UserError(f"{self._partial} changes all the time")

    def _send(self, files: Mapping[str, LocalFile]) -> None:
        # An output that is being completed has no fingerprint any more, and is no save.
        if FINGERPRINT not in files:
            return
        new = list({file.md5: file for file in files.values() if file.md5 not in self._stored}.values())
        jobs = max(1, self._store.jobs // max(1, len(new)))
        for_each(lambda file: self._store.put_file(file, jobs), new, jobs=self._store.jobs, done=lambda _: None)
        listing = as_object(Entry(path, file.md5) for path, file in files.items())
        md5 = address(listing)
        self._store.put(object_name(md5), listing)
        ref = Ref(md5, sum(file.size for file in files.values()), len(files))
        self._store.put(POINTER, str(ref).encode())
        self._published, self._stored = files, {file.md5 for file in files.values()}

    def _written_last(self) -> Mapping[str, tuple[int, ...]]:
        with suppress(FileNotFoundError):
            return {
                path: state
                for path, state in _states(self._partial).items()
                if any(Path(path).match(pattern) for pattern in _WRITTEN_LAST)
            }
        return self._seen


def sweep_saves(store: Store, least_age_s: float, *, delete: bool) -> list[Leftover]:
    """Return the objects of saves that a newer one has replaced, after deleting those that are dead if `delete` is set.

    The newest save of a work stays, until nobody has gone on with it for 30 days.

    Args:
        least_age_s: age in seconds from which on an object is dead; a younger one may belong to a save that is being
            published.
    """
    works: dict[str, dict[str, StoredObject]] = defaultdict(dict)
    for name, stored in store.objects(UNFINISHED).items():
        works[name.removeprefix(UNFINISHED).partition("/")[0]][name] = stored
    now, leftovers = time.time(), []
    for key, objects in sorted(works.items()):
        given_up = now - max(stored.changed for stored in objects.values()) >= _GIVEN_UP_AFTER_S
        needed = set() if given_up else _names_of_newest_save(store.below(UNFINISHED + key))
        for name, stored in sorted(objects.items()):
            if name.removeprefix(f"{UNFINISHED}{key}/") not in needed:
                leftovers.append(Leftover(name, stored.size, now - stored.changed >= least_age_s))
    if delete:
        store.delete([leftover.name for leftover in leftovers if leftover.is_dead])
    return leftovers


def _newest_save(store: Store) -> Ref | None:
    """Return the ref of the newest save of a work; None if there is none.

    Raises:
        AlteredError: the pointer is not a ref.
    """
    try:
        text = store.get(POINTER).decode(errors="replace")
    except MissingError:
        return None
    try:
        return Ref.parse(text)
    except UserError as error:
        raise AlteredError(f"{POINTER} in {store.url}: {error}") from None


def _names_of_newest_save(store: Store) -> set[str]:
    """Return the names of all objects that the newest save of a work needs; none if it is not whole."""
    with suppress(MissingError, AlteredError):
        ref = _newest_save(store)
        if ref is not None:
            return {POINTER, *map(object_name, {ref.md5, *files_of(ref, store).values()})}
    return set()


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells each file in the folder from another that takes its place; without temporary files."""
    return {
        path.relative_to(folder).as_posix(): _state(path.stat())
        for path in folder.rglob("*")
        if MARK not in path.name and path.is_file()
    }


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, link)
    except FileNotFoundError:
        raise
    except OSError:
        # A disk without hard links.
        shutil.copy2(path, link)
