"""Distortions of EDSR's weights and features, those of DeepAugment (Hendrycks et al. 2021 §4 and their code).

A distortion of weights replaces tensors in a mapping by name and never changes the tensors themselves. Blocks are drawn
from those that the authors' code names, as far as the network has them. docs/deepaugment.md compares them one by one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.augment.deepaugment.edsr import Edsr
from nofrost.augment.deepaugment.image_draws import ImageDraws

Weights = dict[str, Tensor]
DISTORTIONS_OF_AN_IMAGE = 3  # of the weights; one may be drawn twice
LAYERS = 5  # that a distortion of several layers changes, drawn with replacement
EVERY_THIRD, OTHER_THIRD, EVERY_FOURTH, FIRST_FIFTEEN = range(0, 10, 3), range(1, 10, 3), range(1, 12, 4), range(15)
CROSS = ((0, 1, 0), (1, -4, 1), (0, 1, 0))  # the Laplacian over four neighbours
SQUARE = ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))  # and over eight


class EdsrLayers:
    """The weights and biases of the blocks of a network's body, by block and place.

    Attributes:
        changed: the tensors that distortions have replaced, by their names in the network.
    """

    def __init__(self, network: Edsr) -> None:
        self._weights = dict(network.named_parameters())
        self.blocks = network.spec.blocks
        self.changed: Weights = {}

    def __getitem__(self, layer: tuple[int, str, str]) -> Tensor:
        name = self._name(*layer)
        return self.changed.get(name, self._weights[name])

    def __setitem__(self, layer: tuple[int, str, str], values: Tensor) -> None:
        self.changed[self._name(*layer)] = values

    def block(self, among: Sequence[int], draws: ImageDraws) -> int:
        """Return one of the blocks `among`, of those that the network has."""
        return draws.choice([number for number in among if number < self.blocks])

    @staticmethod
    def _name(block: int, place: str, kind: str) -> str:
        return f"body.{block}.{place}.{kind}"


def reverse_filters(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Reverse the order of the filters of a block."""
    block = layers.block(EVERY_THIRD, draws)
    for place in ("first", "second"):
        for kind in ("weight", "bias"):
            layers[block, place, kind] = layers[block, place, kind].flip(0)


