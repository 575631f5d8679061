"""What a candidate says of each path, and whether the store still holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nofrost.errors import UserError
from nofrost.promotion.candidate import Candidate
from nofrost.store import Ref, Store
from nofrost.store.base import object_name
from nofrost.store.tree import Entry, address, as_object, entries_of


@dataclass(frozen=True)
class Contents:
    """The content of every path of which a run can say something.

    Attributes:
        outs: the outputs of the run.
        inputs: what no stage makes: folders of code and the source of the dataset.
        files: the files of each output that is a folder.
    """

    outs: Mapping[str, Ref]
    inputs: Mapping[str, Ref]
    files: Mapping[str, list[Entry]]

    def ref(self, path: str) -> Ref | None:
        """Return the ref of an output, of an input, or of a folder that holds outputs; None for any other path."""
        return self.outs.get(path) or self.inputs.get(path) or self._folder_of_outputs(path)

    def _folder_of_outputs(self, folder: str) -> Ref | None:
        below = {path: ref for path, ref in self.outs.items() if path.startswith(f"{folder}/")}
        if not below:
            return None
        entries = []
        for path, ref in below.items():
            relpath = path.removeprefix(f"{folder}/")
            if ref.is_dir:
                entries += [Entry(f"{relpath}/{entry.relpath}", entry.md5) for entry in self.files[path]]
            else:
                entries.append(Entry(relpath, ref.md5))
        sizes = [ref.size for ref in below.values()]
        size = None if None in sizes else sum(size or 0 for size in sizes)
        return Ref(address(as_object(entries)), size, len(entries))


def contents_of(candidate: Candidate, inputs: Mapping[str, Ref], store: Store) -> Contents:
    """Return what a candidate says of each path, after a look whether the store holds every object of its outputs.

    Args:
        inputs: what no stage makes, by path.

    Raises:
        UserError: an object is missing or a folder's list of files is altered.
    """
    _demand(candidate.run, {path: [ref.md5] for path, ref in candidate.outs.items()}, store)
    files = {
        path: entries_of(store.get(object_name(ref.md5)), ref.md5, store.url)
        for path, ref in candidate.outs.items()
        if ref.is_dir
    }
    _demand(candidate.run, {path: [entry.md5 for entry in entries] for path, entries in files.items()}, store)
    return Contents(candidate.outs, inputs, files)


def _demand(run: str, wanted: Mapping[str, Iterable[str]], store: Store) -> None:
    there = store.sizes({md5 for md5s in wanted.values() for md5 in md5s})
    for path, md5s in wanted.items():
        missing = [md5 for md5 in md5s if md5 not in there]
        if missing:
            raise UserError(
                f"{store.url} no longer holds all of {path} of run {run} ({missing[0]} is missing), so `dvc pull` "
                "could not bring it: name the store of the run with --store, or run the pipeline again"
            )
