"""Studies in folders of their own: what is laid there, what they took, and which of them cannot be run."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.cli.study_run import StudyOutcome
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
# What `python -m dvc repro` stands for here: it prints the lines of DVC, and ends as the file `exit-code` says.
FAKE_DVC = """
import os, pathlib, sys
assert sys.argv[1:] == ["repro"] and pathlib.Path("params.yaml").is_file()
assert os.environ["PATH"].split(os.pathsep)[0] == str(pathlib.Path(sys.executable).parent)
print("Running stage 'train@st-0':\\nStage 'train@sat-0' is cached - skipping run, checking out outputs", flush=True)
code = pathlib.Path("../exit-code")
sys.exit(int(code.read_text()) if code.is_file() else 0)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what a study is run from."""
    folder = tmp_path / "project"
    for name in ("components", "data/source"):
        (folder / name).mkdir(parents=True)
    for name in ("dvc.yaml", ".dvcignore"):
        (folder / name).write_text(f"# {name}\n")
    return folder


@pytest.fixture
def fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules" / "dvc").mkdir(parents=True)
    (tmp_path / "modules" / "dvc" / "__init__.py").touch()
    (tmp_path / "modules" / "dvc" / "__main__.py").write_text(FAKE_DVC)
    path = os.pathsep.join([str(tmp_path / "modules"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)


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


def run(*arguments: str) -> tuple[int, Any, str]:
    result = CliRunner().invoke(cli, ["study", "run", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


def my_study(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a study on digits, which takes 7 minutes."""
    monkeypatch.setattr("nofrost.study_cost.study_cost", lambda study, speeds: SimpleNamespace(minutes=7.0))
    path = project / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "digits", "name": "mine"}), encoding="utf-8")
    return path


