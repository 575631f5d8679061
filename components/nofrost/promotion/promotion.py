"""Promote a run to dvc.lock: compute the difference, then write it."""

import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from nofrost.config import as_yaml, parse_study, study_as_yaml
from nofrost.config.base import dotted
from nofrost.errors import UserError
from nofrost.files import write_text
from nofrost.promotion import dvc_files as files
from nofrost.promotion.candidate import Candidate, contents_of, read_candidate
from nofrost.promotion.dvc_files import LockEntry
from nofrost.store import Ref, Store
from nofrost.system_errors import explain_write_errors

# DVC takes about a millisecond for each run of a study.
_MOST_RUNS = 5000
K = TypeVar("K")


@dataclass(frozen=True)
class Change:
    """One thing that a promotion changes in dvc.lock.

    Attributes:
        stage: name of the stage, such as train@sat-0.
        kind: "out", "dep", "param" or "cmd".
        name: path of the output or dependency, or dotted key of the parameter.
        before: the ref; of parameters and commands the value as JSON; None when there was none.
        after: the same for the run; None when the run has none.
    """

    stage: str
    kind: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Promotion:
    """What promoting a run changes, and what differs between the run and the checkout.

    Attributes:
        candidate: of the run.
        project: the checkout.
        changes: differences in dvc.lock; empty when it already has the run.
        differing_params: key, value here and value of the run (as JSON) where params.yaml is not the study of the run.
        differing_inputs: code and source data whose content here is not that of the run: DVC would run their stages
            again.
        lock_before, lock_after: text of dvc.lock.
    """

    candidate: Candidate
    project: Path
    changes: tuple[Change, ...]
    differing_params: tuple[tuple[str, str, str], ...]
    differing_inputs: tuple[str, ...]
    lock_before: str
    lock_after: str

    def write(self, *, params: bool = False, force: bool = False) -> None:
        """Merge the run into dvc.lock, atomically.

        Args:
            params: also write the study of the run to params.yaml.
            force: promote although code or source data here are not those of the run.

        Raises:
            UserError: the study, code or source differ and that is not allowed; dvc.lock changed since the promotion
                was planned; DVC is running in the checkout; or the disk refuses.
        """
        self.check(params=params, force=force)
        study = self._study_text() if params else None
        checkout = _checkout()
        with checkout.locked(self.project):
            if files.read_lock(self.project)[0] != self.lock_before:
                raise UserError(f"{self.project / 'dvc.lock'} has changed meanwhile: promote the run again")
            for name, text in (("params.yaml", study), ("dvc.lock", self.lock_after)):
                if text is not None:
                    with explain_write_errors(self.project / name):
                        write_text(self.project / name, text)

    def check(self, *, params: bool, force: bool) -> None:
        """Raise the error that :meth:`write` would raise because the checkout differs from the run."""
        run = self.candidate.run
        if self.differing_params and not params:
            values = [f"{key}: {here} here, {there} in the run" for key, here, there in self.differing_params]
            more = f"; and {len(values) - 3} more" if len(values) > 3 else ""
            raise UserError(
                f"the study of run {run} is not the one in {self.project / 'params.yaml'} ({'; '.join(values[:3])}"
                f"{more}): select it with `nofrost study select`, or write it there with --params"
            )
        if self.differing_inputs and not force:
            raise UserError(
                f"run {run} used other content than this checkout has in {', '.join(self.differing_inputs)}, so DVC "
                f"would run their stages again: promote it in a checkout of its code (nofrost "
                f"{self.candidate.nofrost}, image {self.candidate.image}), or promote it anyway with --force"
            )

    def _study_text(self) -> str:
        study = parse_study(as_yaml(self.candidate.study))
        if study.as_json() != self.candidate.study:
            raise UserError(
                f"the study of run {self.candidate.run} was spelled out by nofrost {self.candidate.nofrost}, which has "
                "other keys: promote it in a checkout of that version"
            )
        return study_as_yaml(study)


def plan_promotion(run: str, store: Store, project: Path) -> Promotion:
    """Return how dvc.lock of a checkout changes when a run is promoted. Nothing is written.

    Raises:
        UserError: there is no such run, its candidate is damaged, an output is no longer in the store, `project` is not
            a checkout that DVC can use, its dvc.lock cannot be read, or dvc.yaml does not fit the run.
    """
    if not (project / "dvc.yaml").is_file() or not (project / ".dvc").is_dir():
        missing = "dvc.yaml" if (project / ".dvc").is_dir() else ".dvc folder"
        raise UserError(f"{project.absolute()} has no {missing}: promote in the top folder of a checkout")
    checkout = _checkout()
    candidate = read_candidate(run, store)
    lock_before, entries_before = files.read_lock(project)
    source = _source_paths(candidate)
    _check_runs(candidate)
    draft = checkout.draft_entries(project, candidate.study, candidate.outs, [*candidate.code, *source], run)
    here: dict[str, Ref] = {
        **{path: ref for path in source if (ref := files.described_ref(project, path))},
        **draft.refs_here(),
    }
    inputs = {**{path: here[path] for path in source if path in here}, **candidate.code}
    if candidate.source is not None:
        # Those of further datasets are inside of it, or were fetched.
        inputs |= dict.fromkeys(source[:1], candidate.source)
    entries: dict[str, LockEntry] = draft.fill(contents_of(candidate, inputs, store), run)
    changes = tuple(_changes(entries_before, entries))
    return Promotion(
        candidate=candidate,
        project=project,
        changes=changes,
        differing_params=_differing_params(project, candidate.study, entries),
        differing_inputs=_differing_inputs(entries, inputs, here, source),
        lock_before=lock_before,
        lock_after=files.merge(lock_before, entries) if changes else lock_before,
    )


