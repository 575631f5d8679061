"""Properties of a model in the result of an evaluation: of each image and of each layer."""

from typing import Any, Literal

from pydantic import Field

from nofrost.config.base import OmitEmpty
from nofrost.results.common import Proportion, Result

BatchNormBranch = Literal["clean", "adversarial", "all"]
Range = tuple[float, float, float]
"""The least, the median and the largest of some values."""


class PropertySummary(Result):
    """A property over `total` images, of which `infinite` are left out of everything else.

    Args:
        mean, deviation: of the values, the latter for a sample (ddof = 1).
        low, high: 95 % Student interval of the mean. All four are None where too few values remain.
        quantiles: by their level; empty where no value remains.
        options: how the property was measured.
    """

    total: int = Field(ge=1)
    infinite: int = Field(ge=0)
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    quantiles: dict[str, float]
    options: dict[str, Any]


class FoolingImages(Result):
    """Images made from noise: how many reach the confidence that is asked for, and the confidence of all of them."""

    confident: Proportion
    confidence: PropertySummary


class LayerNorms(Result):
    """Norms of the weight of one layer, taken as a matrix: one row for each output.

    Args:
        layer: its name in the model.
        shape: of its weight.
        frobenius: the square root of the sum of squares.
        spectral: the largest singular value. Of a convolution it is that of the matrix [out, in x kernel], which
            bounds the gain for one patch, not for a whole image.
    """

    layer: str
    shape: tuple[int, ...]
    frobenius: float
    spectral: float


class WeightNorms(Result):
    """Norms of all layers, and the logarithms to base 10 of their products (None where a norm is zero)."""

    layers: tuple[LayerNorms, ...] = Field(min_length=1)
    log10_spectral_product: float | None
    log10_frobenius_product: float | None


class BatchNormStatistics(OmitEmpty):
    """Running statistics and affine parameters of one batch norm over its channels.

    The `branch` says which images the batch norm normalises: those of a branch of a mixture, or all. A layer that keeps
    no statistics has no mean and variance, one without affine parameters no weight (γ) and bias (β). The share of γ or
    β near zero counts towards the spike that zeise2025 Fig. 2 shows.
    """

    layer: str
    branch: BatchNormBranch
    mean: Range | None = None
    variance: Range | None = None
    weight: Range | None = None
    bias: Range | None = None
    weight_near_zero: float | None = None
    bias_near_zero: float | None = None


class LayerMetrics(Result):
    """The properties of a model's layers; None and empty where a suite does not ask for them."""

    weight_norms: WeightNorms | None
    batch_norm: tuple[BatchNormStatistics, ...]
