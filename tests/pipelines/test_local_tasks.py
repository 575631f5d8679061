"""Containers of a local run reach the store as the run itself does, and show no secret."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("docker")

from pipelines import local_run
from pipelines.children import Children
from pipelines.local_tasks import Containers, ContainerTask
from pipelines.run_log import RunLog, Task

SECRETS = {"AWS_ACCESS_KEY_ID": "our-key-id", "AWS_SECRET_ACCESS_KEY": "our%secret#", "AWS_SESSION_TOKEN": "our-token"}
OPEN = {"AWS_ENDPOINT_URL_S3": "http://localhost:9000", "AWS_DEFAULT_REGION": "eu-1", "HTTPS_PROXY": "http://proxy:1"}


class S3:
    """A store on S3 with these settings."""

    url = "s3://bucket/x"

    def __init__(self, **variables: str) -> None:
        self._variables = variables

    def container_environment(self) -> dict[str, str]:
        return dict(self._variables)


def settings(store: Any, folder: Path) -> dict[str, Any]:
    containers = Containers("stage", "train", False, store, folder / "credentials")
    log = RunLog(folder / "logs", None)
    task = ContainerTask(log, Children(log.say), containers, "image", [], str(folder / "tasks"), None, {"OWN": "1"})
    made: dict[str, Any] = task._settings(Task("prepare"))
    return made


def test_containers_get_what_the_opened_store_has(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    made = settings(S3(**SECRETS, **OPEN, AWS_CA_BUNDLE=str(bundle)), tmp_path)
    assert made["environment"].items() >= {**OPEN, "AWS_CA_BUNDLE": str(bundle), "OWN": "1"}.items()
    assert made["volumes"][str(bundle)] == {"bind": str(bundle), "mode": "ro"}
    assert made["volumes"][str(tmp_path / "tasks")]["mode"] == "rw"
    assert made["network_mode"] == "host", "localhost is this machine"


def test_credentials_are_in_a_private_file_that_boto3_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    made = settings(S3(**SECRETS, **OPEN), tmp_path)
    for value in SECRETS.values():
        assert value not in str(made)
    path = made["environment"]["AWS_SHARED_CREDENTIALS_FILE"]
    assert made["volumes"][path] == {"bind": path, "mode": "ro"}
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert f"{Path(path).stat().st_uid}:" in made["user"]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", path)
    found = boto3.Session().get_credentials().get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == tuple(SECRETS.values())


def test_credentials_of_tasks_that_begin_at_once_are_always_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    containers = Containers("stage", "train", False, S3(**SECRETS), path)  # type: ignore[arg-type]
    containers.environment()
    whole = path.read_text()
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(containers.environment) for _ in range(500)]
        while not all(task.done() for task in tasks):
            assert path.read_text() == whole
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for task in tasks:
            task.result()
    assert list(tmp_path.iterdir()) == [path]


def test_no_credentials_are_left_when_a_run_fails_before_its_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert (tmp_path / "credentials").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(local_run, "open_store", lambda _: S3(**SECRETS))
    monkeypatch.setattr(local_run, "push_source", lambda *_: "source")
    monkeypatch.setattr(local_run, "plan_study", lambda *_: None)
    monkeypatch.setattr(local_run, "make_pipeline", lambda *_, **__: None)
    monkeypatch.setattr(local_run, "image_id", lambda name: name)
    monkeypatch.setattr(local_run, "as_containers", fail)
    study: Any = None
    with pytest.raises(KeyboardInterrupt):
        local_run.run(study, runner="docker", store="s3://bucket/x", folder=tmp_path, images=("stage", "train"))
    assert not (tmp_path / "credentials").exists()


def test_a_local_store_is_mounted(tmp_path: Path) -> None:
    store = S3()
    store.url = str(tmp_path / "störe")
    assert settings(store, tmp_path)["volumes"][store.url] == {"bind": store.url, "mode": "rw"}
