"""Prometheus' own tool finds the rules right, and plays to each alert what makes it fire and clear."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from nofrost.telemetry.metrics import push_facts
from nofrost.telemetry.metrics.table import METRICS
from tests.telemetry.metrics.monitoring import alerts, write_rules
from tests.telemetry.metrics.servers import get, program

ALERTS = Path(__file__).with_name("alerts.yaml")


def promtool(*arguments: str, folder: Path, text: str = "") -> str:
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_right(tmp_path: Path) -> None:
    assert "SUCCESS: 11 rules found" in promtool("check", "rules", str(write_rules(tmp_path)), folder=tmp_path)


def test_each_alert_fires_and_clears(tmp_path: Path) -> None:
    write_rules(tmp_path)
    shutil.copy(ALERTS, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alerts.yaml", folder=tmp_path)


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_is_played_quiet_before_it_fires_and_after(alert: str) -> None:
    for test in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["tests"]:
        played = [
            bool(each.get("exp_alerts")) for each in test.get("alert_rule_test", []) if each["alertname"] == alert
        ]
        if played:
            assert played == [False, True, False], test["name"]
            break
    else:
        pytest.fail(f"no test plays {alert}")


def test_what_is_pushed_follows_the_conventions(gateway: str, tmp_path: Path) -> None:
    metrics = [metric for metric in METRICS if metric.source == "pushgateway"]
    facts = [metric.fact(1.0, **{label: label for label in metric.labels}) for metric in metrics]
    assert push_facts(facts, study="digits", task="report")
    ours = [line for line in get(f"{gateway}/metrics").splitlines() if "nofrost_" in line]
    # Help, type and value of each.
    assert len(ours) == 3 * len(metrics)
    promtool("check", "metrics", folder=tmp_path, text="\n".join(ours) + "\n")
