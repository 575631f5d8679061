"""Fixup: residual networks that train without normalisers by their initialisation (Zhang et al. 2019; galloway2019)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class Shift(nn.Module):
    """Add one learnt number, initially 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shift features of any shape."""
        return features + self.bias


class FixupConv2d(nn.Conv2d):
    """Convolution of (features + shift), times `scale` at the end of a residual branch; both are one number each."""

    def __init__(self, like: nn.Conv2d, *, scaled: bool) -> None:
        super().__init__(
            like.in_channels,
            like.out_channels,
            like.kernel_size,  # type: ignore[arg-type]
            like.stride,  # type: ignore[arg-type]
            like.padding,  # type: ignore[arg-type]
            bias=False,
        )
        self.weight = like.weight
        self.shift = nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1)) if scaled else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H', W']."""
        mapped: torch.Tensor = super().forward(features + self.shift)
        return mapped if self.scale is None else mapped * self.scale


class FixupLinear(nn.Linear):
    """Linear layer of (features + shift) whose output is initially zero."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__(like.in_features, like.out_features)
        self.shift = nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, in] to [N, out]."""
        return F.linear(features + self.shift, self.weight, self.bias)


def fix_up(network: nn.Module, blocks: Sequence[nn.Module]) -> nn.Module:
    """Turn a residual network with batch norm into its Fixup form, in place, and return it (Zhang et al. 2019 §3).

    In each of the L `blocks` the last convolution of the branch becomes zero and the others, m in all with the last,
    are scaled by L^(-1/(2m-2)), which is L^(-1/2) for two. A learnt number is added before each convolution of a
    block, each activation and the last layer, and one multiplies each branch. The last layer becomes zero. Shortcuts
    that are convolutions keep their initial weights.
    """
    for block in blocks:
        names = [name for name, child in block.named_children() if isinstance(child, nn.Conv2d) and name != "shortcut"]
        share = len(blocks) ** (-1 / (2 * len(names) - 2))
        for name in names:
            last = name == names[-1]
            convolution = FixupConv2d(getattr(block, name), scaled=last)
            convolution.weight.data.mul_(0 if last else share)
            setattr(block, name, convolution)
        _fix_shortcut(block)
    _exchange(network, nn.BatchNorm2d, Shift)
    head = network.get_classifier()  # type: ignore[operator]
    name = next(name for name, child in network.named_children() if child is head)
    setattr(network, name, FixupLinear(head))
    return network


def _fix_shortcut(block: nn.Module) -> None:
    shortcut = block.get_submodule("shortcut")
    if isinstance(shortcut, nn.Conv2d):
        block.shortcut = FixupConv2d(shortcut, scaled=False)
    elif isinstance(shortcut, nn.Sequential):  # a convolution and its batch norm
        block.shortcut = FixupConv2d(shortcut.get_submodule("0"), scaled=False)  # type: ignore[arg-type]


def _exchange(network: nn.Module, layer_type: type[nn.Module], replacement: type[nn.Module]) -> None:
    for name, child in network.named_children():
        if isinstance(child, layer_type):
            setattr(network, name, replacement())
        else:
            _exchange(child, layer_type, replacement)
