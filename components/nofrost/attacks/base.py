"""What all attacks share: threat, seed, traits, the checks around the search; and the registry of attacks by name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self, final

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from nofrost.attacks.batch import check_budget
from nofrost.attacks.model import CheckedModel, Model
from nofrost.attacks.norms import BALLS, Ball
from nofrost.attacks.random import Noise
from nofrost.attacks.session import attack_session, to_search_dtype
from nofrost.config import AttackSpec, PixelFraction
from nofrost.config.base import Schema
from nofrost.config.fraction import Pixels
from nofrost.errors import UserError, unknown
from nofrost.registry import Registry, check_settings, configurable

Access = Literal["gradient", "outputs", "both"]
Followed = Literal["cross-entropy", "margin", "dlr"]


@configurable
class Attack(ABC):
    """A search near each image for one that a model misclassifies. It has no state: equal calls give equal results.

    Args:
        norm: ``linf`` or ``l2``, how the size of a perturbation is measured.
        eps: budget, the largest size, in pixels of [0, 1]; for ``linf`` at most 1, for ``l2`` at most the diagonal of
            the pixel box, which is known once there are images.
        seed: fixes every random choice, from 0 to 2^63 - 1.

    Attributes:
        norms: the norms that it supports.
        access: what it uses of a model: its ``gradient`` (a white-box attack), its ``outputs`` alone (a black-box one),
            or ``both``, as some cascades of attacks do.
        follows: the loss whose gradient it climbs.
        targeted: whether it aims at particular wrong classes.
        random_start: whether it starts from a random point and not from the clean image.
        min_classes: fewest classes for which its loss is defined as its authors state it.
        required_classes: fewest classes that a model must have to be attacked at all. Where they are fewer than
            `min_classes`, a plainer loss replaces the authors'.
        cross_entropy_twin: the attack that is the same search on the cross-entropy.

    Raises:
        UserError: a setting is out of its range.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    # Traits that alarms and cards use. An attack that does not declare its access and loss is compared with no other,
    # so that a new one cannot be judged wrongly
    access: ClassVar[Access | None] = None
    follows: ClassVar[Followed | None] = None
    targeted: ClassVar[bool] = False
    random_start: ClassVar[bool] = True
    min_classes: ClassVar[int] = 2
    required_classes: ClassVar[int] = 2
    cross_entropy_twin: ClassVar[str | None] = None

    norm: str = "linf"
    eps: Pixels
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("norm")
    @classmethod
    def _norm_is_one_of_its_norms(cls, norm: str) -> str:
        if norm not in cls.norms:
            raise unknown("norm", norm, cls.norms)
        return norm

    @model_validator(mode="after")
    def _linf_budget_is_a_pixel_range(self) -> Self:
        if self.norm == "linf" and self.eps > 1:
            raise UserError(f"eps is {self.eps:g}, more than the whole pixel range: write at most 1, such as 8/255")
        return self

    @final
    def __call__(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        indices: Tensor | None = None,
        batch_size: int = 1,
    ) -> Tensor:
        """Return the adversarial images, in the shape, dtype and device of `images`, inside the ball and in [0, 1] (but
        for noise that is told not to be: see :meth:`stays_inside`).

        The search runs in float32 (float64 for such images), with the model in eval mode and autocast off. Afterwards
        the mode of each module, torch's modes and its random generators are restored.

        Args:
            model: maps images to logits [N, C]; its input normaliser is inside. A module or any callable. A model in
                DistributedDataParallel is attacked without that wrapper.
            images: [N, C, H, W] floats in [0, 1].
            labels: [N] int64, the true classes.
            indices: [N] int64, the images' positions in their dataset. They select the random numbers, so that of a
                model that answers for each image by itself a result depends neither on batch nor on shard. Default: 0
                to N - 1.
            batch_size: how many images attempts at several classes (of APGD-T, FAB-T) may fill a batch with, once few
                are left. They find the same, up to the last bits of a pixel. Default: one attempt after the other.

        Raises:
            UserError: the batch has the wrong form or range, the budget is larger than the images, a label is no class
                of the model, the model has too few classes for the attack, or it does not take such images or returns
                NaN, no logits [N, C], or logits without a gradient.
        """
        session = attack_session(
            model, images, labels, indices, seed=self.seed, fits=self.check_classes, batch_size=batch_size
        )
        with session as checked:
            check_budget(self.norm, self.eps, images)
            clean = to_search_dtype(images)
            if len(images) == 0 or self.eps == 0:
                # A model with too few classes is refused whatever the budget.
                if len(images) and self.fewest_classes() > 2:
                    checked.classes(clean)
                return clean.to(images.dtype)
            # labels are copied, as autograd cannot use a tensor that was created in inference mode
            points = self.run(checked, clean, labels.clone(), Noise.of_images(self.seed, images, indices))
            if not self.stays_inside():
                return points.detach().to(images.dtype)
            return _rounded_towards(clean.to(images.dtype), self.ball(clean).project(points.detach()))

    def fewest_classes(self) -> int:
        """Return how many classes a model must have to be attacked at all."""
        return self.required_classes

    @final
    def check_classes(self, classes: int) -> None:
        """Check that a model of `classes` classes can be attacked.

        Raises:
            UserError: it has too few.
        """
        if classes < self.fewest_classes():
            raise UserError(
                f"the model has {classes} classes, but {self.name} needs at least {self.fewest_classes()}: "
                "use apgd-ce, or autoattack, which uses a margin instead"
            )

    def averaged_passes(self) -> int:
        """Return how many forward passes each gradient is averaged over."""
        return int(getattr(self, "eot", 1))

    def crosses_the_ball(self) -> bool:
        """Return whether its steps together are long enough to reach every point of the ball."""
        return True

    def stays_inside(self) -> bool:
        """Return whether its images are inside ball and box; noise that nobody aims need not be."""
        return True

    def members(self, classes: int) -> Sequence["Attack"]:
        """Return the attacks that are run in turn on a model of `classes` classes, each on images that all before it
        left correct: those of a cascade, otherwise the attack itself."""
        return (self,)

    @abstractmethod
    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return adversarial images [N, C, H, W] for clean ones in [0, 1]; N at least 1, `eps` more than 0.

        Args:
            model: in eval mode; its output is checked.
            images: [N, C, H, W] float32 or float64; not to be changed in place.
            labels: [N] int64.
            noise: the random numbers of each image; an attack may use no other source of randomness.
        """

    def ball(self, images: Tensor) -> Ball:
        """Return the ball of this attack's threat around clean `images`."""
        return BALLS[self.norm](images, self.eps)


