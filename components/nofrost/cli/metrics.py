"""`nofrost metrics`: what Prometheus can be asked about trainings, evaluations, studies, gate and schedules."""

from __future__ import annotations

import click

from nofrost.cli.options import aligned, emit, json_option


@click.group()
def metrics() -> None:
    """List the metrics that are exported to Prometheus."""


@metrics.command("list")
@json_option
def metrics_list(as_json: bool) -> None:
    """Print every metric with its type, unit, labels and source.

    The source is a running process (endpoint, at NOFROST_METRICS_PORT) or what it leaves behind (pushgateway, at
    NOFROST_PUSHGATEWAY). All metrics of a source have the labels of its first line as well.
    """
    from nofrost.telemetry.metrics.table import ENDPOINT_LABELS, KEY_LABELS, METRICS

    shared = {"endpoint": ENDPOINT_LABELS, "pushgateway": KEY_LABELS}
    about = [
        {
            "name": metric.name,
            "kind": metric.kind,
            "unit": metric.unit,
            "labels": [*shared[metric.source], *metric.labels],
            "source": metric.source,
            "help": metric.help,
        }
        for metric in METRICS
    ]
    texts = []
    for source, labels in shared.items():
        rows = [
            (metric.name, metric.kind, metric.unit or "-", ", ".join(metric.labels) or "-", metric.help)
            for metric in METRICS
            if metric.source == source
        ]
        header = ("NAME", "TYPE", "UNIT", "LABELS", "HELP")
        texts.append(f"{source}, all with the labels {', '.join(labels)}\n{aligned([header, *rows])}")
    emit(about, "\n\n".join(texts), as_json)
