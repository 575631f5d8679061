"""The candidate that a run leaves in the store: only what the run alone knows; dvc.yaml supplies the rest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer, ValidationError

from nofrost.config import Study
from nofrost.config.base import Schema
from nofrost.errors import UserError
from nofrost.promotion.code import code_refs
from nofrost.store import Output, Ref, Store

_FOLDER = "nofrost/locks"
_SCHEMA = 1


def _run_id(run: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", run):
        raise UserError(f"{run!r} cannot be the id of a run: use letters, digits, '-', '_' and '.', at most 200")
    return run


def _ref(value: object) -> Ref:
    return value if isinstance(value, Ref) else Ref.parse(str(value))


_Ref = Annotated[Ref, BeforeValidator(_ref), PlainSerializer(str, return_type=str)]


class Candidate(Schema):
    """What a run knows of the stages that it ran.

    Attributes:
        run: id of the run.
        finished: when the candidate was written.
        nofrost: version of the package in the image.
        image: the image in which the stages ran.
        study: the study with everything spelled out, as params.yaml holds it.
        source: what the dataset was prepared from; None when the study needs no files.
        code: each folder of the installed package by its path in a checkout, such as components/nofrost/train.
        outs: each output by its path in a checkout.
    """

    run: Annotated[str, AfterValidator(_run_id)]
    finished: AwareDatetime
    nofrost: str
    image: str
    study: dict[str, Any]
    source: _Ref | None
    code: dict[str, _Ref]
    outs: dict[str, _Ref]


def write_candidate(
    outputs: Sequence[Output], *, study: Study, run: str, image: str, source: Ref | None, store: Store
) -> str:
    """Leave a candidate for dvc.lock in the store and return its name there. Needs neither git, DVC nor dvc.yaml.

    Args:
        outputs: everything that the run made, pushed already.
        study: the study that was run.
        run: id of the run. A candidate that it left earlier is replaced.
        image: the image in which the stages ran.
        source: ref of the source of the dataset; None when the study needs no files.

    Raises:
        UserError: the id is none, an output comes twice with different content, or the store refuses.
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
    text = yaml.safe_dump({"schema": _SCHEMA, **candidate.as_json()}, sort_keys=False, width=110, allow_unicode=True)
    store.put(_name(run), text.encode())
    return _name(run)


def list_candidates(store: Store) -> list[str]:
    """Return the ids of the runs that left a candidate, sorted."""
    names = (name.removeprefix(f"{_FOLDER}/") for name in store.names(f"{_FOLDER}/"))
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and "/" not in name)


def read_candidate(run: str, store: Store) -> Candidate:
    """Return the candidate that a run left.

    Raises:
        UserError: there is none, it is damaged, or another version of nofrost wrote it in a form of its own.
    """
    known = list_candidates(store)
    if run not in known:
        close = difflib.get_close_matches(run, known, n=3, cutoff=0.4)
        hint = f"closest are {', '.join(close)}" if close else f"{len(known)} others are there"
        raise UserError(f"{store.url} holds no candidate of run {run!r}: {hint}; `nofrost promote list` names all")
    where = f"the candidate {_name(run)} in {store.url}"
    values = _values(store.get(_name(run)), where)
    schema = values.pop("schema", None)
    if schema != _SCHEMA:
        by = f"nofrost {values['nofrost']}" if isinstance(values.get("nofrost"), str) else "another version of nofrost"
        raise UserError(
            f"{where} has schema {schema!r}, and this version reads {_SCHEMA}: promote it with {by}, which wrote it"
        )
    try:
        candidate = Candidate.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise _damaged(where, f"{key}: {fault['msg'].removeprefix('Value error, ')}") from None
    if candidate.run != run:
        raise _damaged(where, f"it says that it is of run {candidate.run!r}")
    return candidate


def _values(content: bytes, where: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _damaged(where, f"not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict):
        raise _damaged(where, "not a mapping")
    return values


def _damaged(where: str, how: str) -> UserError:
    return UserError(f"{where} is damaged ({how}): promote another run, or let the pipeline write it again")


def _name(run: str) -> str:
    return f"{_FOLDER}/{run}.yaml"
