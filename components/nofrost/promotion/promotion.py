"""Taking a run over into dvc.lock: first the difference, then the writing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from nofrost.config import parse_study, study_as_yaml
from nofrost.errors import UserError
from nofrost.files import explain_write_errors, write_text
from nofrost.promotion.candidate import Candidate, read_candidate
from nofrost.promotion.contents import contents_of
from nofrost.promotion.difference import Change, changes, differing, leaves
from nofrost.store import Ref, Store


@dataclass(frozen=True)
class Promotion:
    """What promoting a run changes, and what speaks against it.

    Attributes:
        candidate: what the run left.
        project: the checkout.
        changes: what differs in dvc.lock; empty when it holds the run already.
        study_differs: key, value here and value of the run (as JSON) where params.yaml is not the study of the run.
        inputs_differ: code and source data that are not here what they were in the run: DVC would run their stages
            again.
    """

    candidate: Candidate
    project: Path
    changes: tuple[Change, ...]
    study_differs: tuple[tuple[str, str, str], ...]
    inputs_differ: tuple[str, ...]
    before: str
    after: str

    def write(self, *, params: bool = False, force: bool = False) -> None:
        """Merge the run into dvc.lock. A kill at any moment leaves the old file or the new one.

        Args:
            params: also make the study of the run the one in params.yaml.
            force: promote although code or source data here are not those of the run.

        Raises:
            UserError: the study, code or source differ and that is not allowed; dvc.lock changed since the difference
                was found; DVC is at work in the checkout; or the disk refuses.
        """
        self.check(params=params, force=force)
        study = self._study_text() if params else None
        dvc = _dvc()
        with dvc.locked(self.project):
            if dvc.read_lock(self.project)[0] != self.before:
                raise UserError(f"{self.project / 'dvc.lock'} has changed meanwhile: promote the run again")
            for name, text in (("params.yaml", study), ("dvc.lock", self.after)):
                if text is not None:
                    with explain_write_errors(self.project / name):
                        write_text(self.project / name, text)

    def check(self, *, params: bool, force: bool) -> None:
        """Raise the error that :meth:`write` would raise because something differs here from the run."""
        run = self.candidate.run
        if self.study_differs and not params:
            first = "; ".join(f"{key}: {here} here, {there} in the run" for key, here, there in self.study_differs[:3])
            more = f"; and {len(self.study_differs) - 3} more" if len(self.study_differs) > 3 else ""
            raise UserError(
                f"the study of run {run} is not the one in {self.project / 'params.yaml'} ({first}{more}): select it "
                "with `nofrost study select`, or write it there with --params"
            )
        if self.inputs_differ and not force:
            raise UserError(
                f"run {run} used other content than this checkout has in {', '.join(self.inputs_differ)}, so DVC would "
                f"at once run their stages again: promote it in a checkout of its code (nofrost "
                f"{self.candidate.nofrost}, image {self.candidate.image}), or all the same with --force"
            )

    def _study_text(self) -> str:
        study = parse_study(yaml.safe_dump(self.candidate.study, sort_keys=False))
        if study.as_json() != self.candidate.study:
            raise UserError(
                f"the study of run {self.candidate.run} was spelled out by nofrost {self.candidate.nofrost}, which has "
                "other keys: promote it in a checkout of that version"
            )
        return study_as_yaml(study)


def plan_promotion(run: str, store: Store, project: Path) -> Promotion:
    """Return how dvc.lock of a checkout changes when a run is promoted. Nothing is written.

    Raises:
        UserError: there is no such run, its candidate is damaged, an output is no longer in the store, `project` is no
            checkout that DVC can use, its dvc.lock cannot be read, or dvc.yaml does not fit the run.
    """
    if not (project / "dvc.yaml").is_file() or not (project / ".dvc").is_dir():
        missing = "dvc.yaml" if (project / ".dvc").is_dir() else ".dvc folder"
        raise UserError(f"{project.absolute()} has no {missing}: promote in the top folder of a checkout")
    dvc = _dvc()
    candidate = read_candidate(run, store)
    before, stages = dvc.read_lock(project)
    source = _source_path(candidate)
    here: dict[str, Ref] = dvc.refs_here(project, [*candidate.code, *source])
    inputs = {**{path: here[path] for path in source if path in here}, **candidate.code}
    if candidate.source is not None:
        inputs |= dict.fromkeys(source, candidate.source)
    contents = contents_of(candidate, inputs, store)
    entries: dict[str, dict[str, Any]] = dvc.lock_entries(project, candidate.study, contents, run)
    found = tuple(changes(stages, entries))
    return Promotion(
        candidate=candidate,
        project=project,
        changes=found,
        study_differs=_study_differs(dvc, project, candidate.study, entries),
        inputs_differ=_inputs_differ(entries, inputs, here, source),
        before=before,
        after=dvc.merged(before, entries) if found else before,
    )


def _dvc() -> ModuleType:
    """Return the module that loads DVC, which a pod does not have."""
    try:
        from nofrost.promotion import project
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dvc", "dvc_data"):
            raise
        raise UserError("DVC is not installed here: install it with `pip install 'nofrost[dvc]'`") from None
    return project


def _source_path(candidate: Candidate) -> list[str]:
    dataset = candidate.study.get("dataset")
    path = dataset.get("path") if isinstance(dataset, dict) else None
    return [posixpath.normpath(path)] if isinstance(path, str) else []


def _inputs_differ(
    entries: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Ref], here: Mapping[str, Ref], source: list[str]
) -> tuple[str, ...]:
    """Return the inputs of the promoted stages that are not here what they were in the run.

    Source data that is not here at all is no difference: it has yet to be fetched.
    """
    used = {item["path"] for entry in entries.values() for item in entry.get("deps", ())} & set(inputs)
    absent = {path for path in source if path not in here}
    return tuple(sorted(path for path in used - absent if path not in here or here[path].md5 != inputs[path].md5))


def _study_differs(
    dvc: ModuleType, project: Path, study: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[str, str, str], ...]:
    """Return where params.yaml differs from the study of the run in what the promoted stages depend on."""
    used: dict[str, Any] = {}
    for entry in entries.values():
        used |= entry.get("params", {}).get("params.yaml", {})
    found = list(differing(leaves(dvc.params_here(project, sorted(used))), leaves(used)))
    if not found and not set(entries) <= dvc.stage_names(project, dvc.params_here(project)):
        found = list(differing(leaves(dvc.params_here(project)), leaves(study)))
    return tuple((key, here or "nothing", there or "nothing") for key, here, there in sorted(found))
