"""AutoAttack: a fixed sequence of strong attacks, so that robust accuracies of different papers can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from nofrost.attacks.apgd_dlr import ApgdMargin
from nofrost.attacks.apgd_t import ApgdTMargin
from nofrost.attacks.base import Access, Attack
from nofrost.attacks.registry import attack_settings, create_attack, register
from nofrost.attacks.sequence import SHARED, Sequence
from nofrost.registry import configurable

# Attacks in their order, with the settings that are not those of AutoAttack as a whole
_VERSIONS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "standard": (("apgd-ce", {}), ("apgd-t", {}), ("fab-t", {}), ("square", {})),
    "plus": (
        ("apgd-ce", {"restarts": 5}),
        ("apgd-dlr", {"restarts": 5}),
        ("fab", {"restarts": 5}),
        ("square", {}),
        ("apgd-t", {}),
        ("fab-t", {}),
    ),
    "rand": (("apgd-ce", {"eot": 20}), ("apgd-dlr", {"eot": 20})),
}
# What each member takes over from AutoAttack's own settings
_TAKES = {
    "apgd-ce": ("steps",),
    "apgd-dlr": ("steps",),
    "apgd-t": ("steps", "targets"),
    "fab": ("steps",),
    "fab-t": ("steps", "targets"),
    "square": ("queries",),
}


@register("autoattack")
@configurable
class AutoAttack(Sequence):
    """The worst case over the attacks of AutoAttack (Croce & Hein 2020, section 5; versions and order of its code).

    With other steps, queries or targets than its own it is no longer AutoAttack, and must not be called so in a report.
    The difference-of-logits ratio needs 3 classes, the targeted one 4: on models with fewer the plain margin takes
    its place, where AutoAttack's code would fail.

    Args:
        version: ``standard`` is APGD-CE, APGD-T, FAB-T and Square; ``plus`` adds APGD-DLR and untargeted FAB and gives
            the untargeted ones 5 restarts; ``rand`` is for models that answer at random: APGD-CE and APGD-DLR on the
            mean of 20 passes.
        steps: of APGD and FAB, at least 1.
        queries: of Square, at least 1.
        targets: how many wrong classes APGD-T and FAB-T aim at, at least 1; at most all.
    """

    access: ClassVar[Access] = "both"
    min_classes: ClassVar[int] = 4

    version: Literal["standard", "plus", "rand"] = "standard"
    steps: PositiveInt = 100
    queries: PositiveInt = 5000
    targets: PositiveInt = 9

    def averaged_passes(self) -> int:
        return max(int(settings.get("eot", 1)) for _, settings in _VERSIONS[self.version])

    def members(self, classes: int) -> Iterator[Attack]:
        for name, own in _VERSIONS[self.version]:
            given = own | {setting: getattr(self, setting) for setting in _TAKES[name]}
            yield create_member(name, classes, norm=self.norm, eps=self.eps, seed=self.seed, **given)


def create_member(name: str, classes: int, **settings: Any) -> Attack:
    """Return the attack `name`, or what stands in for it on a model with too few `classes` for its loss."""
    if name == "apgd-dlr" and classes < 3:
        return ApgdMargin(**settings)
    if name == "apgd-t" and classes < 4:
        return ApgdTMargin(**settings)
    return create_attack(name, **settings)


def standard_settings() -> dict[str, dict[str, Any]]:
    """Return the settings of each attack of AutoAttack, version ``standard``, by its name; without threat and seed."""
    members = AutoAttack(eps=0.0).members(classes=10)
    return {
        member.name: {key: getattr(member, key) for key in attack_settings(member.name) if key not in SHARED}
        for member in members
    }
