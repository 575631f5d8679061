"""The table of metrics: names by Prometheus' conventions, each used by the code, shown to people, and none unknown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.telemetry.metrics import table
from nofrost.telemetry.metrics.table import METRICS, Metric
from tests.telemetry.metrics.monitoring import names, panel_queries, rules, variable_queries

ROOT = Path(__file__).parents[3]
ENDS = {
    "seconds": ("_seconds", "_seconds_total"),
    "bytes": ("_bytes",),
    "ratio": ("_ratio",),
}
all_metrics = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


@all_metrics
def test_names_are_those_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"nofrost_[a-z]+(_[a-z]+)*", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    if metric.unit:
        assert metric.name.endswith(ENDS[metric.unit])
    else:
        assert not metric.name.endswith(tuple(end for ends in ENDS.values() for end in ends))
    assert metric.help.endswith(".")
    taken = {*table.ENDPOINT_LABELS, "le"} if metric.source == "endpoint" else set(table.KEY_LABELS)
    assert not taken & set(metric.labels)
    # Prometheus sets these labels itself, and these have a value for every run.
    assert not {"instance", "namespace", "pod", "run", "time"} & set(metric.labels)


def test_a_name_belongs_to_one_metric() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 30


def constants() -> dict[str, str]:
    return {name: value.name for name, value in vars(table).items() if isinstance(value, Metric)}


@pytest.mark.parametrize("constant", constants())
def test_the_code_exports_each_metric(constant: str) -> None:
    files = [*(ROOT / "components").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]
    users = [path for path in files if path.name != "table.py" and constant in path.read_text(encoding="utf-8")]
    assert users, f"no one exports {constants()[constant]}"


def shown() -> set[str]:
    expressions = [*panel_queries(), *variable_queries(), *(rule["expr"] for rule in rules())]
    return {name for expression in expressions for name in names(expression)}


def test_dashboard_and_rules_show_every_metric_and_no_other() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    found = {name for name in shown() if not name.startswith("DCGM_")}
    # A prefix, in a query of all metrics that begin with it.
    found.discard("nofrost_stage_")
    assert found - recorded == {metric.name for metric in METRICS}
    assert recorded <= found


def test_the_list_of_metrics_is_the_table() -> None:
    listed = json.loads(CliRunner().invoke(cli, ["metrics", "list", "--json"]).output)
    assert [each["name"] for each in listed] == [metric.name for metric in METRICS]
    loss = next(each for each in listed if each["name"] == "nofrost_train_loss")
    assert loss["labels"] == ["stage", "recipe", "seed"]
    text = CliRunner().invoke(cli, ["metrics", "list"]).output
    for metric in METRICS:
        assert f"\n{metric.name} " in text
        assert metric.help in text
