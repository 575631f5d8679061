"""Real servers of Prometheus see a training, an evaluation and what is pushed; each alert fires there, and clears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from nofrost import evaluate, train
from nofrost.config import recipe_of, suite_of
from nofrost.telemetry.metrics import Fact, push_facts
from nofrost.telemetry.metrics.exposition import exposed, measure
from nofrost.telemetry.metrics.table import (
    METRICS,
    PIPELINE_SUCCESS,
    SCHEDULE_INTERVAL,
    STAGE_LAST_PROGRESS,
    STUDY_ACCURACY,
    STUDY_ALARMS,
    TRAIN_ACCURACY,
    TRAIN_ATTACK_GAP,
    TRAIN_CHECKPOINT,
    TRAIN_CHECKPOINT_INTERVAL,
    TRAIN_RESTARTS,
)
from nofrost.train import step_metrics
from tests.telemetry.metrics.monitoring import alerts, groups, panel_queries, rules, variable_queries
from tests.telemetry.metrics.servers import Stack, answer, stack, wait_for

pytestmark = pytest.mark.slow
RUN = {"recipe": "sat", "seed": "0"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers with our rules, but without the minutes for which an alert has to hold."""
    folder = tmp_path_factory.mktemp("prometheus")
    quick = [
        {
            **group,
            "interval": "500ms",
            "rules": [{**rule, **({"for": "0s"} if "for" in rule else {})} for rule in group["rules"]],
        }
        for group in groups()
    ]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": quick}), encoding="utf-8")
    with stack(folder, folder / "rules.yaml") as running:
        yield running


@pytest.fixture(autouse=True)
def _reached(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_METRICS_PORT", str(servers.port))
    monkeypatch.setenv("NOFROST_PUSHGATEWAY", servers.gateway)


def test_prometheus_sees_a_training_and_an_evaluation(
    servers: Stack, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_metrics, "INTERVAL_S", 0.0)
    overrides = ("schedule.epochs=6", "schedule.batch_size=16", "attack.steps=3", "selection.attack.steps=3")
    train.run(digits, None, recipe_of("digits", "sat", overrides), "sat", 0, tmp_path / "train")
    suite, _ = suite_of(None, "adversarial-quick", ("max_images=20", "batch_size=4"))
    evaluate.run(digits, tmp_path / "train", suite, tmp_path / "evaluation")
    # Of restarts there is no sample, as there was none.
    expected = {metric for metric in METRICS if metric.source == "endpoint"} - {TRAIN_RESTARTS}
    missing = []
    for metric in expected:
        name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        found = servers.query(f"last_over_time({name}[5m])")
        missing += [] if found else [name]
        for series in found:
            labels = series["metric"]
            assert {"stage", "recipe", "seed", *metric.labels} <= set(labels)
            assert (labels["recipe"], labels["seed"]) == ("sat", "0")
            assert labels["stage"] in ("train", "evaluate-adversarial")
    assert missing == []
    clean = servers.query("last_over_time(nofrost_evaluation_accuracy_ratio{measurement='clean images'}[5m])")
    assert 0 < float(clean[0]["value"][1]) <= 1
    assert servers.query("max_over_time(nofrost:train_images:rate5m[5m])")


def test_prometheus_takes_every_query_of_the_dashboard(servers: Stack) -> None:
    for expression in panel_queries():
        servers.query(expression)
    for expression in variable_queries():
        assert expression.startswith("label_values(")
    # No GPU is here and no exporter of NVIDIA's: an empty answer and no error.
    assert servers.query("DCGM_FI_PROF_SM_ACTIVE") == []
    found = answer(f"{servers.prometheus}/api/v1/rules")["data"]["groups"]
    assert {rule["name"] for group in found for rule in group["rules"]} == {
        rule.get("record") or rule["alert"] for rule in rules()
    }
    assert all(rule["health"] in ("ok", "unknown") for group in found for rule in group["rules"])


def pushed(facts: list[Fact], task: str) -> None:
    assert push_facts(facts, study="digits", task=task)


def accuracy(value: float) -> None:
    pushed(
        [STUDY_ACCURACY.fact(value, **RUN, suite="quick", condition="worst-case", norm="linf", eps="8/255")], "report"
    )


def alarm(failed: bool) -> None:
    status = {name: STUDY_ALARMS.fact(float(on), **RUN, suite="quick", alarm="step-size", status=name)
              for name, on in (("fail", failed), ("pass", not failed))}  # fmt: skip
    pushed(list(status.values()), "report")


def success(age_s: float) -> None:
    pushed([SCHEDULE_INTERVAL.fact(86400.0, schedule="nightly")], "schedule")
    pushed([PIPELINE_SUCCESS.fact(time.time() - age_s)], "write-candidate")


def overfitting(gap: float, robust: float) -> None:
    measure(TRAIN_ATTACK_GAP, gap)
    measure(TRAIN_ACCURACY, robust, "selection", "adversarial")


def saved(age_s: float) -> None:
    measure(TRAIN_CHECKPOINT_INTERVAL, 300.0)
    measure(TRAIN_CHECKPOINT, time.time() - age_s)


# What makes each alert quiet, and what makes it fire.
CAUSES: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "NofrostStalled": (
        lambda: measure(STAGE_LAST_PROGRESS, time.time()),
        lambda: measure(STAGE_LAST_PROGRESS, time.time() - 1000),
    ),
    "NofrostCheckpointOld": (lambda: saved(10), lambda: saved(1600)),
    "NofrostCatastrophicOverfitting": (lambda: overfitting(0.05, 0.4), lambda: overfitting(0.8, 0.1)),
    "NofrostMasking": (lambda: alarm(False), lambda: alarm(True)),
    "NofrostRobustAccuracyFell": (lambda: accuracy(0.4), lambda: accuracy(0.3)),
    "NofrostRetrainingOverdue": (lambda: success(3600), lambda: success(200_000)),
}


def test_every_alert_has_a_cause() -> None:
    assert set(CAUSES) == set(alerts())


@pytest.mark.parametrize("alert", CAUSES)
def test_an_alert_fires_and_clears(alert: str, servers: Stack) -> None:
    quiet, causing = CAUSES[alert]
    with exposed("train", "sat", "0"):
        quiet()
        time.sleep(1.5)
        assert alert not in servers.firing()
        causing()
        wait_for(lambda: alert in servers.firing(), f"{alert} fires")
        quiet()
        wait_for(lambda: alert not in servers.firing(), f"{alert} clears")
