"""A printed table whose trainings start from one another, by `dvc repro` and by the pipeline on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.local_project import assert_same_metrics, call, executed, make_project, pipeline

STARTED = ("all-n-bn-a", "all-n-rest-a")
ROWS = (*STARTED, "all-n")
# The smallest size of a table, with half of its rows.
TABLE = {"base": "zeise2025-table-1", "sizes": {"tiny": {"runs": {"recipe": list(ROWS)}}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a table of three rows, two of which start from the third."""
    folder = tmp_path_factory.mktemp("starts")
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE))
    return make_project(folder / "project", "../table.yaml", "--size", "tiny")


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestAPrintedTable:
    """In order: each test continues from the state that the one before left."""

    def test_the_pipeline_gives_the_metrics_of_every_stage_of_dvc_repro(self, project: Path) -> None:
        outputs = assert_same_metrics(project)
        assert read(outputs["report"] / "metrics.json")["runs"].keys() == set(ROWS)
        for folder in ({row: outputs[train(row)] for row in ROWS}, {row: project / train(row) for row in ROWS}):
            started = [row for row in ROWS if "start" in read(folder[row] / "record.json")["inputs"]]
            assert started == list(STARTED)

    def test_changing_the_recipe_of_a_row_trains_that_row_again_and_nothing_else(self, project: Path) -> None:
        before = {row: weights(project, row) for row in ROWS}
        study = yaml.safe_load((project / "params.yaml").read_text())
        study["recipes"]["all-n-bn-a"]["phases"]["bn-a"]["optimiser"] = {"lr": 0.05}
        (project / "params.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        said = call("dvc", "repro", cwd=project).stdout
        assert re.findall("Running stage '(.+)'", said) == [
            "train@all-n-bn-a-0",
            "evaluate-adversarial@all-n-bn-a-0-zeise2025",
            "report",
        ]
        assert [row for row in ROWS if weights(project, row) != before[row]] == ["all-n-bn-a"]
        ran = executed(pipeline(project).stdout)
        assert [task for task in ran if task.startswith(("train", "evaluate"))] == [
            "train all-n-bn-a, seed 0",
            "evaluate-adversarial all-n-bn-a, seed 0, zeise2025",
        ]


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def train(row: str) -> str:
    return f"runs/{row}/seed-0/train"


def weights(project: Path, row: str) -> bytes:
    return (project / train(row) / "last.safetensors").read_bytes()
