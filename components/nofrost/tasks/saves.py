"""The saves of a resumable stage in the store: each is published when it is made, and the next try continues from it.

A task that is done leaves nothing. :mod:`nofrost.tasks.stored_saves` says where its saves are.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from nofrost.errors import UserError, remark
from nofrost.files import MARK, work_path
from nofrost.stage import FINGERPRINT, save_interval_s
from nofrost.store import AlteredError, MissingError, Ref, Store, files_of, pull
from nofrost.store.base import object_name
from nofrost.store.local_file import LocalFile, file_state
from nofrost.store.push import put_files
from nofrost.store.tree import Entry, address, as_object
from nofrost.tasks.stored_saves import POINTER, read_pointer, ref_of, saves_of

# What a stage writes last: a training the pointer to its files, an evaluation each finished batch and measurement.
_WRITTEN_LAST = ("state.json", "*.npz")
# Seconds between two looks for a new save; a look costs little beside making one.
POLL_S = 1.0
# A snapshot during which the stage has written is taken again.
_SNAPSHOTS, _SNAPSHOT_WAIT_S = 20, 0.05


@contextmanager
def checkpointed_in_store(out: Path, depends_on: Sequence[str], store: Store) -> Iterator[None]:
    """Keep the saves of a resumable stage in the store, so that another try, on any machine, continues from the newest.

    The newest save of an earlier try is restored first. Each save of this try is published as soon as it is made, in a
    thread, for which the stage does not wait; files that the store has from the save before are not sent again, and
    what only older saves needed is deleted. A block that fails or is stopped publishes its last save. An error of the
    store does not make the stage fail: it is tried again with the next save.

    The block has to push the output: when it ends without an error, the saves of this task are deleted.

    Args:
        out: the folder that the stage writes; its saves are in ``.OUT.nofrost-partial``.
        depends_on: what the output depends on, as text; a save of another configuration is never restored.

    Raises:
        UserError: the store does not answer, so that it is not known whether there is a save; or the interval of saves
            (see :func:`nofrost.stage.save_interval_s`) is wrong.
    """
    saves = _Saves(work_path(out, "partial"), saves_of(out, depends_on, store))
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
    saves.discard()


class _Saves:
    """The saves in a partial output, and the store of this task alone to which they are published."""

    def __init__(self, partial: Path, store: Store) -> None:
        self._partial, self._store = partial, store
        # The stage replaces files and deletes them, also while they are sent: these links keep them.
        self._links = work_path(partial, "kept")
        self._longest_rest_s = save_interval_s() / 4
        # The files of the newest published save by path.
        self._published: Mapping[str, LocalFile] = {}
        # The addresses that the newest save in the store needs, and those that the store may hold because of this task.
        self._stored: set[str] = set()
        self._held: set[str] = set()
        # What the pointer is unless another task has published: what was restored or written last, and if that failed,
        # perhaps only in appearance, what was before. And whether another task ever has.
        self._own: set[bytes | None] = {None}
        self._has_twin = False
        # The files that a stage writes last, as they were when the newest save was published.
        self._seen: Mapping[str, tuple[int, ...]] = {}
        self._problem = ""

    def restore(self) -> None:
        """Pull the newest save to the partial output, if there is one."""
        while (pointer := read_pointer(self._store)) is not None:
            self._own = {pointer}
            try:
                ref = ref_of(pointer, self._store)
                pull(ref, self._partial, self._store)
                self._stored = {ref.md5, *files_of(ref, self._store).values()}
                self._held = set(self._stored)
                self._seen = self._written_last()
                return
            except (MissingError, AlteredError) as error:
                # A try that still lives deletes a save when it has published two more; then these are to be restored.
                if read_pointer(self._store) == pointer:
                    remark(f"the save of an earlier try is not whole ({error}): the work begins from scratch")
                    return

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

    def discard(self) -> None:
        """Delete all saves of this task, whatever pod published them. What cannot be deleted is left to gc."""
        with suppress(OSError, UserError):
            names = self._store.objects("")
            if names:
                # First, since a pointer to a save that is not whole would be taken for damage.
                self._store.delete([POINTER])
                self._store.delete(names)

    def _snapshot(self) -> dict[str, LocalFile]:
        """Return all files of the newest save by path: new ones as links, the others where the stage has them.

        Raises:
            UserError: the stage writes all the time.
        """
        for _ in range(_SNAPSHOTS):
            # A file that was just deleted is one more reason to begin again.
            with suppress(FileNotFoundError):
                states = _states(self._partial)
                shutil.rmtree(self._links, ignore_errors=True)
                known = {
                    path: replace(file, path=self._partial / path)
                    for path, file in self._published.items()
                    if file_state(file.status) == states.get(path)
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
        by_address = {file.md5: file for file in files.values()}
        self._put_files([file for md5, file in by_address.items() if md5 not in self._stored])
        listing = as_object(Entry(path, file.md5) for path, file in files.items())
        ref = Ref(address(listing), sum(file.size for file in files.values()), len(files))
        # Kubernetes starts the task again when it loses a node, on which the pod may live on: a twin, which publishes
        # saves of the same task and deletes what these replace, also files that this pod sent or restored, and needs.
        # From then on this task relies on no file that it does not see in the store.
        is_alone = read_pointer(self._store) in self._own
        self._has_twin |= not is_alone
        if self._has_twin:
            sizes = self._store.sizes(by_address)
            self._put_files([file for md5, file in by_address.items() if sizes.get(md5) != file.size])
        self._held.add(ref.md5)
        self._store.put(object_name(ref.md5), listing)
        pointer = str(ref).encode()
        self._own.add(pointer)
        self._store.put(POINTER, pointer)
        self._own = {pointer}
        before, self._stored, self._published = self._stored, {ref.md5, *by_address}, files
        # What a twin has just published may need anything that is in the store.
        if is_alone:
            self._delete_all_but(before | self._stored)

    def _put_files(self, files: Sequence[LocalFile]) -> None:
        self._held.update(file.md5 for file in files)
        put_files(files, self._store)

    def _delete_all_but(self, needed: set[str]) -> None:
        """Delete what this task has sent or restored except for `needed`; what cannot be deleted is left to gc.

        `needed` has the save before the newest as well: somebody may have read the pointer to it just before.
        """
        replaced = self._held - needed
        with suppress(OSError, UserError):
            # A twin may have published in between, and rely on what it has seen in the store.
            if replaced and read_pointer(self._store) in self._own:
                self._held &= needed
                self._store.delete(map(object_name, replaced))

    def _written_last(self) -> Mapping[str, tuple[int, ...]]:
        with suppress(FileNotFoundError):
            return {
                path: state
                for path, state in _states(self._partial).items()
                if any(Path(path).match(pattern) for pattern in _WRITTEN_LAST)
            }
        return self._seen


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells each file in the folder from another that takes its place; without temporary files."""
    return {
        path.relative_to(folder).as_posix(): file_state(path.stat())
        for path in folder.rglob("*")
        if MARK not in path.name and path.is_file()
    }


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, link)
    except FileNotFoundError:
        raise
    except OSError:
        # A disk without hard links.
        shutil.copy2(path, link)
