"""Prometheus' own servers on loopback, for tests; a test is skipped where Debian's package is not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pipelines.local_nodes import free_port

START_S = 20.0
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
    with server("prometheus-pushgateway", port=free_port(), folder=folder) as address:
        yield address
