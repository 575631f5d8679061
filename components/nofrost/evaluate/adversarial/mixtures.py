"""The mixtures of a mixture-BN model's branches that a suite measures: Pareto curves along γ (wang2022 Fig. 2, 5)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config.suite import MixturesSpec
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.models import Mixture
from nofrost.results import MixtureAccuracy, Proportion
from nofrost.statistics import Flags

CLEAN, WORST_CASE = "clean", "worst-case"


@dataclass(frozen=True)
class MixtureFlags:
    """By mixture and condition, [N] whether it is right; the worst case is over the clean images and the attacks that
    count in one."""

    flags: dict[Mixture, dict[str, Flags]] = field(default_factory=dict)

    def metrics(self) -> tuple[MixtureAccuracy, ...]:
        """Return what ``metrics.json`` says of them."""
        return tuple(
            MixtureAccuracy(
                inference=mixture.inference,
                weight=mixture.weight,
                share=mixture.share if mixture.inference == "random" else None,
                accuracy={name: Proportion.of_flags(each) for name, each in flags.items()},
            )
            for mixture, flags in self.flags.items()
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds of them."""
        return {
            f"mixtures/{mixture.name}/{condition}": each
            for mixture, flags in self.flags.items()
            for condition, each in flags.items()
        }


def mixtures_of(spec: MixturesSpec | None) -> list[Mixture]:
    """Return every mixture that a suite asks for, once, in its order."""
    if spec is None:
        return []
    mixtures = []
    for inference in spec.inference:
        for share in spec.shares if inference == "random" else (Mixture(0).share,):
            mixtures += [Mixture(weight, inference, share) for weight in spec.weights]
    return list(dict.fromkeys(mixtures))


def measured_mixtures(
    engine: Engine, measurements: Mapping[Mixture, Mapping[str, Measurement]], counted: Collection[str]
) -> MixtureFlags:
    """Return the flags of every mixture; its worst case is over the clean images and the `counted` attacks."""
    found = {}
    for mixture, by_condition in measurements.items():
        flags = {name: engine.right(each) for name, each in by_condition.items()}
        worst = reduce(np.logical_and, (flags[name] for name in counted), flags[CLEAN])
        found[mixture] = {**flags, WORST_CASE: worst}
    return MixtureFlags(found)
