"""One forward pass in which every image has distorted weights and activations of its own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.augment.deepaugment.chance import Chance
from nofrost.augment.deepaugment.distortions import ACTIVATION_DISTORTIONS, WEIGHT_DISTORTIONS, Distortion

KINDS_OF_WEIGHT_DISTORTION = 3  # an image gets so many of the list, as in the authors' code
KINDS_OF_ACTIVATION_DISTORTION = 1
LAYER_PROBABILITY = 0.5


class DistortedConvolution:
    """Applies layers to a batch as if each image had a network to itself.

    Every image gets a few kinds of distortion for the whole pass; in each layer they strike with probability 1/2. The
    layers themselves stay as they are.

    Args:
        strength: [N] in [0, 1], on the CPU; 0 distorts nothing.
        chance: where all randomness comes from.
    """

    def __init__(self, strength: Tensor, chance: Chance) -> None:
        self.strength = strength
        self.chance = chance
        n = len(strength)
        self.weight_kinds = chance.some(n, KINDS_OF_WEIGHT_DISTORTION, len(WEIGHT_DISTORTIONS))
        self.activation_kinds = chance.some(n, KINDS_OF_ACTIVATION_DISTORTION, len(ACTIVATION_DISTORTIONS))

    def __call__(self, layer: nn.Conv2d, inputs: Tensor) -> Tensor:
        """Return [N, O, h, w] for inputs [N, I, H, W]: a convolution of N groups, one for each image."""
        n, _, height, width = inputs.shape
        own = layer.weight.repeat(n, 1, 1, 1, 1)
        weights = self._distort(own, WEIGHT_DISTORTIONS, self.weight_kinds).flatten(0, 1)
        together = inputs.reshape(1, -1, height, width)
        outputs = F.conv2d(together, weights, stride=layer.stride, padding=layer.padding, groups=n)
        outputs = outputs.view(n, -1, *outputs.shape[2:])
        if layer.bias is not None:
            outputs += layer.bias[:, None, None]
        return self._distort(outputs, ACTIVATION_DISTORTIONS, self.activation_kinds)

    def _distort(self, values: Tensor, distortions: tuple[Distortion, ...], kinds: Tensor) -> Tensor:
        """Change `values` in place, distortion by distortion, for the images that have it in this layer."""
        struck = kinds & self.chance.struck(len(kinds), LAYER_PROBABILITY)[:, None]
        for distortion, chosen in zip(distortions, struck.unbind(dim=1), strict=True):
            rows = chosen.nonzero()[:, 0]
            if len(rows):
                there = rows.to(values.device)
                strength = self.strength[rows].to(values.device)
                values[there] = distortion(values[there], strength, self.chance)
        return values
