"""The whole pipeline of the default study in containers, against a real S3 server that checks signatures.

Run by `make test-containers`, which builds the images and starts the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp")

from nofrost.store import open_store
from pipelines.children import Children
from pipelines.local_tasks import ContainerTasks
from pipelines.run_log import RunLog

ROOT = Path(__file__).parents[2]
NEEDED = ("NOFROST_STAGE_IMAGE", "NOFROST_TRAIN_IMAGE", "NOFROST_TEST_S3")
pytestmark = [
    pytest.mark.skipif(not all(map(os.environ.get, NEEDED)), reason="no images or S3 server: `make test-containers`"),
    pytest.mark.timeout(1800),
]


def call(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 or not check, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended


def in_containers(folder: Path, store: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    images = ("--stage-image", os.environ["NOFROST_STAGE_IMAGE"], "--train-image", os.environ["NOFROST_TRAIN_IMAGE"])
    where = ("--runner", "docker", "--store", store, "--out", "kfp")
    return call(sys.executable, "-m", "pipelines", "run", *images, *where, *arguments, cwd=folder, check=check)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's files that `dvc repro` needs, with the default study."""
    folder = tmp_path_factory.mktemp("containers") / "project"
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "data/source").mkdir(parents=True)
    (folder / "data/source/README.md").write_bytes((ROOT / "data/source/README.md").read_bytes())
    (folder / "components").symlink_to(ROOT / "components")
    return folder


@pytest.fixture(scope="module")
def store() -> str:
    return f"{os.environ['NOFROST_TEST_S3']}/{uuid.uuid4()}"


def test_the_default_study_runs_and_prepare_and_augment_have_the_refs_of_dvc_repro(project: Path, store: str) -> None:
    """What `dvc push` has on the host and what a container pushed is one and the same object."""
    finished = json.loads(in_containers(project, store, "--json", "--shards", "2").stdout)
    page = Path(finished["report"]).read_text(encoding="utf-8")
    assert all(recipe in page for recipe in ("st", "sat", "mbnat", "nofrost"))
    call("dvc", "init", "--no-scm", "--quiet", cwd=project)
    call("dvc", "remote", "add", "--default", "s3", store, cwd=project)
    call("dvc", "repro", "--quiet", "prepare", "augment", cwd=project)
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    of_host = {stage: lock[stage]["outs"][0]["md5"] for stage in ("prepare", "augment")}
    call("nofrost", "promote", finished["run"], "--yes", cwd=project)
    promoted = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert {stage: promoted[stage]["outs"][0]["md5"] for stage in of_host} == of_host
    call("dvc", "pull", "--quiet", "runs/nofrost/seed-0/train", cwd=project)
    assert (project / "runs/nofrost/seed-0/train/best.safetensors").is_file()
    assert call("dvc", "status", "prepare", "augment", cwd=project).stdout.strip().endswith("up to date.")


def test_a_failed_task_fails_the_run(project: Path, store: str) -> None:
    """kfp's own Docker runner can mistake it for a success."""
    wrong = ("--set", "recipes.st.model.arch=no-such", "--set", "runs.recipe=[st]")
    ended = in_containers(project, store, *wrong, check=False)
    assert ended.returncode == 1
    assert "train st, seed 0 (exit code 2): nofrost: unknown arch 'no-such'" in ended.stderr
    assert "finish: done" in ended.stdout


def test_docker_shows_nothing_of_how_a_task_reaches_the_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docker

    monkeypatch.setenv("https_proxy", "http://somebody:password-of-this-test@127.0.0.1:1")
    opened = open_store(store)
    (tmp_path / "tasks").mkdir()
    run_log = RunLog(tmp_path / "logs", None)
    image = os.environ["NOFROST_STAGE_IMAGE"]
    children = Children(run_log.say, secrets=[tmp_path / "credentials"])
    places = (tmp_path / "credentials", tmp_path / "tasks")
    tasks = ContainerTasks(run_log, children, "run-1", image, image, False, opened, *places)
    script = ["sh", "-c", "env; sleep 5", "--executor_input", "{}", "--function_to_execute", "prepare"]
    client = docker.from_env()
    with children, ThreadPoolExecutor(1) as pool, contextlib.closing(client):
        task = pool.submit(tasks, script, {})
        while not (running := client.containers.list(filters={"ancestor": image})):
            assert not task.done()
            time.sleep(0.1)
        shown = json.dumps(running[0].attrs)
        assert task.result()
    for name, value in opened.container_environment().items():
        assert f"{name}={value}" in run_log.tasks[0].log.read_text()
        assert name not in shown
        # The file of certificates is mounted under its path.
        assert name == "AWS_CA_BUNDLE" or len(value) < 8 or value not in shown


def test_a_run_leaves_no_containers(project: Path) -> None:
    import docker

    client = docker.from_env()
    try:
        images = {os.environ["NOFROST_STAGE_IMAGE"], os.environ["NOFROST_TRAIN_IMAGE"]}
        assert not [each.name for each in client.containers.list(all=True) if each.attrs["Image"] in images]
    finally:
        client.close()


def test_a_wrong_secret_ends_the_run_with_one_sentence(
    project: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-this-test")
    ended = in_containers(project, store, "--set", "dataset.seed=5", check=False)
    assert ended.returncode in (1, 2)
    said = ended.stdout + ended.stderr + "".join(log.read_text() for log in (project / "kfp/logs").glob("*.log"))
    assert "wrong-secret-of-this-test" not in said
    assert ended.stderr.startswith("nofrost: ")
    assert "Traceback" not in ended.stderr
