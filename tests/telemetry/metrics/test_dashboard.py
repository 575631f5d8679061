"""The dashboard: panels that do not overlap, name their data source by a variable, and bear that there are no data."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.telemetry.metrics.monitoring import FOLDER, dashboard

PANELS = dashboard()["panels"]
VARIABLES = {each["name"] for each in dashboard()["templating"]["list"]}
each_panel = pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel["type"] != "row"], ids=lambda panel: panel["title"]
)


@each_panel
def test_a_panel_has_what_grafana_needs(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat", "table")
    assert panel["targets"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = {word for target in panel["targets"] for word in VARIABLES if f"${word}" in target["expr"]}
    assert "namespace" in used
    assert all("$" not in target["expr"].replace("$namespace", "").replace("$recipe", "").replace("$seed", "")
               .replace("$study", "") for target in panel["targets"])  # fmt: skip


@each_panel
def test_a_panel_without_data_says_so(panel: dict[str, Any]) -> None:
    says = panel["fieldConfig"]["defaults"]["noValue"]
    is_of_gpus = any("DCGM_" in target["expr"] for target in panel["targets"])
    assert says == "no dcgm-exporter, or a GPU that lacks this counter" if is_of_gpus else says in ("no data", "none")


def test_panels_of_gpus_take_both_forms_of_labels() -> None:
    """Prometheus renames the exporter's labels where it does not honour them."""
    expressions = [
        target["expr"] for panel in PANELS for target in panel.get("targets", ()) if "DCGM_" in target["expr"]
    ]
    assert len(expressions) == 6
    for expression in expressions:
        assert 'namespace=~"$namespace",pod!=""' in expression
        assert 'exported_namespace=~"$namespace",exported_pod!=""' in expression


def test_panels_do_not_overlap() -> None:
    cells = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells[panel["id"]] = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
    assert len(cells) == len(PANELS)
    assert not any(first & second for first, second in combinations(cells.values(), 2))


def test_grafana_finds_it() -> None:
    (generated,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["configMapGenerator"]
    assert generated["options"]["labels"] == {"grafana_dashboard": "1"}
    assert dashboard()["uid"] == "nofrost"
    assert {"datasource", "namespace", "recipe", "seed", "study"} == VARIABLES