def test_a_study_without_its_images_is_skipped_and_the_others_go_on(
    project: Path, fake_dvc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    mine = my_study(project, monkeypatch)
    code, outcomes, printed = run("zeise2025-table-1", str(mine))
    assert code == 2
    assert [(each["study"], each["state"]) for each in outcomes] == [
        ("zeise2025-table-1", "skipped"),
        ("mine", "finished"),
    ]
    assert "cifar-10-python.tar.gz of source cifar10 not in" in outcomes[0]["reason"]
    assert "--source SOURCE=PATH" in outcomes[0]["reason"]
    assert "study 2 of 2, mine: about 7 minutes, as fast as this machine is now" in printed
    assert (project / "papers" / "mine" / "params.yaml").is_file()
    assert not (project / "papers" / "zeise2025-table-1").exists()


def test_the_images_of_further_datasets_are_looked_for_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    values = {
        "base": "digits",
        "name": "mine",
        "dataset": {"source": "mnist", "image_size": None},
        "datasets": {"colours": {"source": "cifar10"}},
        "runs": {"recipe": ["st"], "dataset": {"colours": ["sat"]}},
        "augmentation": {"methods": []},
        "suites": {"ood": {"quick": None}},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    code, outcomes, _ = run("mine.yaml")
    assert (code, outcomes[0]["state"]) == (2, "skipped")
    assert "of source mnist not in" in outcomes[0]["reason"]
    assert "of source cifar10 not in" in outcomes[0]["reason"]
    with pytest.raises(UserError, match="looks for images of several sources at data/source: put them into one folder"):
        CliRunner().invoke(cli, ["study", "run", "mine.yaml", "--source", f"mnist={project}"], catch_exceptions=False)


def test_a_study_that_fails_is_left(project: Path, fake_dvc: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    mine = my_study(project, monkeypatch)
    (project / "papers").mkdir()
    (project / "papers" / "exit-code").write_text("1")
    code, outcomes, _ = run(str(mine))
    assert (code, outcomes[0]["state"]) == (1, "failed")


def test_a_study_in_a_folder_of_another_fails_and_the_others_go_on(
    project: Path, fake_dvc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    mine = my_study(project, monkeypatch)
    other = project / "other.yaml"
    other.write_text(yaml.safe_dump({"base": "digits", "name": "other"}), encoding="utf-8")
    (project / "papers" / "mine").mkdir(parents=True)
    (project / "papers" / "mine" / "dvc.yaml").touch()
    code, outcomes, printed = run(str(mine), str(other))
    assert (code, [each["state"] for each in outcomes]) == (1, ["failed", "finished"])
    assert "mine failed: " in printed
    assert "has a dvc.yaml that" in outcomes[0]["reason"]


def test_a_study_whose_folder_cannot_be_written_fails_and_the_others_go_on(
    project: Path, fake_dvc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: StudyFolder, attempt: Attempt, killed: int) -> None:
        if folder.study.name == "third":
            raise OSError(28, "No space left on device")

    monkeypatch.chdir(project)
    monkeypatch.setattr(StudyFolder, "end", refused)
    names = ["mine", "other", "third", "last"]
    my_study(project, monkeypatch)
    for name in names[1:]:
        (project / f"{name}.yaml").write_text(yaml.safe_dump({"base": "digits", "name": name}), encoding="utf-8")
    (project / "papers").mkdir()
    (project / "papers" / "mine").touch()
    code, outcomes, _ = run(*(f"{name}.yaml" for name in names))
    assert (code, [each["state"] for each in outcomes]) == (1, ["failed", "finished", "failed", "finished"])
    assert outcomes[0]["reason"] == "cannot write papers/mine: not a directory: choose another place"
    assert outcomes[2]["reason"].startswith("cannot write papers/third: no space left on device: ")


def test_a_request_to_stop_ends_all_studies_also_where_the_record_cannot_be_written(
    project: Path, fake_dvc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: StudyFolder, attempt: Attempt, killed: int) -> None:
        raise OSError(28, "No space left on device")

    def stop(line: str) -> None:
        raise TerminatedError

    monkeypatch.chdir(project)
    monkeypatch.setattr(StudyFolder, "end", refused)
    monkeypatch.setattr("nofrost.cli.study_run._echo", stop)
    with pytest.raises(TerminatedError):
        CliRunner().invoke(cli, ["study", "run", str(my_study(project, monkeypatch))], catch_exceptions=False)


def test_all_sources_are_downloaded_that_can_be(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("nofrost.cli.study_run._planned_minutes", lambda folder, speeds: 0.0)
    mine = project / "mnist"
    mine.mkdir()
    studies = []

    def kept(folder: StudyFolder) -> StudyOutcome:
        studies.append(folder)
        return StudyOutcome(folder.study.name, "finished")

    monkeypatch.setattr("nofrost.cli.study_run._run", kept)
    values = {
        "base": "digits",
        "name": "mine",
        "datasets": {"large": {"source": "mnist", "path": "data/mnist", "image_size": 28}},
        "runs": {"recipe": ["st"], "dataset": {"large": ["sat"]}},
        "augmentation": {"methods": []},
        "suites": {"ood": {"quick": None}},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    run("mine.yaml", "galloway2019-text", "--download", "--source", f"mnist={mine}")
    digits, text = studies
    assert "download" not in digits.study.dataset.as_json()
    assert digits.study.datasets["large"].as_json()["download"] is True
    # Nothing is fetched to a folder of the user's.
    assert digits.images["data/mnist"] == project / "papers/.source/mnist"
    assert all(spec.as_json()["download"] for spec in [text.study.dataset, *text.study.datasets.values()])
    assert text.images["data/source/cifar10"] == project / "papers/.source/cifar10"
    assert not list(mine.iterdir())


def test_a_paper_stands_for_its_studies(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    code, outcomes, _ = run("xie2020", "--source", f"cifar10={project}")
    assert code == 2
    assert [each["study"] for each in outcomes] == sorted(each["study"] for each in outcomes)
    assert "xie2020-table-1" in [each["study"] for each in outcomes]
    assert {each["study"].partition("-")[0] for each in outcomes} == {"xie2020"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zeise2025-table-99"], "zeise2025-table-99"),
        (["zeise2025-table-1", "--size", "smal"], "did you mean 'small'"),
        (["zeise2025-table-1", "--source", "mnist=a"], "none of the chosen studies reads images of mnist"),
        (["zeise2025-table-1", "--source", "cifar10="], "give one path for a source"),
        (["zeise2025-table-1", "--source", "a", "--source", "b"], "give one path for a source"),
        (["zeise2025-table-1", "--source", "cifar=/x"], "unknown source 'cifar': did you mean 'cifar10'"),
        (["mine.yaml", "--out", "dvc.yaml"], r"cannot write dvc\.yaml: not a directory: choose another place"),
        (["mine.yaml", "--out", "dvc.yaml/papers"], "cannot write dvc.yaml/papers: not a directory"),
        (["mine.yaml", "--out", "/dev/null"], "cannot write /dev/null: not a directory"),
        (["mine.yaml", "--out", "/proc/x"], "cannot write /proc/x: no such file or directory"),
        (["mine.yaml", "./mine.yaml"], r"mine\.yaml and \./mine\.yaml are both studies of the name mine"),
        (["mine.yaml", "digits"], "mine.yaml and digits are both studies of the name digits"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(
    arguments: list[str], message: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    name = "digits" if "digits" in arguments else "mine"
    (project / "mine.yaml").write_text(yaml.safe_dump({"base": "digits", "name": name}), encoding="utf-8")
    before = sorted(project.rglob("*"))
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(cli, ["study", "run", *arguments], catch_exceptions=False)
    assert sorted(project.rglob("*")) == before


def test_outside_of_a_project_nothing_is_planned_or_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"has no dvc\.yaml: run this in the folder of the project"):
        CliRunner().invoke(cli, ["study", "run", "galloway2019"], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_path_with_an_equals_sign_is_no_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "a=b").mkdir()
    for place in ("a=b", f"{project}/c=d"):
        code, outcomes, _ = run("zeise2025-table-1", "--source", place)
        assert code == 2
        assert place in outcomes[0]["reason"]


def test_without_dvc_the_remedy_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc", None)
    with pytest.raises(UserError, match=r"pip install 'nofrost\[dvc\]'"):
        check_project(project)
