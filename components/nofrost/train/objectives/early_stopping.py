"""What FAT and TRADES-FAT share: how long an image is attacked on once it is misclassified (Zhang et al. 2020)."""

from __future__ import annotations

from typing import Any

from nofrost.attacks import settings
from nofrost.errors import UserError
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Objective


@configurable
class EarlyStopping(Objective):
    """An objective whose attack lets images go: friendly adversarial training.

    Args:
        tau: how many times an image is misclassified on the attack's way and still attacked on, at least 0. wang2022 has 1;
            its authors' code notes that their tau is one larger than that of Zhang et al. 2020, which would be 0.
        tau_milestones: when tau grows by one, in epochs done, increasing: (50, 90) for the 0, 1, 2 of Zhang et al.
        step_noise: ω, deviation in pixels of the noise added to each step; 0.001 in the code of FAT.

    Raises:
        UserError: a setting is out of its range.
    """

    tau: int = 1
    tau_milestones: tuple[float, ...] = ()
    step_noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.whole("tau", self.tau, minimum=0)
        settings.number("step_noise", self.step_noise, minimum=0)
        for milestone in self.tau_milestones:
            settings.number("a milestone in tau_milestones", milestone, minimum=0)
        if list(self.tau_milestones) != sorted(set(self.tau_milestones)):
            raise UserError(f"tau_milestones are {list(self.tau_milestones)}: write epochs that increase, as [50, 90]")

    def stopping(self, adversary: Adversary) -> dict[str, Any]:
        """Return what tells the attack at this point of the training to let images go."""
        grown = sum(adversary.epochs_done >= milestone for milestone in self.tau_milestones)
        return {"tau": self.tau + grown, "step_noise": self.step_noise}
