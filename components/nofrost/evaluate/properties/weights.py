"""Norms of the weights of each layer."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nofrost.models import ScaledStdConv2d
from nofrost.results import LayerNorms

_Convolution = nn.modules.conv._ConvNd


def weight_norms(model: nn.Module) -> tuple[LayerNorms, ...]:
    """Return the norms of every linear and convolutional layer, in the model's order.

    Weights are those that the layer applies: of a standardised convolution, those after standardisation.
    """
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | _Convolution))
    return tuple(_norms(name, applied_weight(module)) for name, module in layers)


def log_product(norms: Sequence[float]) -> float | None:
    """Return the logarithm to base 10 of the product of norms; None where one of them is zero."""
    return math.fsum(map(math.log10, norms)) if all(norm > 0 for norm in norms) else None


@torch.no_grad()
def applied_weight(layer: nn.Linear | _Convolution) -> Tensor:
    """Return the weight that a layer applies, after the standardisation of ours or of timm."""
    weight = layer.weight
    if isinstance(layer, ScaledStdConv2d):
        return layer.standardised_weight()
    gain, scale, eps = (getattr(layer, name, None) for name in ("gain", "scale", "eps"))
    if isinstance(gain, Tensor) and isinstance(scale, float) and isinstance(eps, float):  # timm's ScaledStdConv2d
        variance, mean = torch.var_mean(weight.flatten(1), dim=1, correction=0)
        rows = (weight.flatten(1) - mean[:, None]) * torch.rsqrt(variance + eps)[:, None]
        return (rows * (gain.flatten() * scale)[:, None]).view_as(weight)
    return weight


def _norms(name: str, weight: Tensor) -> LayerNorms:
    matrix = weight.detach().cpu().double().flatten(1)
    smaller = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    # The eigenvalues of the smaller product take a fraction of the time of a singular value decomposition.
    largest = float(torch.linalg.eigvalsh(smaller)[-1].clamp(min=0))
    return LayerNorms(
        layer=name, shape=tuple(weight.shape), frobenius=float(matrix.norm()), spectral=math.sqrt(largest)
    )
