"""Suite: what a model is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from nofrost.config.attack import AttackSpec, Threat
from nofrost.config.base import Cited, ImageCount, LaterKeys, Name, Seed, Settings, Share
from nofrost.config.corruption_families import SEVERITIES, ParameterSet
from nofrost.config.evaluation_view import EvaluationView
from nofrost.config.fraction import PixelFraction
from nofrost.config.image_subset import ImageSubset
from nofrost.config.model import MixtureInference
from nofrost.config.properties import PropertiesSpec
from nofrost.config.test_sets import NamedTestSets
from nofrost.errors import unknown

# The same on every machine and for every kind of suite, as the last bits of a model's output depend on the batch size.
BATCH_SIZE = 256


class SuiteAttack(ImageSubset, AttackSpec):
    """An attack of a suite, with its settings, and the images that it attacks."""

    def spec(self) -> AttackSpec:
        """Return the attack itself."""
        return AttackSpec.model_validate({"name": self.name, **self.settings()})


class StepsCurveSpec(Settings):
    """Accuracy against the number of attack steps: shows whether the attack has converged. The `attack` is a name, or
    a name with settings other than the steps."""

    attack: AttackSpec = AttackSpec(name="apgd-ce")
    steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 2, 5, 10, 20, 50, 100), min_length=1, max_length=1000
    )

    @field_validator("attack", mode="before")
    @classmethod
    def _a_name_is_an_attack(cls, attack: Any) -> Any:
        return {"name": attack} if isinstance(attack, str) else attack

    @field_validator("attack")
    @classmethod
    def _steps_are_those_of_the_curve(cls, attack: AttackSpec) -> AttackSpec:
        if (steps := attack.setting("steps")) is not None:
            raise ValueError(f"steps {steps} is a setting of the attack: write it in the curve's own steps")
        return attack


class BudgetCurveSpec(Settings):
    """Accuracy against the size of the ball; `multiples` of the threat's budget. The whole pixel range (linf 1, at
    which every defence must fall to 0 %) is always added."""

    attack: AttackSpec = AttackSpec(name="apgd-ce", steps=10)
    multiples: tuple[PixelFraction, ...] = tuple(map(PixelFraction, ("1/4", "1/2", "1", "3/2", "2")))


class MixturesSpec(Settings):
    """Other mixtures of the branches of a mixture-BN model than the one it is deployed with (wang2022 App. A, Fig. 2).

    Every place of `inference` goes with every one of `weights`, the adversarial branch's γ, and ``random`` also with
    every one of `shares`. Each mixture is measured on clean images and under the suite's `branch_attacks`, which see
    that mixture. Models without branches are left out.
    """

    inference: tuple[MixtureInference, ...] = Field(default=("logits",), min_length=1, max_length=3)
    weights: tuple[Share, ...] = Field(default=(0.0, 0.25, 0.5, 0.75, 1.0), min_length=1, max_length=1000)
    shares: tuple[Share, ...] = Field(default=(0.5,), min_length=1, max_length=1000)


class AdversarialSuite(Cited, LaterKeys):
    """Attacks by the name they are reported under, and two curves. `protocol` says which numbers it is comparable with.

    An attack without a `name` is the one that it is reported as. In a `cascade` every attack is run only on the images
    that all attacks before it left correct, as in AutoAttack: its accuracy is that of the worst case so far. A
    mixture-BN model is measured through each of its branches too, with `branch_attacks` of the attacks (null means all
    that attack every image), and with other `mixtures` of them. `properties` are measured beside the attacks; null
    means none. Images are resized and cropped by `view`; null means by that of the dataset. A `batch_size` that does
    not fit into memory is halved until it does.

    Attributes:
        losses: measures the cross-entropy and, with more than 5 classes, the top-5 accuracy of clean images and of what
            each attack makes. For these, images that are wrong when clean are attacked too.
        training_images: of the training split, so many evenly spaced images are answered too, without augmentation:
            accuracy, cross-entropy and the gap between them and those of the test images.
        batch_statistics: what batch norms normalise by: their ``running`` statistics, or those of the test ``batch``
            (galloway2019 appendix I), which makes every number one of this order and batch size. Attacks then see
            whole batches, those that are wrong when clean among them.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("losses", "training_images", "mixtures", "batch_statistics")

    kind: Literal["adversarial"]
    title: str
    citation: str
    protocol: Literal["quick", "paper", "standard"]
    threat: Threat = Threat()
    attacks: dict[Name, SuiteAttack] = Field(min_length=1)
    cascade: bool = False
    branch_attacks: tuple[Name, ...] | None = None
    steps_curve: StepsCurveSpec | None = None
    budget_curve: BudgetCurveSpec | None = None
    properties: PropertiesSpec | None = None
    losses: bool = False
    training_images: ImageCount | None = None
    mixtures: MixturesSpec | None = None
    batch_statistics: Literal["running", "batch"] = "running"
    view: EvaluationView | None = None
    seed: Seed = 0
    batch_size: int = Field(default=BATCH_SIZE, ge=1)
    max_images: ImageCount | None = None

    @model_validator(mode="after")
    def _branch_attacks_are_attacks_of_the_suite(self) -> AdversarialSuite:
        for name in self.branch_attacks or ():
            if name not in self.attacks:
                raise unknown("attack in branch_attacks", name, self.attacks)
            if not self.attacks[name].is_whole:
                raise ValueError(f"branch_attacks: {name} attacks some of the images only: leave it out")
        return self

    @model_validator(mode="after")
    def _a_cascade_attacks_what_is_left(self) -> AdversarialSuite:
        for name, attack in self.attacks.items():
            if self.cascade and not attack.is_whole:
                raise ValueError(f"attacks.{name}: a cascade attacks what is left of all images: drop {attack.text}")
        return self

    @model_validator(mode="after")
    def _every_attack_has_a_loss(self) -> AdversarialSuite:
        if self.cascade and self.attacks_all_images:
            what = "losses" if self.losses else "batch statistics"
            raise ValueError(f"{what} are of attacks that run on every image, unlike those of a cascade: drop one")
        return self

    @property
    def attacks_all_images(self) -> bool:
        """Whether attacks also run on images that are wrong when clean."""
        return self.losses or self.batch_statistics == "batch"

    @field_validator("attacks", mode="before")
    @classmethod
    def _attack_names_default_to_their_keys(cls, attacks: Any) -> Any:
        if not isinstance(attacks, Mapping):
            return attacks
        specs = {key: {} if spec is None else spec for key, spec in attacks.items()}
        return {key: {"name": key, **spec} if isinstance(spec, Mapping) else spec for key, spec in specs.items()}


