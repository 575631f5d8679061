"""The endpoint of a running process: what it measures, for a Prometheus that asks for it every few seconds.

One plain registry for each process, and one process of each machine that serves it: no files between processes as in
prometheus-client's multiprocess mode, whose sums count dead processes on. What all processes have together is added up
by torch before it comes here.

A stage opens the endpoint with :func:`exposed`; whatever measures something calls :func:`measure`, :func:`count` or
:func:`observe`, which do nothing without an endpoint. None of them fails.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nofrost.errors import reason, remark, shortened
from nofrost.ranks import process_rank
from nofrost.telemetry.log import shared_by_events
from nofrost.telemetry.metrics.memory import memory_bytes
from nofrost.telemetry.metrics.table import ENDPOINT_LABELS, STAGE_LAST_PROGRESS, STAGE_MEMORY, Metric

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from nofrost.telemetry.metrics.scrapes import MetricsServer

    Family = Counter | Gauge | Histogram

VARIABLE = "NOFROST_METRICS_PORT"
# Of a step or of a wait: from a small model on a GPU to a large one on a CPU.
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class _Measured:
    """The values of this process, in a registry of their own.

    Args:
        labels: values of ENDPOINT_LABELS.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        from prometheus_client import CollectorRegistry, disable_created_metrics

        # A series of each counter's birth, which nothing here uses.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry: CollectorRegistry = CollectorRegistry()
        self._labels = labels
        self._families: dict[str, Family] = {}
        self._children: dict[tuple[str, ...], Family] = {}
        for kind, reading in memory_bytes().items():
            self.of(STAGE_MEMORY, (kind,)).set_function(reading)  # type: ignore[union-attr]

    def of(self, metric: Metric, labels: tuple[str, ...]) -> Family:
        """Return the value of a metric with these labels, which begins at 0."""
        key = (metric.name, *labels)
        child = self._children.get(key)
        if child is None:
            family = self._families.get(metric.name) or self._family(metric)
            child = self._children[key] = family.labels(*self._labels, *labels)
        return child

    def _family(self, metric: Metric) -> Family:
        from prometheus_client import Counter, Gauge, Histogram

        names = (*ENDPOINT_LABELS, *metric.labels)
        family: Family
        if metric.kind == "histogram":
            family = Histogram(metric.name, metric.help, names, registry=self.registry, buckets=_BUCKETS_S)
        else:
            kind = Counter if metric.kind == "counter" else Gauge
            family = kind(metric.name, metric.help, names, registry=self.registry)
        self._families[metric.name] = family
        return family


# The endpoint of this process while it has one.
_measured: _Measured | None = None


def is_exposed() -> bool:
    """Whether this process has an endpoint, so that measuring is of use."""
    return _measured is not None


def measure(metric: Metric, value: float, *labels: str) -> None:
    """Set a gauge; `labels` are values of the metric's own labels."""
    if _measured is not None:
        _measured.of(metric, labels).set(value)  # type: ignore[union-attr]


def count(metric: Metric, amount: float = 1.0, *labels: str) -> None:
    """Add to a counter."""
    if _measured is not None:
        _measured.of(metric, labels).inc(amount)  # type: ignore[union-attr]


def observe(metric: Metric, value: float) -> None:
    """Add a value to a histogram."""
    if _measured is not None:
        _measured.of(metric, ()).observe(value)  # type: ignore[union-attr]


def still_working() -> None:
    """State that a unit of work was finished just now."""
    measure(STAGE_LAST_PROGRESS, time.time())


@contextmanager
def exposed(stage: str, recipe: str = "", seed: str = "") -> Iterator[None]:
    """Serve what this process measures in the block, at the port that NOFROST_METRICS_PORT names; nothing without.

    Of the processes that torchrun started, the first on each machine serves. A port that is no port or is taken is a
    remark on standard error: the work goes on without.

    Args:
        stage, recipe, seed: labels of all metrics, and keys of all events of the log.
    """
    with shared_by_events(stage=stage, recipe=recipe, seed=seed), _endpoint(stage, recipe, seed):
        yield


@contextmanager
def _endpoint(stage: str, recipe: str, seed: str) -> Iterator[None]:
    global _measured
    text = os.environ.get(VARIABLE, "")
    if not text or _measured is not None or process_rank().local_rank != 0:
        yield
        return
    measured = _Measured((stage, recipe, seed))
    server = _server(text, measured)
    if server is None:
        yield
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
    thread.start()
    _measured = measured
    # Work that hangs before its first unit has stalled as well.
    still_working()
    try:
        yield
    finally:
        _measured = None
        server.shutdown()
        server.server_close()
        thread.join()


def _server(port: str, measured: _Measured) -> MetricsServer | None:
    """Return a server of what is measured; None, after a remark, where there cannot be one."""
    # Imported here, as few processes serve.
    from nofrost.telemetry.metrics.scrapes import MetricsServer

    try:
        return MetricsServer(port, measured.registry)
    except Exception as error:
        why = reason(error)
        remark(f"{VARIABLE} {shortened(port)} gives no endpoint for Prometheus ({why}): the work goes on without one")
        return None
