"""The whole loop of a scheduled retraining: data are released, the schedule starts runs, the gate decides, and back.

Kubeflow is the double, whose clock the test moves on; what a run of it does is run on this machine: in containers by
`make test-containers`, otherwise in processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kfp")
pytest.importorskip("cronsim")

from tests.pipelines.schedule.recurring_double import RecurringDouble
from tests.store.conftest import moto_endpoint  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]
IMAGES = ("NOFROST_STAGE_IMAGE", "NOFROST_TRAIN_IMAGE")
IN_CONTAINERS = all(map(os.environ.get, (*IMAGES, "NOFROST_TEST_S3")))
DIGEST = "@sha256:" + "0" * 64
SMALL = (
    "dataset.source=npz",
    "dataset.path=source/digits.npz",
    "augmentation.methods=[]",
    "runs.recipe=[st]",
    "suites.adversarial.quick.attacks.apgd-ce-100.steps=5",
    "suites.adversarial.quick.attacks.square-200.queries=20",
    "suites.adversarial.quick.steps_curve=null",
    "suites.adversarial.quick.budget_curve=null",
    "suites.ood.quick.severities=[1]",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Loop:
    """A project with its store, a schedule of it on the double of Kubeflow, and the runs that this starts."""

    def __init__(self, folder: Path, store: str, kfp: RecurringDouble) -> None:
        self.folder, self.store, self.kfp = folder, store, kfp
        self.call("nofrost", "study", "select", "digits", *(f"--set={value}" for value in SMALL))

    def call(self, *command: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        python_path = f"{ROOT}{os.pathsep}{ROOT / 'components'}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": python_path, "NOFROST_STORE": self.store}
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def nofrost(self, *words: str) -> Any:
        return json.loads(self.call("nofrost", *words, "--json"))

    def pipelines(self, *words: str) -> Any:
        return json.loads(self.call(sys.executable, "-m", "pipelines", *words, "--json"))

    def release(self, labels: np.ndarray) -> None:
        """Release the handwritten digits with other labels."""
        from sklearn.datasets import load_digits

        images = np.kron(load_digits().images / 16, np.ones((2, 2))).astype(np.float32)
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        np.savez(source / "digits.npz", images=images, labels=labels)
        (ref,) = self.nofrost("store", "push", "source/digits.npz").values()
        self.nofrost("data", "release", "digits", ref)

    def next_run(self) -> Any:
        """Let a week pass, run what the schedule starts, and return what the run has printed."""
        (started,) = self.kfp.advance(self.kfp.clock + timedelta(days=7))
        parameters = self.kfp.runs[int(started.removeprefix("run-")) - 1]["runtime_config"]["parameters"]
        assert parameters["data_ref"] == "latest:digits"
        runner = ["--runner", "process"]
        if IN_CONTAINERS:
            runner = ["--runner", "docker", *(word for name, image in zip(("--stage-image", "--train-image"), IMAGES,
                      strict=True) for word in (name, os.environ[image]))]  # fmt: skip
        given = ("--store", parameters["store"], "--data-ref", parameters["data_ref"])
        return self.pipelines("run", *runner, *given, "--out", "kfp")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("retraining")
    with pytest.MonkeyPatch.context() as patch, RecurringDouble() as kfp:
        if IN_CONTAINERS:
            store = f"{os.environ['NOFROST_TEST_S3']}/{uuid.uuid4()}"
        else:
            import boto3

            patch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("moto_endpoint"))
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "testing")
            boto3.Session().client("s3").create_bucket(Bucket="retraining")
            store = "s3://retraining/store"
        patch.setenv("KUBECONFIG", str(folder / "no kubeconfig"))
        thread = threading.Thread(target=kfp.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Loop(folder, store, kfp)
        kfp.shutdown()
        thread.join()


class TestTheLoop:
    """In order: each test continues from the state that the one before left."""

    def test_a_schedule_of_data_that_are_released(self, loop: Loop) -> None:
        loop.release(np.random.default_rng(0).integers(0, 10, 1797))
        images = ("--stage-image", f"stage{DIGEST}", "--train-image", f"train{DIGEST}")
        made = loop.pipelines("schedule", "weekly", "--cron", "0 3 * * 1", "--host", loop.kfp.url, *images)
        assert made["form"] == "recurring-run"

    def test_the_first_run_makes_its_best_model_the_champion(self, loop: Loop) -> None:
        run = loop.next_run()
        champion = loop.nofrost("champion", "show", "digits")
        assert (champion["run"], champion["how"]) == (run["run"], "gate")
        assert champion["gate"]["decision"] == "promote"
        assert "Against the champion" in Path(run["report"]).read_text(encoding="utf-8")

    def test_better_data_make_a_new_champion(self, loop: Loop) -> None:
        """The labels were chance before."""
        from sklearn.datasets import load_digits

        loop.release(load_digits().target.astype(np.int64))
        run = loop.next_run()
        champion = loop.nofrost("champion", "show", "digits")
        assert champion["run"] == run["run"]
        assert [each["name"] for each in champion["gate"]["criteria"] if not each["met"]] == []

    def test_a_run_without_new_data_finds_the_champion_itself(self, loop: Loop) -> None:
        before = loop.nofrost("champion", "show", "digits")
        run = loop.next_run()
        assert loop.nofrost("champion", "show", "digits") == before
        assert "is the champion itself" in Path(run["report"]).read_text(encoding="utf-8")

    def test_worse_data_leave_the_champion(self, loop: Loop) -> None:
        before = loop.nofrost("champion", "show", "digits")
        loop.release(np.random.default_rng(1).integers(0, 10, 1797))
        run = loop.next_run()
        assert loop.nofrost("champion", "show", "digits") == before
        assert "does not meet" in Path(run["report"]).read_text(encoding="utf-8")

    def test_back_to_the_champion_before(self, loop: Loop) -> None:
        newest, first = loop.nofrost("champion", "history", "digits")
        loop.nofrost("champion", "rollback", "digits", "--reason", "a test")
        assert loop.nofrost("champion", "show", "digits")["run"] == first["run"] != newest["run"]
        assert len(loop.nofrost("champion", "history", "digits")) == 3

    def test_the_schedule_knows_its_last_run(self, loop: Loop) -> None:
        (status,) = loop.pipelines("status", "weekly", "--host", loop.kfp.url)
        assert (status["last_run"], status["edited"]) == (f"run-{len(loop.kfp.runs)}", [])
        loop.pipelines("unschedule", "weekly", "--host", loop.kfp.url)
        assert loop.kfp.recurring == []