Baseline = Literal["alexnet"]
"""The model whose errors corruption errors are divided by (Hendrycks & Dietterich 2019, §4.1)."""


class OodSuite(Cited, LaterKeys):
    """Corruptions of the test images at severities 1 to 5 (Hendrycks & Dietterich 2019), and further test sets.

    Each of `test_sets` has an accuracy of its own, which the mean over corruptions leaves out. Images are resized and
    cropped by `view`, null means by that of the dataset, and then corrupted; with `before_resize` noise is added to
    the stored pixels, before the resize, so that it is enlarged with the image (galloway2019, footnote 6).

    Attributes:
        parameter_set: whose parameters corruptions have; null for those of the images' size.
        jpeg_quality: of one more JPEG of each corrupted image, as the published files of photographs went through (85).
        baseline: adds mCE and relative mCE, of the 15 common corruptions, which it has errors of; null for none.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("parameter_set", "jpeg_quality", "baseline")

    kind: Literal["ood"]
    title: str
    citation: str
    corruptions: tuple[str, ...]
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(default=SEVERITIES, min_length=1)
    test_sets: NamedTestSets = Field(default={})
    view: EvaluationView | None = None
    before_resize: bool = False
    parameter_set: ParameterSet | None = None
    jpeg_quality: int | None = Field(default=None, ge=1, le=95)
    baseline: Baseline | None = None
    seed: Seed = 0
    batch_size: int = Field(default=BATCH_SIZE, ge=1)
    max_images: ImageCount | None = None

    @model_validator(mode="after")
    def _something_is_measured(self) -> OodSuite:
        if not self.corruptions and not self.test_sets:
            raise ValueError("corruptions and test_sets are empty: name at least one")
        return self


Suite = AdversarialSuite | OodSuite
