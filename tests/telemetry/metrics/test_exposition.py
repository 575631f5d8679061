"""The endpoint of a process: what it serves, and that nothing about it can fail the work."""

from __future__ import annotations

import socket
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nofrost.telemetry import progress
from nofrost.telemetry.metrics.exposition import count, exposed, is_exposed, measure, observe
from nofrost.telemetry.metrics.table import METRICS, TRAIN_LOSS, TRAIN_RESTARTS, TRAIN_STEP_DURATION
from pipelines.local_nodes import free_port
from tests.telemetry.metrics.servers import get
from tests.telemetry.metrics.test_rules import promtool

Labels = tuple[tuple[str, str], ...]


def samples(text: str) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Asks the endpoint of this process, which gets a port of its own."""
    port = free_port()
    monkeypatch.setenv("NOFROST_METRICS_PORT", str(port))
    return lambda: get(f"http://127.0.0.1:{port}/metrics")


LABELS = (("recipe", "sat"), ("seed", "0"), ("stage", "train"))


def test_the_endpoint_serves_what_was_measured(scrape: Callable[[], str]) -> None:
    with exposed("train", "sat", "0"):
        assert is_exposed()
        measure(TRAIN_LOSS, 2.0)
        measure(TRAIN_LOSS, 1.5)
        count(TRAIN_RESTARTS, 2, "killed")
        count(TRAIN_RESTARTS, 1, "killed")
        observe(TRAIN_STEP_DURATION, 0.3)
        with progress("train", 4) as bar:
            bar.advance(1)
        found = samples(scrape())
    assert found["nofrost_train_loss", LABELS] == 1.5
    assert found["nofrost_train_restarts_total", (("cause", "killed"), *LABELS)] == 3
    assert found["nofrost_train_step_duration_seconds_count", LABELS] == 1
    assert found["nofrost_train_step_duration_seconds_bucket", (("le", "0.25"), *LABELS)] == 0
    assert found["nofrost_train_step_duration_seconds_bucket", (("le", "0.5"), *LABELS)] == 1
    assert found["nofrost_stage_progress_ratio", LABELS] == 0.25
    assert found["nofrost_stage_last_progress_timestamp_seconds", LABELS] > 1e9
    assert found["nofrost_stage_memory_bytes", (("kind", "resident"), *LABELS)] > 1e7
    assert not any(name.endswith("_created") for name, _ in found)


def test_a_process_begins_anew_and_leaves_nothing(scrape: Callable[[], str]) -> None:
    with exposed("train", "sat", "0"):
        measure(TRAIN_LOSS, 2.0)
        with exposed("evaluate-ood"):  # one endpoint serves a process: that of the outermost stage
            measure(TRAIN_LOSS, 3.0)
        assert samples(scrape())["nofrost_train_loss", LABELS] == 3
    assert not is_exposed()
    measure(TRAIN_LOSS, 1.0)
    with pytest.raises(urllib.error.URLError):
        scrape()
    with exposed("train", "sat", "0"):
        assert "nofrost_train_loss" not in scrape()


def test_work_that_never_begins_can_be_seen_to_stall(scrape: Callable[[], str]) -> None:
    with exposed("train", "sat", "0"):
        assert samples(scrape())["nofrost_stage_last_progress_timestamp_seconds", LABELS] > time.time() - 60


def test_an_error_of_the_work_closes_the_endpoint(scrape: Callable[[], str]) -> None:
    with pytest.raises(ValueError, match="of the work"), exposed("train"):
        raise ValueError("an error of the work")
    assert not is_exposed()
    with pytest.raises(urllib.error.URLError):
        scrape()


def test_other_paths_are_not_found(scrape: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("NOFROST_METRICS_PORT", str(port))
    with exposed("train"), pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"http://127.0.0.1:{port}/")


def test_what_is_served_follows_the_conventions(scrape: Callable[[], str], tmp_path: Path) -> None:
    with exposed("train", "sat", "0"):
        for metric in METRICS:
            if metric.source == "endpoint" and metric.kind != "histogram":
                (count if metric.kind == "counter" else measure)(metric, 1.0, *metric.labels)
        observe(TRAIN_STEP_DURATION, 0.3)
        served = scrape()
    assert all(f"\n{metric.name}" in served for metric in METRICS if metric.source == "endpoint")
    promtool("check", "metrics", folder=tmp_path, text=served)


def test_without_the_variable_there_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOFROST_METRICS_PORT", raising=False)
    with exposed("train"):
        assert not is_exposed()


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "80 81", "1" * 5000])
def test_a_wrong_port_is_a_sentence_and_no_error(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOFROST_METRICS_PORT", port)
    with exposed("train"):
        assert not is_exposed()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nofrost: NOFROST_METRICS_PORT ")
    assert "it is no number from 1 to 65535" in line
    assert len(line) < 300


def test_a_port_that_is_taken_is_a_sentence_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("NOFROST_METRICS_PORT", str(other.getsockname()[1]))
        with exposed("train"):
            assert not is_exposed()
    assert "Address already in use" in capsys.readouterr().err


def test_only_the_first_process_of_a_machine_serves(scrape: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    rank = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    with exposed("train"):
        assert not is_exposed()
    # The first one of the second machine is not the first of the job.
    monkeypatch.setenv("LOCAL_RANK", "0")
    with exposed("train"):
        assert scrape()