def negate_layer(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Change the sign of the first convolution of a block."""
    block = layers.block(OTHER_THIRD, draws)
    for kind in ("weight", "bias"):
        layers[block, "first", kind] = -layers[block, "first", kind]


def silence_layer(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Set the first convolution of a block to zero."""
    block = layers.block(EVERY_THIRD, draws)
    for kind in ("weight", "bias"):
        layers[block, "first", kind] = torch.zeros_like(layers[block, "first", kind])


def gelu_of_weights(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Replace the weights of a block by their negated GELU."""
    block = layers.block(EVERY_THIRD, draws)
    for place in ("first", "second"):
        layers[block, place, "weight"] = -F.gelu(layers[block, place, "weight"])


def cross(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Multiply the kernels of a convolution by a Laplacian over four neighbours, place by place."""
    _multiply(layers, draws, CROSS)


def square(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Multiply the kernels of a convolution by a Laplacian over eight neighbours, place by place."""
    _multiply(layers, draws, SQUARE)


def scale(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Multiply each weight of a convolution by a factor of its own, from 1 to up to 5."""
    block = layers.block(EVERY_THIRD, draws)
    weight, most = layers[block, "second", "weight"], draws.share()
    layers[block, "second", "weight"] = weight * (1 + 4 * most * draws.uniform(weight.shape, weight))


def mirror(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Mirror the kernels of the first convolution of a block and negate the second."""
    block = layers.block(EVERY_THIRD, draws)
    layers[block, "first", "weight"] = layers[block, "first", "weight"].flip(-1)
    layers[block, "second", "weight"] = -layers[block, "second", "weight"]


def convolve_with_shifts(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Convolve the weights of a convolution with kernels that move each input channel and may change its sign."""
    block = layers.block(EVERY_FOURTH, draws)
    weight = layers[block, "first", "weight"]
    kernels = torch.zeros_like(weight)
    for channel in range(len(kernels)):
        row, column = draws.integer(0, 3), draws.integer(0, 3)
        kernels[:, channel, row, column] = draws.choice((1.0, -1.0))
    layers[block, "first", "weight"] = F.conv2d(weight, kernels, padding=1)


def convolve_with_noise(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Convolve the weights of a convolution with random kernels between -1/6 and up to 1/6."""
    block = layers.block(EVERY_THIRD, draws)
    weight, most = layers[block, "first", "weight"], draws.share()
    kernels = (2 * most * draws.uniform(weight.shape, weight) - 1) / 6
    layers[block, "first", "weight"] = F.conv2d(weight, kernels, padding=1)


def convolve_with_shares(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Convolve the weights of a convolution with random kernels that sum to 1 (Dirichlet of 0.1)."""
    block = layers.block(EVERY_FOURTH, draws)
    weight = layers[block, "second", "weight"]
    generator = np.random.default_rng(draws.integer(0, 2**62))
    shares = generator.dirichlet([0.1] * 9, tuple(weight.shape[:2])).reshape(weight.shape)
    kernels = torch.from_numpy(shares)
    layers[block, "second", "weight"] = F.conv2d(weight, kernels.to(weight), padding=1)


def add_noise(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Add uniform noise of up to 1/2 to the weights of a convolution."""
    block = layers.block(FIRST_FIFTEEN, draws)
    weight = layers[block, "second", "weight"]
    layers[block, "second", "weight"] = weight + draws.uniform(weight.shape, weight) - 0.5


def turn(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Turn the kernels of five layers, or their filters against their channels, by quarters."""
    for block, place in _any_layers(layers, draws):
        quarters = draws.integer(1, 4)
        dims = (2, 3) if draws.chance(0.5) else (0, 1)
        layers[block, place, "weight"] = layers[block, place, "weight"].rot90(quarters, dims)


def random_signs(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Change the signs of half of the weights of five layers."""
    for block in _first_layers(layers, draws):
        weight = layers[block, "first", "weight"]
        layers[block, "first", "weight"] = weight * draws.signs(weight.shape, weight)


def drop_weights(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Set half of the weights of five layers to zero."""
    for block in _first_layers(layers, draws):
        weight = layers[block, "first", "weight"]
        layers[block, "first", "weight"] = weight * draws.kept(weight.shape, weight)


def negate_filters(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Change the sign of up to half of the filters of five layers."""
    for block in _first_layers(layers, draws):
        weight = layers[block, "first", "weight"]
        signs = torch.ones(len(weight), 1, 1, 1)
        signs[[draws.integer(0, len(weight)) for _ in range(len(weight) // 2)]] = -1
        layers[block, "first", "weight"] = weight * signs.to(weight)


def keep_largest(layers: EdsrLayers, draws: ImageDraws) -> None:
    """Keep only the largest weight of each kernel of five layers."""
    for block, place in _any_layers(layers, draws):
        weight = layers[block, place, "weight"]
        largest = weight == weight.amax(dim=(2, 3), keepdim=True)
        layers[block, place, "weight"] = weight * largest


WEIGHT_DISTORTIONS: tuple[Callable[[EdsrLayers, ImageDraws], None], ...] = (
    reverse_filters,
    negate_layer,
    silence_layer,
    gelu_of_weights,
    cross,
    square,
    scale,
    mirror,
    convolve_with_shifts,
    convolve_with_noise,
    convolve_with_shares,
    add_noise,
    turn,
    random_signs,
    drop_weights,
    negate_filters,
    keep_largest,
)


def exchange_channels(features: Tensor, draws: ImageDraws) -> Tensor:
    """Exchange five pairs of channels [N, C, H, W]."""
    order = list(range(features.shape[1]))
    for _ in range(5):
        one, other = draws.integer(0, len(order)), draws.integer(0, len(order))
        order[one], order[other] = order[other], order[one]
    return features[:, order]


def drop_features(features: Tensor, draws: ImageDraws) -> Tensor:
    """Set 5 % of the features to zero."""
    return features * draws.kept(features.shape, features, 0.05)


def negate_features(features: Tensor, draws: ImageDraws) -> Tensor:
    """Change the signs of 2.5 % of the features."""
    return features * draws.signs(features.shape, features, 0.025)


def negate_all(features: Tensor, draws: ImageDraws) -> Tensor:
    """Change the signs of all features."""
    return -features


def activate(features: Tensor, draws: ImageDraws) -> Tensor:
    """Apply GELU to the features, or with probability 1/3 ReLU."""
    return F.relu(features) if draws.integer(0, 3) == 1 else F.gelu(features)


def mirror_features(features: Tensor, draws: ImageDraws) -> Tensor:
    """Reverse the order of the channels, and mirror them left to right or, with probability 1/3, upside down."""
    return features.flip(1, 2) if draws.integer(0, 3) == 1 else features.flip(1, 3)


HEAD_DISTORTIONS = (exchange_channels, drop_features, negate_features)
BODY_DISTORTIONS = (negate_all, activate, mirror_features)


def distorted_weights(network: Edsr, draws: ImageDraws) -> Weights:
    """Return the weights that three drawn distortions change, by their names."""
    layers = EdsrLayers(network)
    for _ in range(DISTORTIONS_OF_AN_IMAGE):
        draws.choice(WEIGHT_DISTORTIONS)(layers, draws)
    return layers.changed


def distorted_features(network: Edsr, draws: ImageDraws) -> dict[str, Any]:
    """Return arguments of the network's forward pass that distort its features.

    Those that enter the body are distorted in one of three ways, or left; those inside of it in one of three ways, or
    three of its blocks are left out, or nothing of that.
    """
    arguments: dict[str, Any] = {}
    head = draws.integer(0, len(HEAD_DISTORTIONS) + 1)
    if head < len(HEAD_DISTORTIONS):
        arguments["head"] = lambda features: HEAD_DISTORTIONS[head](features, draws)
    body = draws.integer(0, len(BODY_DISTORTIONS) + 2)
    if body < len(BODY_DISTORTIONS):
        arguments["middle"] = lambda features: BODY_DISTORTIONS[body](features, draws)
    elif body == len(BODY_DISTORTIONS):
        arguments["skipped"] = {draws.integer(2, network.spec.blocks + 1) for _ in range(3)}
    return arguments


def _multiply(layers: EdsrLayers, draws: ImageDraws, mask: Sequence[Sequence[float]]) -> None:
    block = layers.block(EVERY_THIRD, draws)
    weight = layers[block, "first", "weight"]
    layers[block, "first", "weight"] = weight * weight.new_tensor(mask)


def _first_layers(layers: EdsrLayers, draws: ImageDraws) -> list[int]:
    return [layers.block(FIRST_FIFTEEN, draws) for _ in range(LAYERS)]


def _any_layers(layers: EdsrLayers, draws: ImageDraws) -> list[tuple[int, str]]:
    return [(layers.block(FIRST_FIFTEEN, draws), draws.choice(("first", "second"))) for _ in range(LAYERS)]
