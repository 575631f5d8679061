"""A checkout as DVC sees it. The only module that loads DVC: import it inside functions.

dvc.yaml is resolved for the study of a run in a scratch folder, so that nothing in the checkout changes before a person
has seen the difference.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from dvc.dependency import Dependency, ParamsDependency
from dvc.dependency.param import read_param_file
from dvc.dvcfile import LOCK_FILE, PROJECT_FILE, Lockfile
from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage import PipelineStage, Stage
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml, parse_yaml, parse_yaml_for_update
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

from nofrost.errors import UserError
from nofrost.promotion.contents import Contents
from nofrost.store import Ref

PARAMS = ParamsDependency.DEFAULT_PARAMS_FILE


def lock_entries(project: Path, study: Mapping[str, Any], contents: Contents, run: str) -> dict[str, dict[str, Any]]:
    """Return the entries of dvc.lock for the stages that a run made, as DVC would have written them.

    Raises:
        UserError: dvc.yaml cannot be resolved for the study, has no stage for an output, or has one that makes or needs
            something of which the run says nothing.
    """
    entries: dict[str, dict[str, Any]] = {}
    with _stages(project, study) as (root, stages):
        stage_of = {_path(out, root): stage.name for stage in stages for out in stage.outs}
        for path in contents.outs:
            if path not in stage_of:
                remedy = "promote it in a checkout of the code that ran, or give dvc.yaml such a stage"
                raise UserError(f"{project / PROJECT_FILE} has no stage that makes {path}, as run {run} did: {remedy}")
        names = {stage_of[path] for path in contents.outs}
        for stage in stages:
            if stage.name in names:
                _fill(stage, root, contents, run)
                entries |= to_lockfile(stage)
    return entries


def stage_names(project: Path, study: Mapping[str, Any]) -> set[str]:
    """Return the names of all stages that dvc.yaml has for a study; none when it cannot be resolved for it."""
    try:
        with _stages(project, study) as (_, stages):
            return {stage.name for stage in stages}
    except UserError:
        return set()


@contextmanager
def _stages(project: Path, study: Mapping[str, Any]) -> Iterator[tuple[Path, list[PipelineStage]]]:
    with TemporaryDirectory(prefix="nofrost-lock-") as folder:
        root = Path(folder).resolve()
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text(f"[core]\n    no_scm = true\n    site_cache_dir = {root / '.cache'}\n")
        shutil.copyfile(project / PROJECT_FILE, root / PROJECT_FILE)
        (root / PARAMS).write_text(yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True), encoding="utf-8")
        with _sentence(project / PROJECT_FILE), Repo(str(root)) as repo:
            yield root, [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]


def _fill(stage: PipelineStage, root: Path, contents: Contents, run: str) -> None:
    for item in (*stage.deps, *stage.outs):
        if isinstance(item, ParamsDependency):
            item.hash_info = item.get_hash()
            continue
        path = _path(item, root)
        ref = contents.ref(path)
        if ref is None:
            raise UserError(
                f"stage {stage.name} of {PROJECT_FILE} needs or makes {path}, of which run {run} says nothing and "
                "which is not here: fetch it if it is source data, or promote in a checkout of the code that ran"
            )
        item.hash_info = HashInfo("md5", ref.md5)
        item.meta = Meta(isdir=ref.is_dir, size=ref.size, nfiles=ref.nfiles)


def _path(item: Any, root: Path) -> str:
    path = Path(item.fs_path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(item.def_path)


def refs_here(project: Path, paths: Collection[str]) -> dict[str, Ref]:
    """Return the refs of those of the files and folders that are in the checkout, or that a .dvc file describes."""
    found = {}
    with _sentence(project), Repo(str(project)) as repo:
        stage = Stage(repo, path=str(project.resolve() / PROJECT_FILE))
        for path in paths:
            here: Any = Dependency(stage, str(project.resolve() / path))
            if here.exists:
                meta, hash_info = here.get_meta(), here.get_hash()
            elif repo.fs.exists(f"{here.fs_path}.dvc"):
                [here] = repo.stage.load_one(f"{here.fs_path}.dvc").outs
                meta, hash_info = here.meta, here.hash_info
            else:
                continue
            found[path] = Ref(hash_info.value, meta.size, meta.nfiles if meta.isdir else None)
    return found


def params_here(project: Path, keys: list[str] | None = None) -> dict[str, Any]:
    """Return the values of params.yaml under dotted keys, or all of it; nothing when there is no such file."""
    path = project / PARAMS
    if keys == [] or not path.is_file():
        return {}
    with _sentence(path):
        values = read_param_file(localfs, str(path))
        if not isinstance(values, dict):
            raise UserError(f"{path} is no mapping: write a study there with `nofrost study select` or --params")
        return values if keys is None else read_param_file(localfs, str(path), keys, flatten=True)


def read_lock(project: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of dvc.lock and its entries by stage; an empty text and none when there is no such file.

    Raises:
        UserError: it is in a merge conflict, or no dvc.lock.
    """
    path = project / LOCK_FILE
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}): put it back with `git checkout {LOCK_FILE}`") from None
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise UserError(f"{path} is in a merge conflict: end the merge, then promote the run again")
    if not text.strip():
        return text, {}
    with _sentence(path, f"put it back with `git checkout {LOCK_FILE}`"):
        values = Lockfile.validate(parse_yaml(text, str(path)), str(path))
    return text, values.get("stages", {})


def merged(text: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a dvc.lock with these entries in the place of those of the same stages, as DVC writes it."""
    values: dict[str, Any] = parse_yaml_for_update(text, LOCK_FILE) if text.strip() else {"schema": "2.0"}
    values.setdefault("stages", {})
    values["stages"].update(entries)
    return str(dumps_yaml(values))


@contextmanager
def locked(project: Path) -> Iterator[None]:
    """Keep DVC out of the checkout for a moment.

    Raises:
        UserError: DVC is at work there.
    """
    with _sentence(project), Repo(str(project)) as repo:
        try:
            repo.lock.lock()
        except LockError:
            raise UserError(f"DVC is at work in {project}: wait until it has ended, then promote again") from None
        try:
            yield
        finally:
            repo.lock.unlock()


@contextmanager
def _sentence(where: Path, remedy: str = "mend it, then promote again") -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise UserError(f"DVC cannot use {where} ({' '.join(str(error).split())}): {remedy}") from None
