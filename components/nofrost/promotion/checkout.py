"""A checkout as DVC sees it. The only module that loads DVC: import it inside functions.

DVC itself writes the entries of dvc.lock: ``dvc commit --force`` in a scratch folder that has dvc.yaml, the study of
the run, and links to the code and source data of the checkout, but no output. With ``allow_missing``, an argument of
``Repo.commit`` that the command line lacks, DVC writes every entry and leaves out the md5 of what is missing. The
candidate of the run supplies it, so nothing is downloaded, and the checkout does not change before a person has seen
the difference. (``dvc commit`` in the checkout would read every output and dependency there, so they would have to be
downloaded first.)

DVC documents neither ``Repo`` nor its exceptions as an interface: tests/promotion/test_checkout.py pins what is used.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nofrost.errors import UserError
from nofrost.promotion.candidate import Contents
from nofrost.store import Ref

LockEntry = dict[str, Any]  # of a stage in dvc.lock: cmd, deps, params, outs

DVC_YAML, DVC_LOCK, PARAMS = "dvc.yaml", "dvc.lock", "params.yaml"

# DVC would report on standard output that it writes the lock file of the scratch folder, in the middle of our JSON.
logging.getLogger("dvc").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Draft:
    """Entries of dvc.lock for the stages of a run; the md5 of what is not in the checkout is missing.

    Attributes:
        entries: by stage.
        items: every output and dependency: its stage, its path in the checkout, and its item in `entries`.
    """

    entries: Mapping[str, LockEntry]
    items: tuple[tuple[str, str, dict[str, Any]], ...]

    def refs_here(self) -> dict[str, Ref]:
        """Return the refs of the dependencies that are in the checkout, by path."""
        return {path: _ref(item) for _, path, item in self.items if "md5" in item}

    def fill(self, contents: Contents, run: str) -> Mapping[str, LockEntry]:
        """Fill in the content of every output and dependency, and return the entries.

        Raises:
            UserError: the content of one is unknown.
        """
        for stage, path, item in self.items:
            ref = contents.ref(path)
            if ref is None:
                raise UserError(
                    f"stage {stage} of {DVC_YAML} reads or writes {path}, which is neither in run {run} nor here: "
                    "fetch it if it is source data, or promote in a checkout of the code that ran"
                )
            for key in ("md5", "size", "nfiles", "isexec"):
                item.pop(key, None)
            values = {"md5": ref.md5, "size": ref.size, "nfiles": ref.nfiles}
            item.update({key: value for key, value in values.items() if value is not None})
        return self.entries


def draft_entries(
    project: Path, study: Mapping[str, Any], outs: Collection[str], inputs: Collection[str], run: str
) -> Draft:
    """Let DVC write the entries of the stages that write `outs` for a study.

    Args:
        outs: paths of outputs in the checkout.
        inputs: paths of code and source data, which are looked up in the checkout and hashed every time.
        run: id of the run, for messages.

    Raises:
        UserError: dvc.yaml cannot be resolved for the study, or has no stage for an output.
    """
    with _explained(project / DVC_YAML), _scratch(project, study, inputs) as root, Repo(str(root)) as repo:
        stages = _stages(repo)
        stage_of = {path: name for name, stage in stages.items() for path in stage.outs.values()}
        for path in outs:
            if path not in stage_of:
                remedy = "promote it in a checkout of the code that ran, or give dvc.yaml such a stage"
                raise UserError(f"{project / DVC_YAML} has no stage that makes {path}, as run {run} did: {remedy}")
        names = {stage_of[path] for path in outs}
        _prepare_commit(root / DVC_YAML, {name.partition("@")[0] for name in names})
        repo.commit(force=True, allow_missing=True)
        lock = _load((root / DVC_LOCK).read_text(encoding="utf-8")) if names else {"stages": {}}
    entries = {name: entry for name, entry in lock["stages"].items() if name in names}
    items = [
        (name, (stages[name].deps | stages[name].outs)[item["path"]], item)
        for name, entry in entries.items()
        for item in (*entry.get("deps", ()), *entry.get("outs", ()))
    ]
    return Draft(entries, tuple(items))


def stage_names(project: Path, study: Mapping[str, Any]) -> set[str]:
    """Return the names of all stages that dvc.yaml has for a study; none when it cannot be resolved for it."""
    try:
        with _explained(project / DVC_YAML), _scratch(project, study, ()) as root, Repo(str(root)) as repo:
            return set(_stages(repo))
    except UserError:
        return set()


@contextmanager
def _scratch(project: Path, study: Mapping[str, Any], inputs: Collection[str]) -> Iterator[Path]:
    """Yield a temporary DVC project with the dvc.yaml of the checkout, a study, and links to inputs of the checkout."""
    project = project.resolve()
    with TemporaryDirectory(prefix="nofrost-promotion-") as folder:
        # As deep as the checkout, so that a path such as ../photos stays inside the temporary folder.
        root = Path(folder).resolve() / project.relative_to(project.anchor)
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").write_text(f"[core]\n    no_scm = true\n    site_cache_dir = {root / '.cache'}\n")
        for name in (DVC_YAML, ".dvcignore"):
            if (project / name).is_file():
                (root / name).write_bytes((project / name).read_bytes())
        (root / PARAMS).write_text(_dump(dict(study)), encoding="utf-8")
        for path in inputs:
            link, target = Path(os.path.normpath(root / path)), project / path
            if not Path(path).is_absolute() and target.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target.resolve())
        yield root


@dataclass(frozen=True)
class _Stage:
    """Outputs and dependencies of a stage: the path from the top folder, by the path that its entry in dvc.lock has."""

    deps: dict[str, str]
    outs: dict[str, str]


def _stages(repo: Any) -> dict[str, _Stage]:
    root = Path(repo.root_dir)

    def paths(items: Iterable[Any]) -> dict[str, str]:
        return {
            item.def_path: path.relative_to(root).as_posix() if path.is_relative_to(root) else item.def_path
            for item in items
            for path in [Path(item.fs_path)]
        }

    return {stage.name: _Stage(paths(stage.deps), paths(stage.outs)) for stage in repo.index.stages}


def _prepare_commit(dvc_yaml: Path, names: Collection[str]) -> None:
    """Leave only these stages in a dvc.yaml, and keep DVC from looking for an earlier run of them."""
    values = _load(dvc_yaml.read_text(encoding="utf-8"))
    values["stages"] = {name: stage for name, stage in values["stages"].items() if name in names}
    for stage in values["stages"].values():
        # Otherwise DVC's run cache reads the dependencies, and fails on one that is missing.
        stage.get("do", stage)["always_changed"] = True
    dvc_yaml.write_text(_dump(values), encoding="utf-8")


def described_ref(project: Path, path: str) -> Ref | None:
    """Return the ref that a .dvc file beside `path` gives for it; None when there is no such file."""
    file = project / f"{path}.dvc"
    if not file.is_file():
        return None
    with _explained(file):
        try:
            [out] = _load(file.read_text(encoding="utf-8"))["outs"]
            return _ref(out)
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{file} does not describe one file or folder: put it back with `git checkout`") from None


def params_here(project: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the values of params.yaml under dotted keys, or all of them; empty when there is no such file."""
    path = project / PARAMS
    if (keys is not None and not keys) or not path.is_file():
        return {}
    with _explained(path):
        values = _load(path.read_text(encoding="utf-8"))
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
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}): {remedy}") from None
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise UserError(f"{path} is in a merge conflict: end the merge, then promote the run again")
    if not text.strip():
        return text, {}
    with _explained(path, remedy):
        values = _load(text)
    stages = values.get("stages", {}) if isinstance(values, dict) and values.get("schema") == "2.0" else None
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        raise UserError(f"DVC cannot use {path} (not a lock file of schema 2.0): {remedy}")
    return text, stages


