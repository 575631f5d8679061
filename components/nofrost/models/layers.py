"""Layers that several architectures share, and the types that tell kinds of layer apart."""

import torch
from torch import nn

from nofrost.models.activations import RELU

# Any batch norm: of 1 to 3 dimensions, timm's, and those synchronised over processes.
BatchNorm = nn.modules.batchnorm._BatchNorm
# Batch norms that another normaliser can replace (models/normalisers.py).
ExchangeableBatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
# Layers whose parameters are gains and shifts of normalised features.
NORMALISER_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)

RELU_GAIN = RELU.gain


class ScaledStdConv2d(nn.Conv2d):
    """Convolution with scaled weight standardisation (Brock et al. 2021a; wang2022 §2.3).

    Filters are standardised at each forward pass: gain · γ · (W - μ) / (σ · √fan-in). wang2022 §2.3 calls N "the batch
    size"; it is the fan-in of a filter, as in Brock et al.'s code. Every filter then has mean 0 and variance γ²/fan-in;
    `gain` (one per output channel) and `bias` are learnt.

    Args:
        gamma: gain of the activation that comes before the convolution; 1 for none.
        eps: lower bound of variance · fan-in.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        gamma: float = RELU_GAIN,
        eps: float = 1e-4,
    ) -> None:
        super().__init__(inputs, outputs, kernel_size, stride, padding, bias=True)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        self.gamma, self.eps = gamma, eps
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def standardised_weight(self) -> torch.Tensor:
        """Return the weight [out, in, k, k] that the convolution applies."""
        fan_in = self.weight[0].numel()
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        scale = torch.rsqrt((variance * fan_in).clamp(min=self.eps)) * (self.gain * self.gamma)
        return (self.weight - mean) * scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H', W']."""
        return self._conv_forward(features, self.standardised_weight(), self.bias)  # type: ignore[no-any-return]


def drop_path(rate: float) -> nn.Module:
    """Return a layer for stochastic depth (Huang et al. 2016).

    In training it drops a residual branch [N, ...] of an image with probability `rate` and scales the others up.
    """
    if rate == 0:
        # timm, which takes seconds to import, is not needed
        return nn.Identity()
    from timm.layers import DropPath  # type: ignore[attr-defined]

    return DropPath(rate)


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Return the rate of each block: from 0 at the first to `last` at the last, in equal steps."""
    return [last * index / max(1, blocks - 1) for index in range(blocks)]


def initialise(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (k² · outputs)) and set its bias, if any, to zero (He et al. 2015 §2.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
