"""Activations by name, each with the gain that keeps the variance of what it is applied to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.config.model import Activation as ActivationName

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """An activation f: its `function`, and its `gain`, 1 / standard deviation of f(z) for z ~ N(0, 1).

    After a convolution with centred filters of variance gain² / fan-in, what had variance 1 before f has it again
    (Brock et al. 2021a §3; only those of positive homogeneity, such as ReLU, allow to divide by a deviation after f).
    """

    function: Function
    gain: float


ACTIVATIONS: dict[ActivationName, Activation] = {
    "relu": Activation(torch.relu, 1.7139588594436646),
    "silu": Activation(F.silu, 1.7881293296813965),
    "gelu": Activation(F.gelu, 1.7015043497085571),
    "softplus": Activation(F.softplus, 1.9203323125839233),
}
RELU = ACTIVATIONS["relu"]


def activation_of(name: ActivationName | None) -> Activation:
    """Return the activation of this name; ReLU, which our own residual networks have, for None."""
    return ACTIVATIONS[name or "relu"]
