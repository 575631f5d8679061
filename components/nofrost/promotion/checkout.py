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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from nofrost.config.yaml_text import check_size
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.promotion.candidate import Contents
from nofrost.promotion.dvc_files import (
    DVC_LOCK,
    DVC_YAML,
    PARAMS,
    LockEntry,
    dump,
    explained,
    is_readable,
    load,
    own_source,
    ref_of,
)
from nofrost.store import Ref

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
        return {path: ref_of(item) for _, path, item in self.items if "md5" in item}

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
    with explained(project / DVC_YAML), _scratch(project, study, inputs) as root, Repo(str(root)) as repo:
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
        lock = load((root / DVC_LOCK).read_text(encoding="utf-8"), root / DVC_LOCK) if names else {"stages": {}}
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
        with explained(project / DVC_YAML), _scratch(project, study, ()) as root, Repo(str(root)) as repo:
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
    own = own_source(project)
    for stage in (stage for stage in repo.index.stages if stage.name in names):
        for item in (*stage.deps, *stage.outs):
            if not Path(item.fs_path).is_relative_to(temporary) and os.path.normpath(item.def_path) != own:
                raise UserError(
                    f"run {run} names {item.def_path!r}, which is not in {project.absolute()}: promote it in a "
                    f"checkout whose {PARAMS} names it too"
                )


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
        (root / PARAMS).write_text(dump(dict(study)), encoding="utf-8")
        # Folders come before what is in them, which needs no link of its own.
        for path in sorted(inputs, key=lambda path: len(Path(path).parts)):
            link, target = Path(os.path.normpath(root / path)), project / path
            if Path(path).is_absolute() or not is_readable(project, path) or not target.exists():
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
    values = load(dvc_yaml.read_text(encoding="utf-8"), dvc_yaml)
    values["stages"] = {name: stage for name, stage in values["stages"].items() if name in names}
    for stage in values["stages"].values():
        # Otherwise DVC's run cache reads the dependencies, and fails on one that is missing.
        stage.get("do", stage)["always_changed"] = True
    dvc_yaml.write_text(dump(values), encoding="utf-8")


@contextmanager
def locked(project: Path) -> Iterator[None]:
    """Hold DVC's lock of the checkout inside the block.

    Raises:
        UserError: DVC is running there.
    """
    with explained(project), Repo(str(project)) as repo:
        try:
            repo.lock.lock()
        except DvcException:
            raise UserError(f"DVC is running in {project}: wait until it has ended, then promote again") from None
        try:
            yield
        finally:
            repo.lock.unlock()
