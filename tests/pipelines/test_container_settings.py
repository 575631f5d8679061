"""What a task's container gets of this machine: variables of the store, its folders, its certificates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines.local_tasks import Containers, ContainerTask


def test_a_container_gets_the_variables_and_certificates_of_the_store(tmp_path: Path) -> None:
    pytest.importorskip("docker")
    variables = {"AWS_ENDPOINT_URL_S3": "https://s3.test", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    containers = Containers("a", "b", environment=variables, folders=(tmp_path / "store",), certificates="/ca.pem")
    task = ContainerTask(cast("Any", None), containers, "image", [], str(tmp_path / "root"), None)
    settings = task._settings(cast("Any", SimpleNamespace(name="train")))
    assert variables.items() <= settings["environment"].items()
    assert settings["volumes"] == {
        str(tmp_path / "root"): {"bind": str(tmp_path / "root"), "mode": "rw"},
        str(tmp_path / "store"): {"bind": str(tmp_path / "store"), "mode": "rw"},
        "/ca.pem": {"bind": "/ca.pem", "mode": "ro"},
    }
    assert "hunter2" not in repr(task)
