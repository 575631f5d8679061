"""Prometheus' own servers on loopback, for tests; a test is skipped where Debian's package is not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from pipelines.local_nodes import free_port

START_S = 120.0
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "prometheus-alertmanager": "prometheus-alertmanager",
}


def program(name: str) -> str:
    """The path of a program of Debian's packages."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt-get install {PACKAGES[name]})")
    return path


def get(url: str, **query: str) -> str:
    """The text of an answer of a server on loopback."""
    address = f"{url}?{urlencode(query)}" if query else url
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def answers(url: str) -> bool:
    """Whether a server answers without an error; otherwise get raises."""
    return get(url) is not None


def answer(url: str, **query: str) -> Any:
    """The content of an answer in JSON."""
    return json.loads(get(url, **query))


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    """Wait until a condition holds; a server that refuses or does not answer counts as no."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"{what} within {timeout_s:g} s"
        time.sleep(0.05)


@contextmanager
def server(name: str, *arguments: str, port: int, folder: Path) -> Iterator[str]:
    """Yield the address of a server of Prometheus' project, started with these arguments and ready."""
    command = [program(name), *arguments, f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / f"{name}.log").open("w") as log, subprocess.Popen(command, cwd=folder, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(f"{address}/-/ready"), f"{name} is ready")
            yield address
        finally:
            process.terminate()


@contextmanager
def pushgateway(folder: Path) -> Iterator[str]:
    """Yield the address of a Pushgateway that holds nothing."""
    # Debian's keeps what was pushed in one file of the machine unless it is told otherwise.
    with server("prometheus-pushgateway", "--persistence.file=", port=free_port(), folder=folder) as address:
        yield address


@dataclass(frozen=True)
class Stack:
    """Addresses of Prometheus, Alertmanager and Pushgateway, and the port at which Prometheus looks for a process."""

    prometheus: str
    alertmanager: str
    gateway: str
    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus finds at this moment: labels (``metric``) and ``value`` of each series."""
        content = answer(f"{self.prometheus}/api/v1/query", query=expression)
        assert content["status"] == "success", content
        found: list[dict[str, Any]] = content["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that Alertmanager has."""
        return {each["labels"]["alertname"] for each in answer(f"{self.alertmanager}/api/v2/alerts", active="true")}


@contextmanager
def stack(folder: Path, rules: Path) -> Iterator[Stack]:
    """Start Prometheus with rules, an Alertmanager and a Pushgateway; it looks at both sources five times a second."""
    port, prometheus_port, alert_port = free_port(), free_port(), free_port()
    (folder / "alertmanager.yaml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n", encoding="utf-8")
    with ExitStack() as running:
        gateway = running.enter_context(pushgateway(folder))
        options = ("--config.file=alertmanager.yaml", f"--storage.path={folder}/alerts", "--cluster.listen-address=")
        alerts = running.enter_context(server("prometheus-alertmanager", *options, port=alert_port, folder=folder))
        targets = {"nofrost-jobs": f"127.0.0.1:{port}", "nofrost-pushgateway": gateway.removeprefix("http://")}
        configuration = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "500ms"},
            "rule_files": [str(rules)],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts.removeprefix("http://")]}]}]},
            "scrape_configs": [
                {"job_name": name, "honor_labels": "gateway" in name, "static_configs": [{"targets": [target]}]}
                for name, target in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        options = ("--config.file=prometheus.yaml", f"--storage.tsdb.path={folder}/series", "--log.level=warn")
        address = running.enter_context(server("prometheus", *options, port=prometheus_port, folder=folder))
        # It is ready before it looks for anything.
        known = f"{address}/api/v1/targets"
        wait_for(lambda: len(answer(known)["data"]["activeTargets"]) == len(targets), "Prometheus knows its targets")
        yield Stack(address, alerts, gateway, port)
