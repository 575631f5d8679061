"""Studies in folders of their own: what is laid there, and what they took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import load_study
from nofrost.errors import UserError
from nofrost.files import write_json
from nofrost.stopping import TerminatedError
from nofrost.study_run import Attempt, StudyFolder, check_project, dvc_repro
from nofrost.tasks import check_study

ATTEMPT = Attempt(exit_code=0, trained=("st-0",), wall_s=90.0, processor_s=60.0, stages=2)
TRAIN_RECORD = {
    "stage": "train",
    "nofrost": "0.2.0",
    "config": {},
    "inputs": {},
    "seeds": {"seed": 0},
    "libraries": {"torch": "2.8"},
    "device": "cpu",
    "steps": {},
    "window": None,
}


def folder_of(project: Path, *overrides: str) -> StudyFolder:
    study = check_study(load_study("digits", ["runs.recipe=[st, sat]", *overrides]))
    return StudyFolder(
        project.parent / "papers" / "digits", study, project, {"data/source": project / "data" / "source"}
    )


def trained(folder: StudyFolder, attempt: Attempt = ATTEMPT) -> Any:
    """Let an attempt begin, train and end; return the record."""
    killed = folder.begin()
    path = folder.path / "runs/st/seed-0/train"
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "record.json", TRAIN_RECORD)
    folder.end(attempt, killed)
    return folder.record()


def test_a_study_gets_the_graph_the_code_and_the_images_and_a_cache_that_all_share(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    assert (folder.path / "components").resolve() == project / "components"
    assert (folder.path / "data/source").resolve() == project / "data/source"
    assert (folder.path / "dvc.yaml").read_text() == "# dvc.yaml\n"
    assert "dir = ../../.cache" in (folder.path / ".dvc/config").read_text()
    assert yaml.safe_load((folder.path / "params.yaml").read_text())["runs"]["recipe"] == ["st", "sat"]
    before = (folder.path / "params.yaml").stat().st_mtime_ns
    (project / "dvc.yaml").write_text("# another graph\n")
    folder.set_up()
    assert (folder.path / "dvc.yaml").read_text() == "# another graph\n"
    assert (folder.path / "params.yaml").stat().st_mtime_ns == before


def test_other_images_are_linked_and_a_folder_in_the_way_is_named(project: Path, tmp_path: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    (tmp_path / "other").mkdir()
    replace(folder, images={"data/source": tmp_path / "other"}).set_up()
    assert (folder.path / "data/source").resolve() == tmp_path / "other"
    (folder.path / "components").unlink()
    (folder.path / "components").mkdir()
    (folder.path / "components" / "mine").touch()
    with pytest.raises(UserError, match="components is no link"):
        folder.set_up()


def test_a_folder_that_is_no_project_is_named(project: Path) -> None:
    (project / "dvc.yaml").unlink()
    with pytest.raises(UserError, match=r"has no dvc\.yaml: run this in the folder of the project"):
        check_project(project)


def test_the_record_adds_up_attempts_and_says_what_was_trained_here(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    first = trained(folder, replace(ATTEMPT, exit_code=1))
    assert (first.finished, first.processor_minutes, first.device) == (None, 1.0, "cpu")
    second = trained(folder, replace(ATTEMPT, trained=("sat-0",)))
    assert second.finished
    assert (second.wall_minutes, second.processor_minutes, second.trained, second.trainings) == (
        3.0,
        2.0,
        ("st-0", "sat-0"),
        2,
    )


def test_a_finished_study_that_is_asked_again_keeps_its_record(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    first = trained(folder)
    assert trained(folder, replace(ATTEMPT, trained=(), stages=0)) == first
    evaluated = trained(folder, replace(ATTEMPT, trained=(), stages=1))
    assert (evaluated.processor_minutes, evaluated.trained) == (2.0, ("st-0",))
    assert trained(folder, replace(ATTEMPT, processor_s=30.0)).processor_minutes == 0.5


def test_a_finished_study_that_then_fails_is_finished_no_more(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    assert trained(folder).finished
    failed = trained(folder, replace(ATTEMPT, exit_code=1, trained=(), stages=0))
    assert (failed.finished, failed.trained, failed.processor_minutes) == (None, ("st-0",), 2.0)
    assert trained(folder, replace(ATTEMPT, trained=())).finished


def test_the_record_is_of_a_training_of_the_study(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    (folder.path / "runs/a-former/seed-0/train").mkdir(parents=True)
    write_json(folder.path / "runs/a-former/seed-0/train/record.json", {**TRAIN_RECORD, "device": "cuda"})
    assert trained(folder).device == "cpu"


def test_an_attempt_that_was_killed_is_counted(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    folder.begin()
    assert trained(folder).killed == 1


def test_another_study_of_the_name_has_no_record_yet(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    assert trained(folder)
    other = folder_of(project, "runs.seed=[1]")
    assert other.record() is None
    (folder.path / "report").mkdir()
    folder.set_up()
    assert folder.report.is_dir()
    other.set_up()
    assert other.record() is None
    assert not other.report.exists()


def test_settings_that_were_changed_by_hand_are_kept(project: Path) -> None:
    folder = folder_of(project)
    folder.set_up()
    params = folder.path / "params.yaml"
    changed = params.read_text() + "\n# mine\n"
    params.write_text(changed)
    for asked in (folder, folder_of(project, "runs.seed=[1]")):
        with pytest.raises(UserError, match=r"params\.yaml is not as `nofrost study run` wrote it: move it away"):
            asked.set_up()
    assert params.read_text() == changed


@pytest.mark.parametrize("name", ["dvc.yaml", ".dvc/config", "params.yaml"])
def test_a_folder_of_another_is_left_as_it_is(name: str, project: Path) -> None:
    folder = folder_of(project)
    (folder.path / name).parent.mkdir(parents=True)
    (folder.path / name).write_bytes(b"# m\xefne\n")
    with pytest.raises(UserError, match=r"`nofrost study run` (did not write|wrote it).* choose another folder"):
        folder.set_up()
    assert [path for path in folder.path.rglob("*") if path.is_file()] == [folder.path / name]


def test_dvc_says_what_was_trained_and_what_it_took(project: Path, fake_dvc: None) -> None:
    folder = folder_of(project)
    folder.set_up()
    lines: list[str] = []
    attempts: list[Attempt] = []
    dvc_repro(folder.path, lines.append, attempts.append)
    (folder.path.parent / "exit-code").write_text("1")
    dvc_repro(folder.path, lines.append, attempts.append)
    assert [(each.exit_code, each.trained) for each in attempts] == [(0, ("st-0",)), (1, ("st-0",))]
    assert all(each.stages == 1 and each.wall_s > 0 and each.processor_s > 0 for each in attempts)
    assert lines[0] == "Running stage 'train@st-0':"


def test_a_request_to_stop_ends_dvc_and_is_written_down(project: Path, fake_dvc: None) -> None:
    folder = folder_of(project)
    folder.set_up()

    def stop(line: str) -> None:
        raise TerminatedError

    attempts: list[Attempt] = []
    with pytest.raises(TerminatedError):
        dvc_repro(folder.path, stop, attempts.append)
    assert [each.exit_code for each in attempts] == [None]
