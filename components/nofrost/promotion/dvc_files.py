"""The files of a checkout that DVC reads and writes: dvc.lock, params.yaml and .dvc files.

The library with which DVC reads and writes YAML is imported in functions, as a pod does not have it.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from nofrost.config.yaml_text import check_size
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.store import Ref
from nofrost.store.ref import is_relative_posix

LockEntry = dict[str, Any]  # of a stage in dvc.lock: cmd, deps, params, outs

DVC_YAML, DVC_LOCK, PARAMS = "dvc.yaml", "dvc.lock", "params.yaml"


def described_ref(project: Path, path: str) -> Ref | None:
    """Return the ref that a .dvc file beside `path` gives for it; None when there is no such file."""
    file = project / f"{path}.dvc"
    if not is_readable(project, path) or not file.is_file():
        return None
    with explained(file):
        values = load(file.read_text(encoding="utf-8"), file)
        try:
            [out] = values["outs"]
            return ref_of(out)
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{file} does not describe one file or folder: put it back with `git checkout`") from None


def params_here(project: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the values of params.yaml under dotted keys, or all of them; empty when there is no such file."""
    path = project / PARAMS
    if (keys is not None and not keys) or not path.is_file():
        return {}
    with explained(path):
        values = load(path.read_text(encoding="utf-8"), path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a mapping: write a study there with `nofrost study select` or --params")
    return values if keys is None else dict(_lookup(values, keys))


def _lookup(values: Any, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    for key in keys:
        value = values
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                break
            value = value[name]
        else:
            yield key, value


def read_lock(project: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of dvc.lock and its entries by stage; an empty text and none when there is no such file.

    Raises:
        UserError: it is in a merge conflict, or not a dvc.lock.
    """
    path, remedy = project / DVC_LOCK, f"put it back with `git checkout {DVC_LOCK}`"
    try:
        text = regular_file(path).read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}): {remedy}") from None
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise UserError(f"{path} is in a merge conflict: end the merge, then promote the run again")
    if not text.strip():
        return text, {}
    with explained(path, remedy):
        values = load(text, path)
    stages = values.get("stages", {}) if isinstance(values, dict) and values.get("schema") == "2.0" else None
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        raise UserError(f"DVC cannot use {path} (not a lock file of schema 2.0): {remedy}")
    return text, stages


def merge(text: str, entries: Mapping[str, LockEntry]) -> str:
    """Return the text of a dvc.lock with these entries in place of those of the same stages, as DVC writes it."""
    values: dict[str, Any] = load(text, Path(DVC_LOCK), "rt") if text.strip() else {"schema": "2.0"}
    values.setdefault("stages", {})
    values["stages"].update(entries)
    return dump(values)


def own_source(project: Path) -> str | None:
    """Return the path of the source data that params.yaml of the checkout names."""
    path = params_here(project, ["dataset.path"]).get("dataset.path")
    return os.path.normpath(path) if isinstance(path, str) else None


def is_readable(project: Path, path: str) -> bool:
    """Return whether a run may have `path` looked up: it is in the checkout, or its params.yaml names it."""
    return is_relative_posix(os.path.normpath(path)) or os.path.normpath(path) == own_source(project)


@contextmanager
def explained(path: Path, remedy: str = "fix it, then promote again") -> Iterator[None]:
    """Turn every error of DVC, or of reading what it needs for `path`, into a UserError."""
    from ruamel.yaml.error import YAMLError

    try:
        yield
    except UserError:
        raise
    except OSError as error:
        name = error.filename or path
        raise UserError(f"cannot read {name} ({error.strerror}), which DVC needs for {path}: {remedy}") from None
    # DVC lets errors of many libraries through when a study has a form that dvc.yaml does not expect.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        is_plain = isinstance(error, YAMLError | UnicodeDecodeError) or type(error).__module__.startswith("dvc.")
        kind = "" if is_plain else f"{type(error).__name__}: "
        raise UserError(f"DVC cannot use {path} ({kind}{reason}): {remedy}") from None


def ref_of(item: Mapping[str, Any]) -> Ref:
    """Return the ref in an item of dvc.lock or of a .dvc file."""
    return Ref(item["md5"], item.get("size"), item.get("nfiles"))


# DVC reads and writes YAML 1.2 with the same library and settings. "rt" keeps comments, which DVC keeps too.


def load(text: str, path: Path, typ: Literal["safe", "rt"] = "safe") -> Any:
    """Return what the YAML `text` of the file `path` holds, as DVC reads it."""
    from ruamel.yaml import YAML

    check_size(text, str(path))
    return YAML(typ=typ).load(text)


def dump(values: Mapping[str, Any]) -> str:
    """Return the values as YAML, as DVC writes it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    stream = StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
