"""Tasks of a local run have readable titles; containers reach the store as the run itself does, and show no secret."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("kfp")
pytest.importorskip("docker")

import docker
from nofrost.config import load_study
from nofrost.tasks.ascii_text import to_ascii
from pipelines import local_run
from pipelines.children import Children
from pipelines.local_tasks import ContainerTasks, ProcessTasks
from pipelines.run_log import RunLog, Task

SECRETS = {
    "AWS_ACCESS_KEY_ID": "our-key-id",
    "AWS_SECRET_ACCESS_KEY": "our%secret#'$x\\",
    "AWS_SESSION_TOKEN": "a b\n c",
}
PROXY = {"HTTPS_PROXY": "http://somebody:our-password@proxy:1"}
OPEN = {"AWS_ENDPOINT_URL_S3": "http://localhost:9000", "AWS_DEFAULT_REGION": "eu-1"}
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


class S3:
    """A store on S3 with these settings."""

    url = "s3://bucket/x"

    def __init__(self, **variables: str) -> None:
        self._variables = variables

    def container_environment(self) -> dict[str, str]:
        return dict(self._variables)


def container_tasks(store: Any, folder: Path) -> ContainerTasks:
    log = RunLog(folder / "logs", None)
    places = (folder / "credentials", folder / "tasks")
    return ContainerTasks(log, Children(log.say), "run-1", "stage", "train", False, store, *places)


def settings(store: Any, folder: Path, command: tuple[str, ...] = ("true",)) -> dict[str, Any]:
    return container_tasks(store, folder).settings("prepare", command, {"OWN": "1"})


def test_containers_get_what_the_opened_store_has_and_docker_shows_none_of_it(tmp_path: Path) -> None:
    made = settings(S3(**SECRETS, **PROXY, **OPEN), tmp_path, (sys.executable, "-c", SHOW))
    assert made["environment"] == {"OWN": "1"}
    assert not made["use_config_proxy"]
    for value in (*SECRETS.values(), *PROXY.values()):
        assert value not in str(made)
    done = subprocess.run(made["command"], env=made["environment"], stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout).items() >= {**SECRETS, **PROXY, **OPEN, "OWN": "1"}.items()
    assert made["volumes"][str(tmp_path / "tasks")]["mode"] == "rw"
    assert made["network_mode"] == "host", "localhost is this machine"


def test_the_credentials_are_in_a_file_that_only_the_user_of_the_container_reads(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    for _ in range(2):
        made = settings(S3(**SECRETS), tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made["volumes"][str(path)] == {"bind": str(path), "mode": "ro"}
    assert made["user"].startswith(f"{path.stat().st_uid}:")


def test_a_command_that_fails_in_a_container_keeps_its_exit_code(tmp_path: Path) -> None:
    for code in (0, 2, 143):
        made = settings(S3(**SECRETS), tmp_path, ("sh", "-c", f"exit {code}"))
        assert subprocess.run(made["command"], check=False).returncode == code
    (tmp_path / "credentials").unlink()
    assert subprocess.run(made["command"], stderr=subprocess.PIPE, check=False).returncode not in (0, 143)


def test_certificates_and_a_local_store_are_mounted(tmp_path: Path) -> None:
    bundle = str(tmp_path / "ca.pem")
    assert settings(S3(AWS_CA_BUNDLE=bundle), tmp_path)["volumes"][bundle] == {"bind": bundle, "mode": "ro"}
    store = S3()
    store.url = str(tmp_path / "störe")
    made = settings(store, tmp_path)
    assert made["volumes"][store.url] == {"bind": store.url, "mode": "rw"}
    assert made["command"] == ["true"], "there are no credentials to read"


def test_no_credentials_are_left_when_a_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pipeline: Any, arguments: Any, tasks: ContainerTasks, *_: object) -> None:
        tasks.settings("prepare", [], {})
        assert list(tmp_path.glob("credentials*")) == [tasks.credentials]
        assert tasks.run_id in tasks.credentials.name
        raise KeyboardInterrupt

    (tmp_path / "credentials-of-an-earlier-run").touch()

    monkeypatch.setattr(local_run, "open_store", lambda _: S3(**SECRETS))
    monkeypatch.setattr(local_run, "push_source", lambda *_: "source")
    monkeypatch.setattr(local_run, "image_id", lambda name: name)
    monkeypatch.setattr(local_run, "_run_graph", fail)
    study = load_study("digits", ())
    with pytest.raises(KeyboardInterrupt):
        local_run.run(study, runner="docker", store="s3://bucket/x", folder=tmp_path, images=("stage", "train"))
    assert not list(tmp_path.glob("credentials*"))


def test_an_error_of_docker_fails_the_task_and_is_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MagicMock()
    client.containers.create.return_value.start.side_effect = docker.errors.APIError("no device driver for gpu")
    monkeypatch.setattr(docker, "from_env", lambda: client)
    tasks = container_tasks(S3(), tmp_path)
    with tasks.children:
        assert not tasks(["nofrost", "task", "train", "--recipe-id", "sat", "--seed", "0"], {})
    (failure,) = tasks.run_log.failures()
    assert failure.exit_code == 125
    assert "no device driver for gpu" in failure.last_line()
    client.containers.create.return_value.remove.assert_called_once_with(force=True)


def test_a_process_has_this_python_first_and_knows_the_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path, None)
    tasks = ProcessTasks(log, Children(log.say), "run-1")
    command = ["sh", "-c", 'exec python -c "$1"', "nofrost", SHOW]
    with tasks.children:
        assert tasks([*command, *arguments("prepare", {})], {"OWN": "1", "NOFROST_METRICS_PORT": "8081"})
    environment = json.loads(log.tasks[0].last_line())
    assert environment.items() >= {"NOFROST_RUN_ID": "run-1", "OWN": "1"}.items()
    assert "NOFROST_METRICS_PORT" not in environment, "on one machine the tasks of several runs would want the same one"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def arguments(function: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return the arguments that kfp gives the function of a component."""
    executor_input = json.dumps({"inputs": {"parameterValues": parameters}})
    return ["--executor_input", executor_input, "--function_to_execute", function]


