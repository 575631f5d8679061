"""The result of an adversarial suite: flags per image, accuracies with intervals, curves, alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite
from nofrost.evaluate.adversarial.plan import BudgetPoint, SuitePlan
from nofrost.evaluate.alarms import Alarm
from nofrost.evaluate.card import make_card
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.properties import LayerStatistics
from nofrost.evaluate.properties.suite import summaries
from nofrost.results import Proportion
from nofrost.statistics import Flags


@dataclass(frozen=True)
class RobustnessResult:
    """What was measured on N images.

    Args:
        flags: by condition, [N] whether the model is right: ``clean``, every attack by its name in the suite (in a
            cascade also under all attacks before it), and ``worst-case`` (right when clean and under every attack). Of
            a mixture-BN model also ``through-clean-branch`` and ``through-adversarial-branch``: whether the deployed
            mixture is right on what all attacks make that see that branch alone; the worst case is over these too.
        branches: the same for each branch of a mixture-BN model, without ``worst-case``; empty for other models.
        steps: [N] by the number of attack steps; empty without a steps curve.
        budgets: points of the budget curve with their [N] flags, by growing budget; empty without one.
        alarms: signs that the attacks were too weak to mean anything.
        not_converged: the conditions whose accuracy more attack steps would lower, as far as the steps curve tells.
        properties: float64 [N] by name, such as ``decision_margin``; what the suite asks for.
        layers: weight norms and batch norm statistics, where the suite asks for them.
        protocol: what makes the numbers comparable, see :mod:`nofrost.evaluate.measuring.protocol`.
    """

    plan: SuitePlan
    sample: Sample
    predictions: NDArray[np.int64]
    flags: dict[str, Flags]
    branches: dict[str, dict[str, Flags]]
    steps: dict[int, Flags]
    budgets: tuple[tuple[BudgetPoint, Flags], ...]
    alarms: tuple[Alarm, ...]
    not_converged: tuple[str, ...]
    properties: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    layers: LayerStatistics = field(default_factory=LayerStatistics)
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def suite(self) -> AdversarialSuite:
        """The suite that the model was measured with."""
        return self.plan.suite

    @property
    def accuracy(self) -> dict[str, Proportion]:
        """Exact count and 95 % interval by condition, over all N images."""
        return {name: Proportion.of_flags(flags) for name, flags in self.flags.items()}

    @property
    def strongest_attack(self) -> str:
        """The attack of the suite that breaks the most images; the first of equals. In a cascade the first attacks meet
        the most."""
        broken, before = {}, self.flags["clean"]
        for name in self.suite.attacks:
            broken[name] = int((before & ~self.flags[name]).sum())
            before = self.flags[name] if self.suite.cascade else before
        return max(broken, key=lambda name: broken[name])

    def card(self, **about: Any) -> dict[str, Any]:
        """Return a model card in RobustBench's form.

        Args:
            about: ``name`` and ``authors``; also ``link``, ``venue``, ``dataset``, ``architecture``,
                ``additional_data``, ``number_forward_passes`` and ``reported``, see
                :class:`nofrost.evaluate.card.About`.

        Raises:
            UserError: a field is missing, unknown or wrong.
        """
        return make_card(self.metrics(), about)

    def metrics(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds."""
        return {
            "kind": "adversarial",
            "title": self.suite.title,
            "protocol": self.suite.protocol,
            "samples": len(self.sample),
            "seed": self.suite.seed,
            "threat": self.suite.threat.as_json(),
            "subset": self.suite.max_images is not None and len(self.sample) >= self.suite.max_images,
            "cascade": self.suite.cascade,
            "attacks": self._attacks(),
            "accuracy": accuracies(self.flags),
            "not_converged": list(self.not_converged),
            "branches": {branch: accuracies(flags) for branch, flags in self.branches.items()},
            "steps_curve": self._steps_curve(),
            "budget_curve": self._budget_curve(),
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "properties": summaries(self.properties, self.suite),
            **self.layers.metrics(),
            "indices_sha256": self.sample.indices_sha256(),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds: indices, labels, clean predictions and every flag, by condition."""
        arrays: dict[str, NDArray[Any]] = {
            "indices": self.sample.indices,
            "labels": self.sample.labels,
            "predictions": self.predictions,
        }
        arrays |= {f"correct/{name}": flags for name, flags in self.flags.items()}
        for branch, by_condition in self.branches.items():
            arrays |= {f"branches/{branch}/{name}": flags for name, flags in by_condition.items()}
        arrays |= {f"properties/{name}": values for name, values in self.properties.items()}
        arrays |= {f"steps/{steps}": flags for steps, flags in self.steps.items()}
        return arrays | {f"budgets/{point.text}": flags for point, flags in self.budgets}

    def _attacks(self) -> dict[str, Any]:
        """Return each attack with its settings and whether its accuracy is that of all attacks so far."""
        return {
            name: {**condition.attack.as_json(), "cumulative": condition.after is not None}
            for name, condition in self.plan.attacks.items()
        }

    def _steps_curve(self) -> dict[str, Any] | None:
        curve = self.suite.steps_curve
        if curve is None:
            return None
        verdict = next(alarm for alarm in self.alarms if alarm.name == "steps-converged")
        points = [{"steps": steps, **Proportion.of_flags(flags).as_json()} for steps, flags in self.steps.items()]
        converged = verdict.status == "pass"
        return {"attack": curve.attack.name, "points": points, "converged": converged, "slope_reason": verdict.reason}

    def _budget_curve(self) -> dict[str, Any] | None:
        curve = self.suite.budget_curve
        if curve is None:
            return None
        points = [{**point.as_json(), **Proportion.of_flags(flags).as_json()} for point, flags in self.budgets]
        return {"attack": curve.attack.name, "points": points}


def accuracies(flags: Mapping[str, Flags]) -> dict[str, Any]:
    """Return the counts and intervals by condition, as JSON values."""
    return {name: Proportion.of_flags(each).as_json() for name, each in flags.items()}
