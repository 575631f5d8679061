"""Small residual networks for images of 16 to 64 pixels (He et al. 2016 §4.2: depth 6n + 2, widths 16, 32, 64).

One body serves both kinds. With a normaliser: convolution, norm, ReLU, sum, ReLU. Normaliser-free (Brock et al.
2021a): h + α·f(ReLU(h)/β) with scaled weight standardisation. Both have the same number of parameters, as gain and
bias of a standardised convolution take the place of a batch norm's scale and shift.
"""

from __future__ import annotations

import torch
from torch import nn

from nofrost.models.drop_path import drop_path, drop_path_rates
from nofrost.models.weight_standardisation import ScaledStdConv2d

WIDTHS = (16, 32, 64)
# Scale of a residual branch in the normaliser-free network. Brock et al. 2021a use 0.2, for dozens of blocks; in these
# networks of three to nine, 0.2 leaves the branches almost no say and training is slow (92 against 99 % on digits).
ALPHA = 1.0


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, projected (1x1) where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.drop_path = drop_path(rate)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(features)))))
        return torch.relu(self.shortcut(features) + self.drop_path(branch))


class NFBlock(nn.Module):
    """The normaliser-free counterpart: h + α·f(ReLU(h)/β); a projected shortcut is taken of ReLU(h)/β.

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


class SmallResNet(nn.Module):
    """Residual network of depth 6n + 2 with `blocks` = n blocks in each of three stages; `alpha` is that of NFBlock."""

    def __init__(
        self,
        blocks: int,
        channels: int,
        num_classes: int,
        *,
        free: bool,
        dropout: float,
        drop_path: float,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__()
        self.free = free
        stem = WIDTHS[0]
        self.conv1: nn.Module = (
            ScaledStdConv2d(channels, stem, 3, 1, 1, gamma=1.0)
            if free
            else nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        )
        self.bn1: nn.Module = nn.Identity() if free else nn.BatchNorm2d(stem)
        rates = drop_path_rates(drop_path, 3 * blocks)
        self.stages = nn.Sequential(*self._blocks(blocks, rates, alpha))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def _blocks(self, blocks: int, rates: list[float], alpha: float) -> list[nn.Module]:
        layers: list[nn.Module] = []
        inputs, variance = WIDTHS[0], 1.0
        for stage, outputs in enumerate(WIDTHS):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                rate = rates[len(layers)]
                if self.free:
                    block = NFBlock(inputs, outputs, stride, rate, beta=variance**0.5, alpha=alpha)
                    variance = block.expected_variance
                    layers.append(block)
                else:
                    layers.append(BasicBlock(inputs, outputs, stride, rate))
                inputs = outputs
        return layers

    def get_classifier(self) -> nn.Linear:
        """Return the last layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to logits [N, num_classes]."""
        features = self.bn1(self.conv1(images))
        features = self.stages(features if self.free else torch.relu(features))
        pooled = (torch.relu(features) if self.free else features).mean((2, 3))
        return self.fc(self.dropout(pooled))  # type: ignore[no-any-return]