CHECKPOINT = f"runs/sat/seed-0/train@{'0' * 32}.dir:1:1"
EVALUATED = {"suite_id": "quick", "suite": to_ascii(json.dumps({"kind": "ood"})), "checkpoint": CHECKPOINT}


@pytest.mark.parametrize(
    ("command", "title"),
    [
        (["nofrost", "task", "train", "--recipe-id", "sat", "--seed", "0", "--gpus", "1"], "train sat, seed 0"),
        (["nofrost", "task", "launch", "--recipe-id", "sat", "--seed", "0", "--nodes", "2"], "launch sat, seed 0"),
        (arguments("prepare", {"spec": ""}), "prepare"),
        (arguments("write_candidate", {}), "write-candidate"),
        (arguments("evaluate", {**EVALUATED, "shards": []}), "evaluate-ood sat, seed 0, quick"),
        (arguments("evaluate", {**EVALUATED, "shards": ["x", "y"]}), "evaluate-ood sat, seed 0, quick, merge"),
        (arguments("evaluate_shard", {**EVALUATED, "shard": "1/2"}), "evaluate-ood sat, seed 0, quick, shard 1/2"),
    ],
)
def test_tasks_have_titles_that_people_read(command: list[str], title: str) -> None:
    assert Task.from_command(command).title == title


TORCH_LINES = """E1129 11:32:29.745000 5176 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 2)
[W1129 15:50:27.123456789 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=4, addr=[localhost]): Broken pipe
Exception raised from recvBytes at torch/csrc/distributed/c10d/Utils.hpp:679 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x80 (0x7f in libc10.so)
[rank1]:[W1129 15:50:27.123456789 ProcessGroupGloo.cpp:75] the store is gone"""


@pytest.mark.parametrize(
    ("log", "line"),
    [("", "no output"), ("one\n  two \n\n", "two"), (f"nofrost: wrong\n{TORCH_LINES}\n", "nofrost: wrong")],
)
def test_the_last_line_of_a_log_is_that_of_the_task(log: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(log)
    assert Task("train", log=tmp_path / "x.log").last_line() == line