def merge(text: str, entries: Mapping[str, LockEntry]) -> str:
    """Return the text of a dvc.lock with these entries in place of those of the same stages, as DVC writes it."""
    values: dict[str, Any] = _load(text, "rt") if text.strip() else {"schema": "2.0"}
    values.setdefault("stages", {})
    values["stages"].update(entries)
    return _dump(values)


@contextmanager
def locked(project: Path) -> Iterator[None]:
    """Hold DVC's lock of the checkout inside the block.

    Raises:
        UserError: DVC is running there.
    """
    with _explained(project), Repo(str(project)) as repo:
        try:
            repo.lock.lock()
        except DvcException:
            raise UserError(f"DVC is running in {project}: wait until it has ended, then promote again") from None
        try:
            yield
        finally:
            repo.lock.unlock()


@contextmanager
def _explained(path: Path, remedy: str = "fix it, then promote again") -> Iterator[None]:
    try:
        yield
    except (DvcException, YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"DVC cannot use {path} ({' '.join(str(error).split())}): {remedy}") from None


def _ref(item: Mapping[str, Any]) -> Ref:
    return Ref(item["md5"], item.get("size"), item.get("nfiles"))


# DVC reads and writes YAML 1.2 with the same library and settings. "rt" keeps comments, which DVC keeps too.


def _load(text: str, typ: Literal["safe", "rt"] = "safe") -> Any:
    return YAML(typ=typ).load(text)


def _dump(values: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    stream = StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
