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

from nofrost.config.yaml_text import check_size
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.promotion.candidate import Contents
from nofrost.store import Ref
from nofrost.store.ref import is_relative_posix

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

    A run may come from anywhere: what its study or candidate names is only read inside of the checkout, or where
    params.yaml of the checkout itself says that the source data are.

    Args:
        outs: paths of outputs in the checkout.
        inputs: paths of code and source data, which are looked up in the checkout and hashed every time.
        run: id of the run, for messages.

    Raises:
        UserError: dvc.yaml cannot be resolved for the study, has no stage for an output, or reads what is elsewhere.
    """
    with _explained(project / DVC_YAML), _scratch(project, study, inputs) as root, Repo(str(root)) as repo:
        stages = _stages(repo)
        stage_of = {path: name for name, stage in stages.items() for path in stage.outs.values()}
        for path in outs:
            if path not in stage_of:
                remedy = "promote it in a checkout of the code that ran, or give dvc.yaml such a stage"
                raise UserError(f"{project / DVC_YAML} has no stage that makes {path}, as run {run} did: {remedy}")
        names = {stage_of[path] for path in outs}
        _check_places(repo, project, names, run)
        _prepare_commit(root / DVC_YAML, {name.partition("@")[0] for name in names})
        repo.commit(force=True, allow_missing=True)
        lock = _load((root / DVC_LOCK).read_text(encoding="utf-8"), root / DVC_LOCK) if names else {"stages": {}}
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


def _check_places(repo: Any, project: Path, names: Collection[str], run: str) -> None:
    """Check that these stages only read and write what is in the scratch folder, or the checkout's own source data.

    Raises:
        UserError: DVC would read something else on this machine.
    """
    root = Path(repo.root_dir)
    # The scratch folder is as deep as the checkout, so that ../photos is still in the temporary folder.
    depth = len(project.resolve().parts) - 1
    temporary = root.parents[depth - 1] if depth else root
    own = _own_source(project)
    for stage in (stage for stage in repo.index.stages if stage.name in names):
        for item in (*stage.deps, *stage.outs):
            if not Path(item.fs_path).is_relative_to(temporary) and os.path.normpath(item.def_path) != own:
                raise UserError(
                    f"run {run} names {item.def_path!r}, which is not in {project.absolute()}: promote it in a "
                    f"checkout whose {PARAMS} names it too"
                )


def _own_source(project: Path) -> str | None:
    """Return the path of the source data that params.yaml of the checkout names."""
    path = params_here(project, ["dataset.path"]).get("dataset.path")
    return os.path.normpath(path) if isinstance(path, str) else None


def _is_readable(project: Path, path: str) -> bool:
    """Return whether a run may have `path` looked up: it is in the checkout, or its params.yaml names it."""
    return is_relative_posix(os.path.normpath(path)) or os.path.normpath(path) == _own_source(project)


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
                content = (project / name).read_bytes()
                check_size(content.decode(errors="replace"), str(project / name))
                (root / name).write_bytes(content)
        (root / PARAMS).write_text(_dump(dict(study)), encoding="utf-8")
        # Folders come before what is in them, which needs no link of its own.
        for path in sorted(inputs, key=lambda path: len(Path(path).parts)):
            link, target = Path(os.path.normpath(root / path)), project / path
            if Path(path).is_absolute() or not _is_readable(project, path) or not target.exists():
                continue
            if not any(parent.is_symlink() for parent in (link, *link.parents) if parent.is_relative_to(folder)):
                _check_regular(target)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target.resolve())
        yield root


def _check_regular(path: Path) -> None:
    """Check that DVC can hash a file or folder without waiting for the end of a pipe or device in it.

    Raises:
        UserError: there is one.
    """
    regular_file(path)
    for folder, _, names in os.walk(path):
        for name in names:
            regular_file(Path(folder, name))


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
    values = _load(dvc_yaml.read_text(encoding="utf-8"), dvc_yaml)
    values["stages"] = {name: stage for name, stage in values["stages"].items() if name in names}
    for stage in values["stages"].values():
        # Otherwise DVC's run cache reads the dependencies, and fails on one that is missing.
        stage.get("do", stage)["always_changed"] = True
    dvc_yaml.write_text(_dump(values), encoding="utf-8")


def described_ref(project: Path, path: str) -> Ref | None:
    """Return the ref that a .dvc file beside `path` gives for it; None when there is no such file."""
    file = project / f"{path}.dvc"
    if not _is_readable(project, path) or not file.is_file():
        return None
    with _explained(file):
        values = _load(file.read_text(encoding="utf-8"), file)
        try:
            [out] = values["outs"]
            return _ref(out)
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{file} does not describe one file or folder: put it back with `git checkout`") from None


def params_here(project: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the values of params.yaml under dotted keys, or all of them; empty when there is no such file."""
    path = project / PARAMS
    if (keys is not None and not keys) or not path.is_file():
        return {}
    with _explained(path):
        values = _load(path.read_text(encoding="utf-8"), path)
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
    with _explained(path, remedy):
        values = _load(text, path)
    stages = values.get("stages", {}) if isinstance(values, dict) and values.get("schema") == "2.0" else None
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        raise UserError(f"DVC cannot use {path} (not a lock file of schema 2.0): {remedy}")
    return text, stages


def merge(text: str, entries: Mapping[str, LockEntry]) -> str:
    """Return the text of a dvc.lock with these entries in place of those of the same stages, as DVC writes it."""
    values: dict[str, Any] = _load(text, Path(DVC_LOCK), "rt") if text.strip() else {"schema": "2.0"}
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
    except UserError:
        raise
    except OSError as error:
        name = error.filename or path
        raise UserError(f"cannot read {name} ({error.strerror}), which DVC needs for {path}: {remedy}") from None
    # DVC lets errors of many libraries through when a study has a form that dvc.yaml does not expect.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        kind = "" if isinstance(error, DvcException | YAMLError | UnicodeDecodeError) else f"{type(error).__name__}: "
        raise UserError(f"DVC cannot use {path} ({kind}{reason}): {remedy}") from None


def _ref(item: Mapping[str, Any]) -> Ref:
    return Ref(item["md5"], item.get("size"), item.get("nfiles"))


# DVC reads and writes YAML 1.2 with the same library and settings. "rt" keeps comments, which DVC keeps too.


def _load(text: str, path: Path, typ: Literal["safe", "rt"] = "safe") -> Any:
    check_size(text, str(path))
    return YAML(typ=typ).load(text)


def _dump(values: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    stream = StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
