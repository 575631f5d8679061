"""Residual blocks, which may change the number of channels and halve the size of the features.

Each takes `inputs` and `outputs` channels, the `stride` of its first convolution that is not 1x1, and the `rate` at
which its branch is dropped in training.
"""

import torch
from torch import nn

from nofrost.models.layers import ScaledStdConv2d, drop_path

EXPANSION = 4  # output channels of a bottleneck block for each channel of its middle convolution


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a shortcut: a 1x1 convolution with batch norm where the shape changes, otherwise the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, projected (1x1) where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.drop_path = drop_path(rate)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(features)))))
        return torch.relu(self.shortcut(features) + self.drop_path(branch))


class Bottleneck(nn.Module):
    """1x1, k x k and 1x1 convolutions with batch norm and a shortcut, projected (1x1) where the shape changes.

    Args:
        kernel, padding: of the middle convolution. Where it removes border pixels, the shortcut is cropped to match.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, rate: float, *, kernel: int = 3, padding: int = 1
    ) -> None:
        super().__init__()
        width = outputs // EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel, stride, padding, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.drop_path = drop_path(rate)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H', W'] with H' = (H + 2 padding - kernel) // stride + 1, and so W'."""
        branch = torch.relu(self.bn1(self.conv1(features)))
        branch = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(branch)))))
        height, width = branch.shape[2:]
        return torch.relu(self.shortcut(features)[:, :, :height, :width] + self.drop_path(branch))


class PreactivationBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution, and a shortcut, projected (1x1) where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.drop_path = drop_path(rate)
        self.projects = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if self.projects else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        activated = torch.relu(self.bn1(features))
        shortcut = self.shortcut(activated if self.projects else features)
        branch = self.conv2(torch.relu(self.bn2(self.conv1(activated))))
        return shortcut + self.drop_path(branch)  # type: ignore[no-any-return]


class NFBlock(nn.Module):
    """The normaliser-free counterpart of `BasicBlock`: h + α·f(ReLU(h)/β); a projected shortcut is taken of ReLU(h)/β.

    Args:
        beta: standard deviation that the input is expected to have.
        alpha: scale of the residual branch.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float, *, beta: float, alpha: float) -> None:
        super().__init__()
        self.conv1 = ScaledStdConv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = ScaledStdConv2d(outputs, outputs, 3, 1, 1)
        self.drop_path = drop_path(rate)
        self.beta, self.alpha = beta, alpha
        self.projects = stride != 1 or inputs != outputs
        self.shortcut = ScaledStdConv2d(inputs, outputs, 1, stride) if self.projects else nn.Identity()

    @property
    def expected_variance(self) -> float:
        """The variance of the output at initialisation: α² more than the input's, or than 1 where it projects."""
        return (1.0 if self.projects else self.beta**2) + self.alpha**2

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        activated = torch.relu(features) / self.beta
        shortcut = self.shortcut(activated if self.projects else features)
        branch = self.conv2(torch.relu(self.conv1(activated)))
        result: torch.Tensor = shortcut + self.alpha * self.drop_path(branch)
        return result
