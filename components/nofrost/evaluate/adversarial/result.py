"""The result of an adversarial evaluation: flags for each image, and the metrics computed from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.evaluate.adversarial.measured_losses import MeasuredLosses, TrainingAnswers
from nofrost.evaluate.adversarial.mixtures import MixtureFlags
from nofrost.evaluate.adversarial.plan import Budget
from nofrost.evaluate.card import make_card
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.properties import LayerStatistics
from nofrost.evaluate.properties.fooling import Fooling
from nofrost.results import AdversarialMetrics, Alarm, Proportion, Protocol
from nofrost.statistics import Flags


@dataclass(frozen=True)
class RobustnessResult:
    """The measurements on N images.

    Args:
        metrics: accuracies, curves, alarms and properties, as ``metrics.json`` of the stage holds them.
        protocol: what makes the numbers comparable.
        flags: by condition, [N] whether the model is right: ``clean``, every attack by its name in the suite (in a
            cascade also under all attacks before it), and ``worst-case`` (right when clean and under every attack). Of
            a mixture-BN model also ``through-clean-branch`` and ``through-adversarial-branch``: whether the deployed
            mixture is right on what all attacks make that see that branch alone; the worst case is over these too.
        branches: the same for each branch of a mixture-BN model, without ``worst-case``; empty for other models.
        steps: [N] by the number of attack steps; empty without a steps curve.
        budgets: budgets of the budget curve with their [N] flags, by growing budget; empty without one.
        properties: float64 [N] by name, such as ``decision_margin``; what the suite asks for.
        layers: weight norms and batch norm statistics, where the suite asks for them.
        losses: cross-entropy and top-5 flags by condition, where the suite asks for them.
        training: answers to images of the training split; None unless the suite asks for them.
        fooling: images made from noise, where the suite asks for them.
        mixtures: the same as `branches` for each mixture that the suite asks for, with ``worst-case``.
    """

    metrics: AdversarialMetrics
    protocol: Protocol
    sample: Sample
    predictions: NDArray[np.int64]
    flags: dict[str, Flags]
    branches: dict[str, dict[str, Flags]]
    steps: dict[int, Flags]
    budgets: tuple[tuple[Budget, Flags], ...]
    properties: dict[str, NDArray[np.float64]]
    layers: LayerStatistics
    losses: MeasuredLosses
    training: TrainingAnswers | None
    mixtures: MixtureFlags
    fooling: Fooling | None

    @property
    def accuracy(self) -> dict[str, Proportion]:
        """Exact count and 95 % interval by condition, over all N images."""
        return self.metrics.accuracy

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Signs that the attacks were too weak to mean anything."""
        return self.metrics.alarms

    @property
    def not_converged(self) -> tuple[str, ...]:
        """The conditions whose accuracy more attack steps would lower, as far as the steps curve tells."""
        return self.metrics.not_converged

    def card(self, **about: Any) -> dict[str, Any]:
        """Return a model card in RobustBench's form.

        Args:
            about: ``name`` and ``authors``; also ``link``, ``venue``, ``dataset``, ``architecture``,
                ``additional_data``, ``number_forward_passes`` and ``reported``, see
                :class:`nofrost.evaluate.card.About`.

        Raises:
            UserError: a field is missing, unknown or wrong.
        """
        return make_card(self.metrics, about)

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
        arrays |= self.losses.arrays() | self.mixtures.arrays() | (self.training.arrays() if self.training else {})
        arrays |= self.fooling.arrays() if self.fooling else {}
        return arrays | {f"budgets/{budget.text}": flags for budget, flags in self.budgets}
