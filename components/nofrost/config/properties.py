"""Properties: what an adversarial suite measures of a model beside its accuracy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from nofrost.config.attack import AttackSpec
from nofrost.config.base import LaterKeys, Settings, truth_value
from nofrost.config.fraction import PixelFraction
from nofrost.config.image_subset import ImageSubset


class BoundaryThickness(Settings):
    """How far level sets of the decision function lie apart towards an adversarial image.

    Yang et al. 2020 define it, wang2022 §4.3 measures it.

    `eps` and `step_size` are those of the targeted l2 search, in units of `space`: of pixels in [0, 1], or of the
    model's own input, normalised by its mean and standard deviation. ``eps: null`` searches the suite's threat, which
    is always in pixels; only the length of the segment is then one of `space`. `step_size` is a fifth of `eps` when
    null, and within the threat PGD's own. `against` names the class that the decision function compares with: the one
    that the search aimed at, or the one predicted at its end, for which an image that stays unbroken has no thickness;
    `both` measures two properties, ``boundary_thickness`` and ``boundary_thickness_predicted``.

    The defaults are those of Yang et al.'s code. wang2022's text says ``against: predicted``, but its table 5 has 14 to
    31, longer than that code's radius of 5; the threat of 8/255 allows up to 54 in the normalised space.
    """

    space: Literal["pixel", "normalised"] = "normalised"
    against: Literal["target", "predicted", "both"] = "target"
    eps: PixelFraction | None = PixelFraction("5")
    step_size: PixelFraction | None = None
    steps: int = Field(default=20, ge=1)
    alpha: float = Field(default=0.0, ge=-1, le=1)
    beta: float = Field(default=0.75, ge=-1, le=1)
    points: int = Field(default=128, ge=2, le=10_000)

    @model_validator(mode="after")
    def _the_level_sets_enclose_something(self) -> BoundaryThickness:
        if self.alpha >= self.beta:
            raise ValueError(f"alpha {self.alpha:g} is not below beta {self.beta:g}: write such as alpha 0, beta 0.75")
        for name in ("eps", "step_size"):
            value = getattr(self, name)
            if value is not None and not value.value:
                raise ValueError(f"{name} is 0: write one above 0, or null")
        return self


class ModelSmoothness(Settings):
    """Divergence between the answers to an image and to what `attack` makes of it within the suite's threat."""

    attack: AttackSpec = AttackSpec(name="pgd", steps=20, keep="last")


class BoundaryDistance(Settings):
    """Distance to the nearest decision boundary that RayS finds with so many `queries` (Chen & Gu 2020)."""

    queries: int = Field(default=10_000, ge=1)


class BatchNormSpec(LaterKeys, Settings):
    """Running statistics and affine parameters of every batch norm, and the statistics that `mini_batches` of
    `batch_size` test images have there: clean, and after `attack` within the suite's threat (null: clean alone).

    A report shows the `layer` of this name in the network, such as ``layer2.0.bn2``; null, and for networks without
    it, the 15th batch norm (wang2022 figure 1), or the middle one of fewer."""

    later_keys: ClassVar[tuple[str, ...]] = ("layer",)

    mini_batches: int = Field(default=2, ge=0)
    batch_size: int = Field(default=128, ge=2)
    attack: AttackSpec | None = AttackSpec(name="pgd", steps=20, keep="last")
    layer: str | None = Field(default=None, min_length=1)


class FoolingImagesSpec(Settings):
    """So many `images` of noise, each changed by `steps` of `step_size` pixels along the gradient's sign towards one
    class in turn (galloway2019 appendix J, after Nguyen et al. 2015; its settings are not stated). Those that reach
    `confidence` are counted."""

    images: int = Field(default=100, ge=1, le=10_000)
    steps: int = Field(default=100, ge=1)
    step_size: PixelFraction = PixelFraction("1/100")
    confidence: float = Field(default=0.9, ge=0, le=1)


def _true_means_defaults(value: Any) -> Any:
    value = truth_value(value)
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _null_means_no(value: Any) -> Any:
    return False if value is None else value


_Options = BeforeValidator(_true_means_defaults)
_Switch = Annotated[bool, BeforeValidator(_null_means_no)]


class PropertiesSpec(ImageSubset, Settings):
    """Which properties are measured, on a subset of the suite's images: true for one with its defaults, a mapping for
    one with options; false or null for none. Weight norms, batch norm statistics and the tilting angle, which is for
    linear classifiers of two classes, are of the model, all others of each image.
    """

    later_keys: ClassVar[tuple[str, ...]] = (*ImageSubset.later_keys, "tilting_angle", "fooling_images")

    decision_margin: _Switch = False
    boundary_thickness: Annotated[BoundaryThickness | None, _Options] = None
    model_smoothness: Annotated[ModelSmoothness | None, _Options] = None
    gradient_norm: _Switch = False
    boundary_distance: Annotated[BoundaryDistance | None, _Options] = None
    weight_norms: _Switch = False
    batch_norm: Annotated[BatchNormSpec | None, _Options] = None
    tilting_angle: _Switch = False
    fooling_images: Annotated[FoolingImagesSpec | None, _Options] = None
