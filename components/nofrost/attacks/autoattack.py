"""Cascades, such as AutoAttack: attacks in sequence, each run only on images that all before it left correct."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator
from torch import Tensor

from nofrost.attacks.apgd import ApgdMargin, ApgdTMargin
from nofrost.attacks.base import ATTACKS, Access, Attack, attack_settings, create_attack, register
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import CheckedModel, NoGradientError
from nofrost.attacks.random import Noise
from nofrost.attacks.search import Best
from nofrost.errors import UserError
from nofrost.registry import configurable

# Settings that all members of a cascade have in common
SHARED = tuple(ATTACKS.elsewhere)


@configurable
class Cascade(Attack):
    """Attacks in sequence, as in AutoAttack (Croce & Hein 2020, section 4).

    An image that is misclassified when clean, or that a member has fooled, is not attacked further. For an image that
    no member fooled, the point is returned at which the model is least sure of the label. A member draws the same
    random numbers as when it is called alone, so an image is fooled if and only if some member alone fools it. If the
    model has no gradient, members that need one are skipped, unless all do.
    """

    @abstractmethod
    def members(self, classes: int) -> Sequence[Attack]:
        """Return the attacks in order, for a model of `classes` classes, with this cascade's norm, eps and seed."""

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        best = Best(images.clone(), *model.loss(images, labels, error_log_odds))
        no_gradient: NoGradientError | None = None
        any_ran = False
        for member in self.members(model.classes(images)):
            rows = (~best.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                return best.points
            try:
                points = member.run(model, images[rows], labels[rows], noise[rows])
            except NoGradientError as error:
                no_gradient = error
                continue
            any_ran = True
            points = self.ball(images[rows]).project(points.detach())
            best.improve_rows(rows, points, *model.loss(points, labels[rows], error_log_odds))
        if no_gradient is not None and not any_ran:
            raise no_gradient
        return best.points


@configurable
class WorstCase(Cascade):
    """The worst case over a list of attacks; create it with :meth:`of`.

    Args:
        attacks: at least one, all with this norm, eps and seed. It saves time to put strong and cheap ones first.

    Raises:
        UserError: there is none, or one has another norm, eps or seed.
    """

    name: ClassVar[str] = "worst-case"
    attacks: tuple[Attack, ...]

    @model_validator(mode="after")
    def _attacks_share_threat_and_seed(self) -> Self:
        if not self.attacks:
            raise UserError("a worst case needs at least one attack: give it some, such as apgd-ce and square")
        for attack in self.attacks:
            for setting in SHARED:
                shared, other = getattr(self, setting), getattr(attack, setting)
                if shared != other:
                    raise UserError(
                        f"attack {attack.name!r} has {setting} {other!r}, but the worst case has {shared!r}: "
                        "give all attacks of a worst case the same norm, eps and seed"
                    )
        return self

    @classmethod
    def of(cls, *attacks: Attack) -> Self:
        """Return the worst case over these attacks, such as those of `create_attack`; raises like the class."""
        shared = {setting: getattr(attacks[0], setting) for setting in SHARED} if attacks else {"eps": 0}
        return cls(attacks=attacks, **shared)

    def fewest_classes(self) -> int:
        return max(attack.fewest_classes() for attack in self.attacks)

    def members(self, classes: int) -> Sequence[Attack]:
        return self.attacks


# Attacks in order, with settings that differ between them
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
# Settings of AutoAttack that each member takes over
_PASSED_ON = {
    "apgd-ce": ("steps",),
    "apgd-dlr": ("steps",),
    "apgd-t": ("steps", "targets"),
    "fab": ("steps",),
    "fab-t": ("steps", "targets"),
    "square": ("queries",),
}


@register("autoattack")
@configurable
class AutoAttack(Cascade):
    """The worst case over the attacks of AutoAttack (Croce & Hein 2020, section 5; versions and order of its code).

    With steps, queries or targets other than the defaults it must not be reported as AutoAttack.
    The difference-of-logits ratio needs 3 classes, the targeted one 4: on models with fewer the plain margin replaces
    it, where AutoAttack's code would fail.

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

    def members(self, classes: int) -> Sequence[Attack]:
        shared = {setting: getattr(self, setting) for setting in SHARED}
        return [
            create_member(name, classes, **shared, **settings, **{key: getattr(self, key) for key in _PASSED_ON[name]})
            for name, settings in _VERSIONS[self.version]
        ]


def create_member(name: str, classes: int, **settings: Any) -> Attack:
    """Return the attack `name`, or its replacement on a model with too few `classes` for its loss."""
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


@register("autoattack-paper")
@configurable
class AutoAttackPaper(Cascade):
    """The worst case over APGD-CE and APGD-DLR: the "AA" of wang2022 §4.1, "fast version". It is not AutoAttack.

    wang2022 gives the steps of its white-box attacks as 20 and does not say whether "AA" has as many: we assume so. On
    models with 2 classes the plain margin replaces the difference-of-logits ratio.

    Args:
        steps: of both attacks, at least 1.
    """

    access: ClassVar[Access] = "gradient"
    min_classes: ClassVar[int] = 3

    steps: PositiveInt = 20

    def members(self, classes: int) -> Sequence[Attack]:
        shared = {setting: getattr(self, setting) for setting in (*SHARED, "steps")}
        return [create_member(name, classes, **shared) for name in ("apgd-ce", "apgd-dlr")]
