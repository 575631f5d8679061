"""The worst case over several attacks, image by image: each is let loose only on what those before it left right."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import model_validator
from torch import Tensor

from nofrost.attacks.base import Attack
from nofrost.attacks.classifier import Classifier, NoGradientError
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.noise import Noise
from nofrost.attacks.search import Found
from nofrost.errors import UserError
from nofrost.registry import configurable

SHARED = ("norm", "eps", "seed")


@configurable
class Sequence(Attack):
    """Several attacks one after the other, as AutoAttack runs its own (Croce & Hein 2020, section 4).

    An image that is wrong when clean, or that a member fooled, is not attacked further. What no member fooled comes
    back as the point found on which the model is least sure of the label. A member draws the random numbers that it
    draws when it is called alone: so an image is fooled exactly if a member fools it by itself. Where the model has no
    gradient, the members that need one are passed over, unless all do.
    """

    @abstractmethod
    def members(self, classes: int) -> Iterator[Attack]:
        """Return the attacks in their order, for a model of so many classes; norm, eps and seed are those of this."""

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        best = Found(images.clone(), *model.judge(images, labels, error_log_odds))
        blind: NoGradientError | None = None
        seeing = False
        for member in self.members(model.classes(images)):
            rows = (~best.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                return best.points
            try:
                found = member.run(model, images[rows], labels[rows], noise[rows])
            except NoGradientError as error:
                blind = error
                continue
            seeing = True
            points = self.ball(images[rows]).project(found.detach())
            part = best[rows]
            part.improve(points, *model.judge(points, labels[rows], error_log_odds))
            best[rows] = part
        if blind is not None and not seeing:
            raise blind
        return best.points


@configurable
class WorstCase(Sequence):
    """The worst case over attacks of one's own choice; :meth:`of` makes it.

    Args:
        attacks: at least one, all with this norm, eps and seed. Strong and cheap ones first saves time.

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
                own, other = getattr(self, setting), getattr(attack, setting)
                if own != other:
                    raise UserError(
                        f"attack {attack.name!r} has {setting} {other!r}, but the worst case has {own!r}: "
                        "give all attacks of a worst case the same norm, eps and seed"
                    )
        return self

    @classmethod
    def of(cls, *attacks: Attack) -> Self:
        """Return the worst case over these attacks, such as those of `create_attack`; raises like the class."""
        shared = {setting: getattr(attacks[0], setting) for setting in SHARED} if attacks else {"eps": 0}
        return cls(attacks=attacks, **shared)

    def members(self, classes: int) -> Iterator[Attack]:
        return iter(self.attacks)
