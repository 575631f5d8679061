"""A study of two datasets, by `dvc repro` and by the pipeline on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.pipelines.local_project import assert_same_metrics, call, executed, make_project, pipeline

SUITE = {
    "base": "adversarial-quick",
    "attacks": {"apgd-ce-100": {"steps": 2}, "square-200": {"queries": 10}},
    "steps_curve": None,
    "budget_curve": None,
    "properties": None,
    "max_images": 12,
}
STUDY = {
    "name": "two",
    "title": "Two sizes of images",
    "dataset": {"source": "digits", "image_size": 8, "limit": 200},
    "datasets": {"px-12": {"image_size": 12}},
    "augmentation": {"methods": []},
    "recipes": {"st": "st", "larger": {"base": "st"}, "sat": "sat"},
    "scale": {
        "model": {"arch": "linear"},
        "views": {"image_size": None, "random_resized_crop": None},
        "schedule": {"epochs": 1, "batch_size": 64, "lr_warmup_epochs": 0},
        "attack": {"steps": 1},
    },
    "runs": {"dataset": {"px-12": ["larger", "sat"]}},
    "suites": {"adversarial": {"quick": SUITE}},
    "gate": None,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "two.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return make_project(folder / "project", "../two.yaml")


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestAStudyOfTwoDatasets:
    """In order: each test continues from the state that the one before left."""

    def test_the_pipeline_gives_the_metrics_of_every_stage_of_dvc_repro(self, project: Path) -> None:
        outputs = assert_same_metrics(project)
        assert {"data/dataset", "data/datasets/px-12"} <= outputs.keys()
        for report in (outputs["report"], project / "report"):
            assert list(json.loads((report / "metrics.json").read_text())["runs"]) == ["st", "larger", "sat"]
            page = (report / "report.md").read_text(encoding="utf-8")
            # Runs on images of different sizes are never compared.
            assert "larger \N{MINUS SIGN} sat" in page
            assert "st \N{MINUS SIGN} larger" not in page

    def test_a_further_dataset_that_changes_trains_its_own_recipes_again_and_no_others(self, project: Path) -> None:
        call("nofrost", "study", "select", "../two.yaml", "--set", "datasets.px-12.image_size=10", cwd=project)
        said = call("dvc", "repro", cwd=project).stdout
        assert set(re.findall("Running stage '(.+)'", said)) == {
            "prepare-further@px-12",
            "augment-further@px-12",
            "train-further@larger-0",
            "train-further@sat-0",
            "evaluate-adversarial-further@larger-0-quick",
            "evaluate-adversarial-further@sat-0-quick",
            "report",
        }
        ran = executed(pipeline(project).stdout)
        assert {task for task in ran if task.startswith(("train", "evaluate"))} == {
            "train larger, seed 0",
            "train sat, seed 0",
            "evaluate-adversarial larger, seed 0, quick",
            "evaluate-adversarial sat, seed 0, quick",
        }
