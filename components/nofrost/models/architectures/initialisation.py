"""First weights of the convolutional networks."""

from __future__ import annotations

from torch import nn


def initialise(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (k² · outputs)) and set its bias, if any, to zero (He et al. 2015 §2.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