def _checkout() -> ModuleType:
    """Return the module that loads DVC, which a pod does not have."""
    try:
        from nofrost.promotion import checkout
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "dvc":
            raise
        raise UserError("DVC is not installed here: install it with `pip install 'nofrost[dvc]'`") from None
    return checkout


def _source_paths(candidate: Candidate) -> list[str]:
    """Return the paths of what the datasets of the study were prepared from; that of `dataset` comes first."""
    further = candidate.study.get("datasets")
    datasets = [candidate.study.get("dataset"), *(further.values() if isinstance(further, dict) else ())]
    paths = [each.get("path") if isinstance(each, dict) else None for each in datasets]
    if not isinstance(paths[0], str):
        return []
    return list(dict.fromkeys(posixpath.normpath(path) for path in paths if isinstance(path, str)))


def _check_runs(candidate: Candidate) -> None:
    """Check that DVC does not have to resolve far more stages than any study has.

    Raises:
        UserError: the study of the candidate has too many runs.
    """
    runs = candidate.study.get("runs")
    values = runs.values() if isinstance(runs, dict) else ()
    count = math.prod(len(each) for each in values if isinstance(each, list | dict) and each)
    if count > _MOST_RUNS:
        raise UserError(f"the study of run {candidate.run} has {count:,} runs, which no pipeline has: promote another")


def _differing_inputs(
    entries: Mapping[str, LockEntry], inputs: Mapping[str, Ref], here: Mapping[str, Ref], source: list[str]
) -> tuple[str, ...]:
    """Return the inputs of the promoted stages whose content here is not that of the run.

    Source data that is missing here does not count, as it can be fetched later.
    """
    used = {item["path"] for entry in entries.values() for item in entry.get("deps", ())} & set(inputs)
    absent = {path for path in source if path not in here}
    return tuple(sorted(path for path in used - absent if path not in here or here[path].md5 != inputs[path].md5))


def _differing_params(
    project: Path, study: Mapping[str, Any], entries: Mapping[str, LockEntry]
) -> tuple[tuple[str, str, str], ...]:
    """Return where params.yaml differs from the study of the run in what the promoted stages depend on."""
    checkout = _checkout()
    used: dict[str, Any] = {}
    for entry in entries.values():
        used |= entry.get("params", {}).get("params.yaml", {})
    differences = list(_differences(dict(dotted(files.params_here(project, sorted(used)))), dict(dotted(used))))
    if not differences:
        # Equal parameters are not enough: dvc.yaml may lack a stage for the study here, such as that of another recipe.
        params = files.params_here(project)
        if not set(entries) <= checkout.stage_names(project, params):
            differences = list(_differences(dict(dotted(params)), dict(dotted(study))))
    return tuple((key, here or "nothing", there or "nothing") for key, here, there in sorted(differences))


def _changes(before: Mapping[str, LockEntry], after: Mapping[str, LockEntry]) -> Iterator[Change]:
    """Yield what differs in each stage of `after` from the same stage of `before`."""
    for stage, entry in after.items():
        for (kind, name), old, new in _differences(_facts(before.get(stage, {})), _facts(entry)):
            yield Change(stage, kind, name, old, new)


def _differences(before: Mapping[K, Any], after: Mapping[K, Any]) -> Iterator[tuple[K, str | None, str | None]]:
    """Yield key, value before and value after, as text, where two mappings differ; None where the key is missing."""
    for key in [*after, *(key for key in before if key not in after)]:
        if key not in before or key not in after or before[key] != after[key]:
            yield key, _text(before[key]) if key in before else None, _text(after[key]) if key in after else None


def _facts(entry: LockEntry) -> dict[tuple[str, str], Any]:
    """Return the contents of a stage's entry by kind and name, as in :class:`Change`."""
    facts: dict[tuple[str, str], Any] = {}
    for kind in ("out", "dep"):
        facts |= {(kind, str(item.get("path"))): _content(item) for item in entry.get(f"{kind}s", ())}
    for file, values in entry.get("params", {}).items():
        prefix = "" if file == "params.yaml" else f"{file}:"
        facts |= {("param", prefix + key): value for key, value in dotted(values)}
    if "cmd" in entry:
        facts["cmd", ""] = entry["cmd"]
    return facts


def _content(item: Mapping[str, Any]) -> Any:
    if "md5" in item:
        return Ref(item["md5"], item.get("size"), item.get("nfiles"))
    return {key: value for key, value in item.items() if key != "path"}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Ref) else json.dumps(value, ensure_ascii=False, default=str)
