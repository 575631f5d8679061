"""Prometheus makes the addresses of tasks of the pipeline from their pods, by the rules of the PodMonitor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.local_nodes import free_port
from tests.telemetry.metrics.monitoring import FOLDER
from tests.telemetry.metrics.servers import answer, server, wait_for

# Containers as Prometheus discovers them: name, whether it is an init container, address of the pod.
CONTAINERS = [
    ("main", "false", "10.1.2.3"),
    ("main", "false", "fd00::5"),
    ("wait", "false", "10.1.2.3"),
    ("main", "true", "10.1.2.3"),
    ("pytorch", "false", "10.1.2.4"),
    ("node", "false", "10.1.2.5"),
]


def monitor(name: str) -> dict[str, Any]:
    found = yaml.safe_load_all((FOLDER / "pod-monitors.yaml").read_text(encoding="utf-8"))
    endpoint: dict[str, Any] = next(each for each in found if each["metadata"]["name"] == name)["spec"][
        "podMetricsEndpoints"
    ][0]
    return endpoint


def in_snake_case(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule as Prometheus has it, given as the operator takes it."""
    return {re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key): value for key, value in rule.items()}


@pytest.mark.slow
def test_of_a_task_its_own_container_alone_is_scraped(tmp_path: Path) -> None:
    targets = [
        {
            "targets": [address],
            "labels": {
                "__meta_kubernetes_pod_container_name": name,
                "__meta_kubernetes_pod_container_init": is_init,
                "__meta_kubernetes_pod_ip": address,
            },
        }
        for name, is_init, address in CONTAINERS
    ]
    rules = [in_snake_case(rule) for rule in monitor("nofrost-tasks")["relabelings"]]
    # No request goes out within the test.
    job = {"job_name": "tasks", "scrape_interval": "1h", "scrape_timeout": "1s", "static_configs": targets}
    configuration = {"scrape_configs": [{**job, "relabel_configs": rules}]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    options = ("--config.file=prometheus.yaml", f"--storage.tsdb.path={tmp_path}/series", "--log.level=warn")
    with server("prometheus", *options, port=free_port(), folder=tmp_path) as address:

        def scraped() -> set[str]:
            active = answer(f"{address}/api/v1/targets", state="active")["data"]["activeTargets"]
            return {target["scrapeUrl"] for target in active}

        wait_for(lambda: bool(scraped()), "Prometheus knows its targets")
        assert scraped() == {"http://10.1.2.3:8081/metrics", "http://[fd00::5]:8081/metrics"}


def test_jobs_are_scraped_at_the_port_that_they_declare_and_the_gateway_keeps_labels() -> None:
    from nofrost.cluster.job.pod import PORTS
    from nofrost.cluster.job.pod_settings import METRICS_PORT

    assert monitor("nofrost-jobs")["port"] == PORTS[0]["name"]
    addressed = [rule["replacement"] for rule in monitor("nofrost-tasks")["relabelings"] if "replacement" in rule]
    assert all(text.endswith(f":{METRICS_PORT}") for text in addressed)
    assert monitor("nofrost-pushgateway")["honorLabels"] is True
