"""The status of a TrainJob says how far the training is, within the limits of its definition."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nofrost import train
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.config import recipe_of
from nofrost.telemetry import Progress, progress
from nofrost.telemetry import work as work_module
from nofrost.telemetry.trainjob_status import trainer_status
from tests.cluster.job.crd import errors, needs_crds
from tests.cluster.job.jobs import job
from tests.telemetry.trainer import PATH, StatusServer


def test_the_body_is_the_status_of_a_trainer(server: StatusServer) -> None:
    with progress("train", total=200, done=50, post_status=True) as work:
        work.measured(epoch=3, epochs=12, loss=1.23456789)
        work.advance(25)
    path, headers, body = server.posts[-1]
    status = body["trainerStatus"]
    assert path == PATH
    assert headers["Authorization"] == "Bearer token-of-the-pod"
    assert headers["Content-Type"] == "application/json"
    assert set(body) == {"trainerStatus"}
    assert set(status) == {"progressPercentage", "estimatedRemainingSeconds", "metrics", "lastUpdatedTime"}
    assert status["progressPercentage"] == 100
    assert status["estimatedRemainingSeconds"] == 0
    assert status["metrics"] == [
        {"name": "epoch", "value": "3"},
        {"name": "epochs", "value": "12"},
        {"name": "loss", "value": "1.23457"},
    ]
    posted = datetime.fromisoformat(status["lastUpdatedTime"])
    assert abs((datetime.now(UTC) - posted).total_seconds()) < 60


@pytest.mark.parametrize(
    ("total", "done", "percentage"), [(200, 0, 0), (200, 99, 49), (200, 200, 99), (200, 400, 99), (0, 0, 0)]
)
def test_the_percentage_is_within_its_limits_and_100_only_at_the_end(total: int, done: int, percentage: int) -> None:
    assert trainer_status(Progress(total, done), is_complete=False)["progressPercentage"] == percentage
    assert trainer_status(Progress(total, done), is_complete=True)["progressPercentage"] == 100


def test_the_time_left_is_that_of_this_run_and_fits_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(work_module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    work = Progress(100, 80)
    assert "estimatedRemainingSeconds" not in trainer_status(work, is_complete=False)
    now[0] = 50.0
    work.advance(5)
    assert trainer_status(work, is_complete=False)["estimatedRemainingSeconds"] == 150
    now[0] = 1e12
    assert trainer_status(work, is_complete=False)["estimatedRemainingSeconds"] == 2**31 - 1


def test_figures_of_any_size_are_numbers_of_few_digits() -> None:
    work = Progress(1)
    work.measured(**{"n" * 100: 1e300, "loss": math.nan, "lr": -1 / 3})
    metrics = trainer_status(work, is_complete=False)["metrics"]
    assert [metric["value"] for metric in metrics] == ["nan", "-0.333333", "1e+300"]


@needs_crds
@pytest.mark.parametrize("is_complete", [False, True])
def test_the_status_is_valid_by_the_definition_of_a_trainjob(is_complete: bool) -> None:
    work = Progress(10, 2)
    work.measured(**{"n" * 100: 1e300, "loss": math.nan, **{f"figure_{number}": 0.1 for number in range(100)}})
    work.advance(3)
    status = {"trainerStatus": trainer_status(work, is_complete=is_complete)}
    assert errors("trainjobs", as_trainjob(job()) | {"status": status}) == []
    status["trainerStatus"]["progressPercentage"] = 101
    assert errors("trainjobs", as_trainjob(job()) | {"status": status}) != []


@pytest.mark.usefixtures("quick")
def test_a_training_posts_its_epochs_loss_and_accuracies(server: StatusServer, digits: Path, tmp_path: Path) -> None:
    recipe = recipe_of("digits", "sat", ("schedule.epochs=2", "attack.steps=1", "selection.attack.steps=1"))
    train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
    assert server.percentages[-1] == 100
    last = {metric["name"]: float(metric["value"]) for metric in server.posts[-1][2]["trainerStatus"]["metrics"]}
    row = json.loads((tmp_path / "out" / "curves.json").read_text())[-1]
    assert last["epoch"] == last["epochs"] == 2
    for name in ("loss", "lr", "train_adversarial", "selection_clean", "selection_attacked"):
        assert last[name] == pytest.approx(row[name], rel=1e-5)
