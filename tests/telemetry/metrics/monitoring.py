"""What k8s/components/monitoring holds: rules, dashboard, and the names of metrics in their expressions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[3] / "k8s" / "components" / "monitoring"
# What a name in an expression of Prometheus is not: a function, a keyword, a label or text.
_TEXT = re.compile(r'"[^"]*"|\{|\}')
_NAME = re.compile(r"\b(?:nofrost[_:]|DCGM_)[\w:]+")


def groups() -> list[dict[str, Any]]:
    """The groups of rules."""
    manifest = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = manifest["spec"]["groups"]
    return found


def write_rules(folder: Path) -> Path:
    """Write the rules as Prometheus reads them without an operator; return the file."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups()}), encoding="utf-8")
    return path


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> list[str]:
    """The names of all alerts."""
    return [rule["alert"] for rule in rules() if "alert" in rule]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    content: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return content


def panel_queries() -> list[str]:
    """The expressions of all panels, with all variables at what stands for everything."""
    panels = dashboard()["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [re.sub(r"\$\w+", ".*", expression) for expression in expressions]


def variable_queries() -> list[str]:
    """What the variables of the dashboard ask for."""
    return [each["definition"] for each in dashboard()["templating"]["list"] if each["type"] == "query"]


def names(expression: str) -> set[str]:
    """The metrics in an expression, without what Prometheus adds to the name of a histogram."""
    found = set(_NAME.findall(expression)) - {"nofrost_"}
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in found}
