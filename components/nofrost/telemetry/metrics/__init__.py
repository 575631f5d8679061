"""Prometheus metrics: one table of all of them, the endpoint of a running process, and end facts for a Pushgateway."""

from nofrost.telemetry.metrics.gateway import push_facts
from nofrost.telemetry.metrics.table import METRICS, Fact, Metric

__all__ = ["METRICS", "Fact", "Metric", "push_facts"]
