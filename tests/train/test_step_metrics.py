"""What a training exports to Prometheus is what it does, and measuring changes nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from nofrost import train
from nofrost.config import Recipe, recipe_of
from nofrost.errors import StoppedError
from nofrost.processes import ProcessGroup
from nofrost.results import Epoch
from nofrost.results.common import read_results
from nofrost.stage import UNFINISHED
from nofrost.telemetry.metrics.exposition import exposed
from nofrost.telemetry.metrics.table import METRICS
from nofrost.train import step_metrics
from nofrost.train.objectives import Batch
from nofrost.train.records import State
from nofrost.train.restarts import FILE
from nofrost.train.step_metrics import StepMetrics
from nofrost.train.trainer import Trainer
from pipelines.local_nodes import free_port
from tests.telemetry.metrics.servers import get
from tests.train.several_processes import ends, several
from tests.train.test_stage import fingerprints

BATCH, EPOCHS = 40, 2
OVERRIDES = (f"schedule.epochs={EPOCHS}", f"schedule.batch_size={BATCH}", "attack.steps=2", "selection.attack.steps=2")

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def values(text: str) -> Values:
    """Values by name and own labels."""
    shared = {"stage", "recipe", "seed"}
    return {
        (sample.name, frozenset((label, value) for label, value in sample.labels.items() if label not in shared)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found[f"nofrost_{name}", frozenset(labels.items())]


@pytest.fixture
def recipe() -> Recipe:
    return recipe_of("digits", "sat", OVERRIDES)


@pytest.fixture
def scrape(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Values]:
    """Asks the endpoint of this process; every second step is measured."""
    port = free_port()
    monkeypatch.setenv("NOFROST_METRICS_PORT", str(port))
    monkeypatch.setattr(step_metrics, "INTERVAL_S", 0.0)
    return lambda: values(get(f"http://127.0.0.1:{port}/metrics"))


def test_a_training_exports_what_it_does(
    recipe: Recipe, digits: Path, tmp_path: Path, scrape: Callable[[], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time()
    end_of_epoch = Trainer.save

    def fails_after_an_epoch(trainer: Trainer, since: float) -> float:
        end_of_epoch(trainer, since)
        raise RuntimeError("the first try")

    with exposed("train", "sat", "0"):
        monkeypatch.setattr(Trainer, "save", fails_after_an_epoch)
        with pytest.raises(RuntimeError, match="the first try"):
            train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
        monkeypatch.setattr(Trainer, "save", end_of_epoch)
        train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
        found = scrape()
    row = read_results(Epoch, tmp_path / "out" / "curves.json")[-1]
    steps = value(found, "train_steps_total")
    assert steps == EPOCHS * (210 // BATCH)
    assert value(found, "train_images_total") == steps * BATCH
    assert value(found, "train_step_duration_seconds_count") == steps
    assert value(found, "train_data_wait_seconds_total") < value(found, "train_step_duration_seconds_sum")
    assert value(found, "train_loss") == row.loss
    assert value(found, "train_learning_rate") == row.lr
    assert value(found, "train_epoch") == EPOCHS
    assert value(found, "train_accuracy_ratio", split="train", view="adversarial") == row.train_adversarial
    assert value(found, "train_accuracy_ratio", split="selection", view="clean") == row.selection_clean
    assert row.train_adversarial is not None
    assert row.selection_attacked is not None
    assert value(found, "train_accuracy_ratio", split="selection", view="adversarial") == row.selection_attacked
    assert value(found, "train_attack_gap_ratio") == pytest.approx(row.train_adversarial - row.selection_attacked)
    assert 0 < value(found, "train_attack_ratio") < 1
    assert value(found, "train_gradient_norm") > 0
    assert value(found, "train_imbalance_ratio") == 1
    assert 0 < value(found, "train_goodput_ratio") < 1
    assert value(found, "train_restarts_total", cause="error") == 1
    assert began < value(found, "train_checkpoint_timestamp_seconds") < time.time()
    assert value(found, "train_checkpoint_interval_seconds") == 300
    assert 0 < value(found, "train_checkpoint_duration_seconds") < 60
    assert value(found, "stage_progress_ratio") == 1
    names = {name for name, _ in found}
    for metric in METRICS:
        if metric.name.startswith(("nofrost_train_", "nofrost_stage_")):
            assert {metric.name, f"{metric.name}_sum"} & names, metric.name


def test_the_wait_for_data_is_its_share_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two steps: 1 s and 2 s until the batch comes, 3 s and 4 s of work; then the end of the epoch.
    clock = iter([0, 1, 1, 4, 4, 6, 6, 10, 10])
    metrics, state = StepMetrics(ProcessGroup(), torch.device("cpu")), State()
    monkeypatch.setattr(step_metrics.time, "monotonic", lambda: next(clock))
    assert metrics.data_wait == 0
    batches = [Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1), torch.zeros(1))] * 2
    for _ in metrics.waits(batches):
        with metrics.step(state, 1):
            pass
    assert metrics.data_wait == pytest.approx(3 / 10)
    assert (state.wait_seconds, state.step_seconds) == (3, 10)


def test_a_training_that_was_stopped_knows_it_from_its_save_alone(
    recipe: Recipe, digits: Path, tmp_path: Path, scrape: Callable[[], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop:
        def is_set(self) -> bool:
            return True

    with exposed("train", "sat", "0"):
        with monkeypatch.context() as patched:
            patched.setattr("nofrost.train.trainer.stop_requested", lambda: nullcontext(Stop()))
            with pytest.raises(StoppedError):
                train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
        (tmp_path / ".out.nofrost-partial" / UNFINISHED / FILE).unlink()
        train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
        assert value(scrape(), "train_restarts_total", cause="stopped") == 1


def test_measuring_changes_nothing(
    recipe: Recipe, digits: Path, tmp_path: Path, scrape: Callable[[], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(digits, None, recipe, "sat", 0, tmp_path / "measured")
    monkeypatch.delenv("NOFROST_METRICS_PORT")
    train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
    assert fingerprints(tmp_path / "measured") == fingerprints(tmp_path / "out")


def test_an_endpoint_that_fails_at_every_request_hurts_no_step(
    recipe: Recipe, digits: Path, tmp_path: Path, scrape: Callable[[], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nofrost.telemetry.metrics import scrapes

    def broken(registry: object) -> bytes:
        raise OSError("a broken registry")

    monkeypatch.setattr(scrapes, "generate_latest", broken)
    with exposed("train", "sat", "0"):
        train.run(digits, None, recipe, "sat", 0, tmp_path / "out")
        with pytest.raises(OSError, match=r"closed connection|reset"):
            scrape()


@pytest.mark.slow
def test_processes_measure_the_same_step_and_find_the_slowest(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_METRICS_PORT", str(free_port()))
    arguments = ("-m", "tests.train.measured_training", digits, tmp_path / "out")
    with several([Path.cwd(), Path.cwd()], *arguments) as processes:
        (first, text, errors), (second, _, other_errors) = ends(processes)
    assert (first, second) == (0, 0), errors + other_errors
    found = values(text)
    assert value(found, "train_imbalance_ratio") > 1.5
    assert value(found, "train_images_total") == value(found, "train_steps_total") * 40
