"""Which attacks are compared, with which settings: equal ones for both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from contest.peers import Perturb, Task
from nofrost.attacks import create_attack, list_attacks

SHORT, LONG, QUERIES, TARGETS = 20, 100, 5000, 9


@dataclass(frozen=True)
class Contest:
    """One attack with its settings.

    Args:
        attack: our name of it.
        settings: ours; a step size is a share of the budget.
        images: at most so many.
    """

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    norms: tuple[str, ...] = ("linf", "l2")
    images: int = 1000

    def task(self, model: nn.Module, norm: str, eps: float) -> Task:
        """Return what both sides are to do."""
        settings = dict(self.settings)
        if "step_size" in settings:
            settings["step_size"] *= eps
        return Task(model, self.attack, norm, eps, settings)


def _steps(attack: str, **more: Any) -> Contest:
    norms = ("linf",) if attack == "cw-linf" else ("linf", "l2")
    return Contest(attack, {"steps": SHORT, "step_size": 1 / 8, **more}, norms)


CONTESTS = {
    "fgsm": Contest("fgsm"),
    "bim": _steps("bim"),
    "bim, last point": _steps("bim", keep="last"),
    "pgd": _steps("pgd"),
    "pgd, last point": _steps("pgd", keep="last"),
    "pgd-targeted": _steps("pgd-targeted", keep="last"),
    "mim": _steps("mim", decay=1.0),
    "mim, last point": _steps("mim", decay=1.0, keep="last"),
    "cw-linf": _steps("cw-linf", confidence=50.0),
    "cw-linf, last point": _steps("cw-linf", confidence=50.0, keep="last"),
    "apgd-ce, 20 steps": Contest("apgd-ce", {"steps": SHORT}),
    "apgd-ce": Contest("apgd-ce", {"steps": LONG}),
    "apgd-dlr": Contest("apgd-dlr", {"steps": LONG}),
    "apgd-t": Contest("apgd-t", {"steps": LONG, "targets": TARGETS}),
    "fab": Contest("fab", {"steps": LONG}, images=500),
    "fab-t": Contest("fab-t", {"steps": LONG, "targets": TARGETS}, images=500),
    "square": Contest("square", {"queries": QUERIES}, images=500),
    "square, 1000 queries, rescaled": Contest("square", {"queries": 1000, "rescale_schedule": True}, images=500),
    "autoattack": Contest("autoattack", {"steps": LONG, "queries": QUERIES, "targets": TARGETS}, images=500),
}
"""By the name in the tables. Without "last point" an attack of ours returns the best point of its path."""


def known() -> dict[str, Contest]:
    """Return the contests whose attack we have."""
    return {name: contest for name, contest in CONTESTS.items() if contest.attack in list_attacks()}


def ours(task: Task) -> Perturb:
    """Return our attack that does `task`."""
    attack = create_attack(task.attack, norm=task.norm, eps=task.eps, seed=task.seed, **task.settings)
    return lambda images, labels: attack(task.model, images, labels)
