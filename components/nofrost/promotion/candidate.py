"""The candidate that a run writes to the store. It has only what the run alone knows; dvc.yaml supplies the rest."""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer, ValidationError

import nofrost
from nofrost.config import Study
from nofrost.config.base import Schema
from nofrost.config.yaml_text import as_yaml, parse
from nofrost.errors import UserError
from nofrost.store import MissingError, Output, Ref, Store
from nofrost.store.ref import is_relative_posix
from nofrost.store.tree import Entry, address, as_object, read_entries

# The folder in the store has its old name, so that runs of earlier versions can be promoted.
_FOLDER = "nofrost/locks"
_SCHEMA = 1
_PACKAGE_IN_CHECKOUT = "components/nofrost"
_CACHE = "__pycache__"  # ignored in .dvcignore too, with *.pyc


def _run_id(run: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", run):
        raise UserError(f"{run!r} cannot be the id of a run: use letters, digits, '-', '_' and '.', at most 200")
    return run


def _ref(value: object) -> Ref:
    return value if isinstance(value, Ref) else Ref.parse(str(value))


def _path(path: str) -> str:
    if not is_relative_posix(path):
        raise UserError(f"{path!r} is not a path inside a checkout")
    return path


_Path = Annotated[str, AfterValidator(_path)]
_Ref = Annotated[Ref, BeforeValidator(_ref), PlainSerializer(str, return_type=str)]


class Candidate(Schema):
    """Results of a run: its study, code and outputs.

    Attributes:
        run: id of the run.
        finished: when the candidate was written.
        nofrost: version of the package in the image.
        image: the image in which the stages ran.
        study: the study with everything spelled out, as params.yaml has it.
        source: what the dataset was prepared from; None when the study reads no files.
        code: each folder and file of the installed package by its path in a checkout, such as components/nofrost/train.
        outs: each output by its path in a checkout.
    """

    run: Annotated[str, AfterValidator(_run_id)]
    finished: AwareDatetime
    nofrost: str
    image: str
    study: dict[str, Any]
    source: _Ref | None
    code: dict[_Path, _Ref]
    outs: dict[_Path, _Ref]


def write_candidate(
    outputs: Sequence[Output], *, study: Study, run: str, image: str, source: Ref | None, store: Store
) -> str:
    """Write a candidate for dvc.lock to the store and return its name there. Needs neither git, DVC nor dvc.yaml.

    Args:
        outputs: all outputs of the run, already in the store.
        study: the study that was run.
        run: id of the run. An earlier candidate of the same run is replaced.
        image: the image in which the stages ran.
        source: ref of the source of the dataset; None when the study reads no files.

    Raises:
        UserError: the id is not valid, an output comes twice with different content, or the store refuses.
    """
    outs: dict[str, Ref] = {}
    for output in outputs:
        if outs.setdefault(output.path, output.ref) != output.ref:
            first = f"{output.path} comes twice, as {outs[output.path]} and as {output.ref}"
            raise UserError(f"outputs of run {run}: {first}: give each path to one stage")
    candidate = Candidate(
        run=_run_id(run),
        finished=datetime.now(UTC).replace(microsecond=0),
        nofrost=version("nofrost"),
        image=image,
        study=study.as_json(),
        source=source,
        code=code_refs(),
        outs=outs,
    )
    text = as_yaml({"schema": _SCHEMA, **candidate.as_json()})
    store.put(candidate_name(run), text.encode())
    return candidate_name(run)


def list_candidates(store: Store) -> list[str]:
    """Return the ids of the runs that have a candidate, sorted."""
    names = (name.removeprefix(f"{_FOLDER}/") for name in store.names(f"{_FOLDER}/"))
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and "/" not in name)


