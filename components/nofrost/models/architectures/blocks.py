"""Residual blocks, which may change the number of channels and halve the size of the features.

Each takes `inputs` and `outputs` channels, the `stride` of its first convolution that is not 1x1, the `rate` at which
its branch is dropped in training, and its `activation`.
"""

from collections.abc import Sequence

import torch
from torch import nn

from nofrost.models.activations import RELU, Activation, Function
from nofrost.models.layers import ScaledStdConv2d, drop_path

EXPANSION = 4  # output channels of a bottleneck block for each channel of its middle convolution


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a shortcut: a 1x1 convolution with batch norm where the shape changes, otherwise the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, projected (1x1) where the shape changes."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, rate: float, activation: Function = RELU.function
    ) -> None:
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.drop_path = drop_path(rate)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        branch = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(features)))))
        return self.activation(self.shortcut(features) + self.drop_path(branch))


class Bottleneck(nn.Module):
    """1x1, k x k and 1x1 convolutions with batch norm and a shortcut, projected (1x1) where the shape changes.

    Args:
        kernel, padding: of the middle convolution. Where it removes border pixels, the shortcut is cropped to match.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        rate: float,
        activation: Function = RELU.function,
        *,
        kernel: int = 3,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.activation = activation
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
        branch = self.activation(self.bn1(self.conv1(features)))
        branch = self.bn3(self.conv3(self.activation(self.bn2(self.conv2(branch)))))
        height, width = branch.shape[2:]
        return self.activation(self.shortcut(features)[:, :, :height, :width] + self.drop_path(branch))


class PreactivationBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution, and a shortcut, projected (1x1) where the shape changes."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, rate: float, activation: Function = RELU.function
    ) -> None:
        super().__init__()
        self.activation = activation
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.drop_path = drop_path(rate)
        self.projects = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if self.projects else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        activated = self.activation(self.bn1(features))
        shortcut = self.shortcut(activated if self.projects else features)
        branch = self.conv2(self.activation(self.bn2(self.conv1(activated))))
        return shortcut + self.drop_path(branch)  # type: ignore[no-any-return]


class NFBlock(nn.Module):
    """The normaliser-free counterpart of `BasicBlock`: h + α·f(a(h/β)); a projected shortcut is taken of a(h/β).

    The activation a comes after the division by β: where it is not homogeneous, only so does its gain fit.

    Args:
        beta: standard deviation that the input is expected to have.
        alpha: scale of the residual branch.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        rate: float,
        activation: Activation = RELU,
        *,
        beta: float,
        alpha: float,
    ) -> None:
        super().__init__()
        self.activation, self.beta, self.alpha = activation.function, beta, alpha
        self.projects = stride != 1 or inputs != outputs
        gamma = activation.gain
        self._convolve(inputs, outputs, stride, gamma)
        self.drop_path = drop_path(rate)
        self.shortcut = ScaledStdConv2d(inputs, outputs, 1, stride, gamma=gamma) if self.projects else nn.Identity()

    def _convolve(self, inputs: int, outputs: int, stride: int, gamma: float) -> None:
        self.conv1 = ScaledStdConv2d(inputs, outputs, 3, stride, 1, gamma=gamma)
        self.conv2 = ScaledStdConv2d(outputs, outputs, 3, 1, 1, gamma=gamma)

    @property
    def expected_variance(self) -> float:
        """The variance of the output at initialisation: α² more than the input's, or than 1 where it projects."""
        return (1.0 if self.projects else self.beta**2) + self.alpha**2

    def branch(self, activated: torch.Tensor) -> torch.Tensor:
        """Map activated features [N, inputs, H, W] to those of the branch."""
        return self.conv2(self.activation(self.conv1(activated)))  # type: ignore[no-any-return]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        activated = self.activation(features / self.beta)
        shortcut = self.shortcut(activated if self.projects else features)
        result: torch.Tensor = shortcut + self.alpha * self.drop_path(self.branch(activated))
        return result


class NFBottleneck(NFBlock):
    """The normaliser-free counterpart of `Bottleneck`."""

    def _convolve(self, inputs: int, outputs: int, stride: int, gamma: float) -> None:
        width = outputs // EXPANSION
        self.conv1 = ScaledStdConv2d(inputs, width, 1, gamma=gamma)
        self.conv2 = ScaledStdConv2d(width, width, 3, stride, 1, gamma=gamma)
        self.conv3 = ScaledStdConv2d(width, outputs, 1, gamma=gamma)

    def branch(self, activated: torch.Tensor) -> torch.Tensor:
        """Map activated features [N, inputs, H, W] to those of the branch."""
        return self.conv3(self.activation(self.conv2(self.activation(self.conv1(activated)))))  # type: ignore[no-any-return]


def with_batch_norm(
    kind: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    shapes: Sequence[tuple[int, int]],
    rates: Sequence[float],
    activation: Activation,
) -> list[nn.Module]:
    """Return blocks that follow one another; `shapes` and `rates` are those of :func:`normaliser_free`."""
    blocks: list[nn.Module] = []
    for (outputs, stride), rate in zip(shapes, rates, strict=True):
        blocks.append(kind(inputs, outputs, stride, rate, activation.function))
        inputs = outputs
    return blocks


def normaliser_free(
    kind: type[NFBlock],
    inputs: int,
    shapes: Sequence[tuple[int, int]],
    rates: Sequence[float],
    activation: Activation,
    alpha: float,
) -> list[NFBlock]:
    """Return blocks that follow one another on features of variance 1, each with the β that the ones before it make.

    Args:
        shapes: `outputs` and `stride` of each block.
        rates: at which the branch of each is dropped.
    """
    blocks: list[NFBlock] = []
    variance = 1.0
    for (outputs, stride), rate in zip(shapes, rates, strict=True):
        block = kind(inputs, outputs, stride, rate, activation, beta=variance**0.5, alpha=alpha)
        inputs, variance = outputs, block.expected_variance
        blocks.append(block)
    return blocks
