"""A compiled pipeline as a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp")

from pipelines.cluster_settings import Cluster
from pipelines.graph_settings import GraphSettings
from pipelines.study_plan import RunPlan, StudyPlan
from pipelines.submit.packages import Packages
from tests.pipelines.submit.conftest import read_compiled


def test_the_compiled_pipeline_of_this_project_is_what_its_file_holds(tmp_path: Path) -> None:
    plan = StudyPlan("study", "dataset", "augmentation", (), (), (RunPlan("st", "0", "recipe"),))
    packages = Packages(tmp_path, GraphSettings(Cluster()))
    compiled = packages.write(packages.compile_study(plan))
    assert list(yaml.safe_load_all(compiled.path.read_bytes())) == [compiled.spec, compiled.platform]
    assert compiled.name == "nofrost"
    assert compiled.needs == {"securityContext"}
    assert set(compiled.parameters) == {"store", "stage_image", "train_image", "data_ref", "schedule"}


def test_the_version_is_the_content(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.yml"
    copy.write_bytes(package.read_bytes())
    changed = tmp_path / "changed.yaml"
    changed.write_bytes(package.read_bytes() + b"\n")
    versions = [read_compiled(path).version for path in (package, copy, changed)]
    assert versions[0] == versions[1] != versions[2]
    assert re.fullmatch("sha256-[0-9a-f]{12}", versions[0])
