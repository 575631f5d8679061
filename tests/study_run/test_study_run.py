"""`nofrost study run`: which studies are run, skipped, left or refused, and what it says of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.cli.study_run import StudyOutcome
from nofrost.errors import UserError
from nofrost.stopping import TerminatedError
from nofrost.study_run import Attempt, StudyFolder, check_project


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