def read_candidate(run: str, store: Store) -> Candidate:
    """Return the candidate of a run.

    Raises:
        UserError: there is none, it is damaged, or another version of nofrost wrote it in another form.
    """
    try:
        content = store.get(candidate_name(run))
    except MissingError:
        runs = list_candidates(store)
        close = difflib.get_close_matches(run, runs, n=3, cutoff=0.4)
        hint = f"closest are {', '.join(close)}" if close else f"there are {len(runs)} others"
        raise UserError(
            f"{store.url} has no candidate of run {run!r}: {hint}; `nofrost promote list` lists all"
        ) from None
    where = f"the candidate {candidate_name(run)} in {store.url}"
    values = _values(content, where)
    schema = values.pop("schema", None)
    if schema != _SCHEMA:
        writer = (
            f"nofrost {values['nofrost']}" if isinstance(values.get("nofrost"), str) else "another version of nofrost"
        )
        raise UserError(
            f"{where} has schema {schema!r}, and this version reads {_SCHEMA}: promote it with {writer}, which wrote it"
        )
    try:
        candidate = Candidate.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise _damaged(where, f"{key}: {fault['msg'].removeprefix('Value error, ')}") from None
    if candidate.run != run:
        raise _damaged(where, f"it names run {candidate.run!r}")
    return candidate


def _values(content: bytes, where: str) -> dict[str, Any]:
    try:
        return parse(content.decode(), "its text")
    except ValueError as error:
        raise _damaged(where, str(error)) from None


def _damaged(where: str, reason: str) -> UserError:
    return UserError(f"{where} is damaged ({reason}): promote another run, or run the pipeline again")


def candidate_name(run: str) -> str:
    """Return the name that the candidate of a run has in the store."""
    return f"{_FOLDER}/{run}.yaml"


def code_refs() -> dict[str, Ref]:
    """Return the ref of each folder and file of the installed package, under the path that it has in a checkout.

    DVC gives the same code in a checkout the same refs.
    """
    package = Path(nofrost.__file__).parent
    paths = sorted(path for path in package.iterdir() if path.name != _CACHE and path.suffix != ".pyc")
    return {f"{_PACKAGE_IN_CHECKOUT}/{path.name}": _code_ref(path) for path in paths}


def _code_ref(path: Path) -> Ref:
    if path.is_dir():
        return folder_ref(path)
    content = path.read_bytes()
    return Ref(hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content))


def folder_ref(folder: Path) -> Ref:
    """Return the ref of a folder of code, without the files that .dvcignore hides from DVC."""
    entries, size = [], 0
    for path in folder.rglob("*"):
        if path.is_file() and _CACHE not in path.parts and path.suffix != ".pyc":
            content = path.read_bytes()
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            entries.append(Entry(path.relative_to(folder).as_posix(), md5))
            size += len(content)
    return Ref(address(as_object(entries)), size, len(entries))


@dataclass(frozen=True)
class Contents:
    """The refs of all outputs and inputs of a run.

    Attributes:
        outs: the outputs of the run.
        inputs: content that no stage writes: folders of code and the source of the dataset.
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
    """Return the contents of a run, after checking that the store still has every object of its outputs.

    Args:
        inputs: content that no stage writes, by path.

    Raises:
        UserError: an object is missing, or a folder's list of files is altered.
    """
    _require(candidate.run, {path: [ref.md5] for path, ref in candidate.outs.items()}, store)
    files = {path: read_entries(ref.md5, store) for path, ref in candidate.outs.items() if ref.is_dir}
    _require(candidate.run, {path: [entry.md5 for entry in entries] for path, entries in files.items()}, store)
    return Contents(candidate.outs, inputs, files)


def _require(run: str, md5s_by_path: Mapping[str, Iterable[str]], store: Store) -> None:
    sizes = store.sizes({md5 for md5s in md5s_by_path.values() for md5 in md5s})
    for path, md5s in md5s_by_path.items():
        missing = [md5 for md5 in md5s if md5 not in sizes]
        if missing:
            raise UserError(
                f"{store.url} no longer has all of {path} of run {run} ({missing[0]} is missing), so `dvc pull` "
                "would fail: name the store of the run with --store, or run the pipeline again"
            )
