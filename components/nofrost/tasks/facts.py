"""What tasks push to a Prometheus Pushgateway when they end."""

from __future__ import annotations

from nofrost.results import GateMetrics
from nofrost.telemetry.metrics import Fact, table


def gate_facts(gate: GateMetrics) -> list[Fact]:
    """Return the decision of a gate, and each of its criteria."""
    facts = [table.GATE_DECISION.fact(float(gate.decision == "promote"))]
    for criterion in gate.criteria:
        facts.append(table.GATE_CRITERION.fact(float(criterion.met), criterion=criterion.name))
        if criterion.comparison:
            facts.append(table.GATE_DIFFERENCE.fact(criterion.comparison.difference, criterion=criterion.name))
    return facts
