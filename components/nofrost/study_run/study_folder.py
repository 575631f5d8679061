"""The folder that a study is run in, beside those of other studies: ``FOLDER/NAME``."""

import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nofrost.config import Study, study_as_yaml
from nofrost.config.trainings import run_path
from nofrost.errors import UserError
from nofrost.files import make_folder, remove, sha256_file, write_bytes, write_text
from nofrost.prepare import resolve_source
from nofrost.results import StudyRecord, TrainRecord, read_result, write_result
from nofrost.stage import RECORD
from nofrost.study_run.dvc_repro import Attempt
from nofrost.study_run.image_links import datasets_of, link, link_images
from nofrost.study_state import RUNNING

# All studies of a folder share a cache: what two of them train, DVC trains once.
CACHE = ".cache"
_DVC_CONFIG = f"""\
[core]
    no_scm = true
    analytics = false
    check_update = false
[cache]
    type = reflink,hardlink,copy
    dir = ../../{CACHE}
"""
# Of the project: the graph, and what of a folder of code is no code.
_COPIED = ("dvc.yaml", ".dvcignore")
CODE = "components"
_WRITTEN = ".dvc/params.sha256"  # the checksum of params.yaml as it was written here


def check_project(folder: Path) -> None:
    """Check that studies can be run from a folder.

    Raises:
        UserError: it has no graph or no code, or DVC is not installed.
    """
    for name in (*_COPIED, CODE):
        if not (folder / name).exists():
            raise UserError(f"{folder} has no {name}: run this in the folder of the project, where dvc.yaml is")
    if importlib.util.find_spec("dvc") is None:
        raise UserError("DVC runs a study, and is not installed: pip install 'nofrost[dvc]'")


@dataclass(frozen=True)
class StudyFolder:
    """A study, and the folder that it is run in.

    Attributes:
        path: of the folder.
        study: checked, with everything spelled out.
        project: the folder with dvc.yaml and the code, which :func:`check_project` lets pass.
        images: where the images lie that the study looks for at these paths.
    """

    path: Path
    study: Study
    project: Path
    images: Mapping[str, Path]

    @property
    def report(self) -> Path:
        """The folder of its report."""
        return self.path / "report"

    def absent(self) -> list[str]:
        """Return which images are not there, and where, as far as it shows without opening files."""
        datasets = datasets_of(self.study)
        further = sorted(self.images.keys() - {spec.path for spec in datasets})
        absent = [f"test set {path} not in {place}" for path in further if not (place := self.images[path]).exists()]
        for spec in datasets:
            if resolve_source(spec, self.study.name).needs_path:
                here = spec.model_copy(update={"path": str(self.images[spec.path])})
                if names := resolve_source(here, self.study.name).absent():
                    absent.append(f"{', '.join(names)} of source {spec.source} not in {here.path}")
        return absent

    def record(self) -> StudyRecord | None:
        """Return what it took so far; None where it was not run, or was another study."""
        if not (self.path / RECORD).is_file() or not self._is_selected():
            return None
        return read_result(StudyRecord, self.path / RECORD)

    def set_up(self) -> None:
        """Write the study, the graph and DVC's settings, and link the images and the code; what is there stays.

        Raises:
            UserError: the folder is another's, its params.yaml was changed by hand, or something else lies in the way.
        """
        is_ours = self._check_ownership()
        make_folder(self.path / ".dvc")
        _write(self.path / ".dvc" / "config", _DVC_CONFIG.encode())
        for name in _COPIED:
            _write(self.path / name, (self.project / name).read_bytes())
        link(self.path / CODE, self.project / CODE)
        link_images(self.path, self.images, self.study)
        params = self.path / "params.yaml"
        if not self._is_selected():
            (self.path / RECORD).unlink(missing_ok=True)
            if is_ours:
                # It is of the study that was run here before.
                remove(self.report)
            write_text(params, study_as_yaml(self.study))
        _write(self.path / _WRITTEN, sha256_file(params).encode())

    def begin(self) -> int:
        """Note that an attempt begins; return how many were killed before their time was written down."""
        killed = int((self.path / RUNNING).is_file())
        before = self.record()
        (self.path / RUNNING).touch()
        return killed + (before.killed if before else 0)

    def end(self, attempt: Attempt, killed: int) -> None:
        """Write down what an attempt took; one that found everything up to date changes nothing."""
        before = self.record()
        is_done = attempt.exit_code == 0
        with suppress(FileNotFoundError):
            (self.path / RUNNING).unlink()
        if before and before.finished:
            if is_done and not attempt.stages:
                return
            if attempt.trained:
                # Trained again, as the code has changed.
                before, killed = None, 0
        train = self._train_record() or before
        if train is None:
            return
        trained = dict.fromkeys([*(before.trained if before else ()), *attempt.trained])
        record = StudyRecord(
            study=self.study.name,
            size=self.study.size,
            finished=datetime.now(UTC).date().isoformat() if is_done else None,
            wall_minutes=round((before.wall_minutes if before else 0.0) + attempt.wall_s / 60, 2),
            processor_minutes=round((before.processor_minutes if before else 0.0) + attempt.processor_s / 60, 2),
            trained=tuple(trained),
            trainings=len(self.study.trainings) + len(self.study.further.trainings),
            killed=killed,
            device=train.device,
            seeds=self.study.runs.seed,
            nofrost=train.nofrost,
            libraries=train.libraries,
        )
        write_result(self.path / RECORD, record)

    def _train_record(self) -> TrainRecord | None:
        """Return the record of its first training that is done; None where none is."""
        for training in (*self.study.trainings.values(), *self.study.further.trainings.values()):
            path = self.path / run_path(training.options.recipe, training.options.seed, "train") / RECORD
            if path.is_file():
                return read_result(TrainRecord, path)
        return None

    def _check_ownership(self) -> bool:
        """Return whether studies were run in the folder before.

        Raises:
            UserError: it is another's, or its params.yaml was changed by hand.
        """
        config, params, written = (self.path / name for name in (".dvc/config", "params.yaml", _WRITTEN))
        is_ours = written.is_file() or (config.is_file() and config.read_bytes() == _DVC_CONFIG.encode())
        for name in () if is_ours else ("dvc.yaml", ".dvc"):
            if (self.path / name).exists():
                raise UserError(
                    f"{self.path} has a {name} that `nofrost study run` did not write: choose another folder with --out"
                )
        before = written.read_text(encoding="utf-8") if written.is_file() else ""
        if params.is_file() and not self._is_selected() and before != sha256_file(params):
            raise UserError(
                f"{params} is not as `nofrost study run` wrote it: move it away to run the study without these "
                "changes, or choose another folder with --out"
            )
        return is_ours

    def _is_selected(self) -> bool:
        params = self.path / "params.yaml"
        return params.is_file() and params.read_bytes() == study_as_yaml(self.study).encode()


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