def _rounded_towards(centre: Tensor, points: Tensor) -> Tensor:
    """Return `points` in the dtype of `centre`, rounded towards `centre` so that none leaves ball or box.

    Args:
        centre: images in [0, 1].
        points: images in [0, 1] of the same or a wider dtype.
    """
    if centre.dtype == points.dtype:
        return points
    rounded = points.to(centre.dtype)
    beyond = (rounded.to(points.dtype) - points) * (points - centre) > 0
    # the neighbours of a non-negative float are its neighbours as an integer
    steps = beyond.to(torch.int16) * (centre - rounded).sign().to(torch.int16)
    return (rounded.view(torch.int16) + steps).view(centre.dtype)


# Recipes and suites state threat and seed beside an attack. Its other settings are checked with a budget of 0
ATTACKS: Registry[Attack] = Registry("attack", elsewhere={"norm": None, "eps": 0.0, "seed": None})
register = ATTACKS.register
list_attacks = ATTACKS.names
attack_settings = ATTACKS.settings
attack_class = ATTACKS.get


def create_attack(name: str, *, eps: float | str | Fraction | PixelFraction, seed: int = 0, **settings: Any) -> Attack:
    """Return the attack called `name`.

    Args:
        name: one of `list_attacks`.
        eps: budget, the radius of the ball, in pixels of [0, 1]: a number, a text such as ``"8/255"``, a ``Fraction``
            or a ``PixelFraction``; for ``linf`` at most 1.
        seed: fixes every random choice, at least 0.
        settings: ``norm``, which is ``linf`` by default, ``l2`` for an attack that has no other; and the attack's own
            settings, such as ``steps``.

    Raises:
        UserError: an unknown name, norm or setting (the message lists the known ones), or a value out of range.
    """
    return ATTACKS.create(name, eps=eps, seed=seed, **settings)


def check_attacks(config: Schema, origin: str, overrides: Sequence[str] = ()) -> None:
    """Check the name and settings of every attack in a configuration, at any depth.

    Args:
        config: such as a suite.
        origin: its file, for the error.
        overrides: texts `key=value` on top of the file; the message names the one at fault.

    Raises:
        UserError: one is wrong; the message names the file, the key and the attack's settings.
    """
    check_settings(config, {AttackSpec: ATTACKS}, origin, overrides)
