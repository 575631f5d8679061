"""Scaled weight standardisation (Brock et al. 2021a; wang2022 §2.3)."""

from __future__ import annotations

import torch
from torch import nn

RELU_GAIN = 1.7139588594436646  # 1 / standard deviation of ReLU(z), z ~ N(0, 1): keeps the variance of activations


class ScaledStdConv2d(nn.Conv2d):
    """Convolution whose filters are standardised at each forward pass: gain · γ · (W - μ) / (σ · √fan-in).

    wang2022 §2.3 calls N "the batch size"; it is the fan-in of a filter, as in Brock et al.'s code. Every filter then has
    mean 0 and variance γ²/fan-in; `gain` (one per output channel) and `bias` are learnt.

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
