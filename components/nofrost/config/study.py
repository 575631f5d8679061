"""Study: recipes x seeds + dataset + suites. A study file with everything spelled out is what `params.yaml` holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nofrost.config.base import Name, Schema
from nofrost.config.recipe import Recipe
from nofrost.config.suite import AdversarialSuite, OodSuite
from nofrost.errors import unknown


class DatasetSpec(Schema):
    """Where images come from and how they are split.

    `path` is the archive, file or folder of the source (unused by `digits`, whose images come with scikit-learn).
    `image_size` resizes to squares of so many pixels; `limit` keeps that many images in all, balanced over classes.
    `test_share` applies to sources that bring no test split; `selection_share` is cut from the training images.
    """

    source: Literal["digits", "cifar10", "folder", "npz", "idx"] = "digits"
    path: str = "data/source"
    image_size: int | None = Field(default=None, ge=4, le=1024)
    limit: int | None = Field(default=None, ge=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    selection_share: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class DeepAugmentSpec(Schema):
    """The image-to-image network whose weights are perturbed (Hendrycks et al. 2021): `weights` is a safetensors file
    of an earlier one; without it a small network is trained on the dataset for `epochs` epochs."""

    weights: str | None = None
    width: int = Field(default=16, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=2e-3, gt=0)


class TextureDebiasedSpec(Schema):
    """Texture-debiased augmentation (Hermann et al. 2020): mild crops and colour distortion as in wang2022's code; the
    `noise` and `blur` of the paper are off in that code. Leave `horizontal_flip` off where a mirrored image is another
    class (digits, letters)."""

    horizontal_flip: bool = True
    noise: bool = False
    blur: bool = False


class AugmentationSpec(Schema):
    """The augmentation sets made offline from the training images, one image for each original and method."""

    methods: tuple[Literal["deepaugment", "tda"], ...] = ("deepaugment", "tda")
    deepaugment: DeepAugmentSpec = DeepAugmentSpec()
    tda: TextureDebiasedSpec = TextureDebiasedSpec()
    seed: int = Field(default=0, ge=0)


class Runs(Schema):
    """Which recipes and seeds are trained: every pair is one run."""

    recipe: tuple[str, ...] = Field(min_length=1)
    seed: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)

    @model_validator(mode="after")
    def _no_run_comes_twice(self) -> Runs:
        for key, values in (("recipe", self.recipe), ("seed", self.seed)):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"{key} names {twice[0]!r} twice: name each once, every pair is one run")
        return self


class Suites(Schema):
    """What every run is evaluated on."""

    adversarial: AdversarialSuite
    ood: OodSuite


class Study(Schema):
    """Recipes x seeds, the dataset they are trained on and the suites they are evaluated on."""

    name: Name
    title: str
    note: str = ""
    dataset: DatasetSpec
    augmentation: AugmentationSpec = AugmentationSpec()
    runs: Runs
    recipes: dict[Name, Recipe]
    suites: Suites

    @model_validator(mode="after")
    def _runs_name_recipes_of_the_study(self) -> Study:
        for name in self.runs.recipe:
            if name not in self.recipes:
                raise unknown("recipe in runs.recipe", name, self.recipes)
        return self

    @model_validator(mode="after")
    def _augmentation_sets_are_made(self) -> Study:
        for name in self.runs.recipe:
            for method in self.recipes[name].views.augmentation_sets:
                if method not in self.augmentation.methods:
                    where = f"augmentation set in recipes.{name}.views.augmentation_sets"
                    raise ValueError(f"{unknown(where, method, self.augmentation.methods)} (augmentation.methods)")
        return self
