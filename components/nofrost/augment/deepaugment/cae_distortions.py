"""Distortions of the compressive auto-encoder's weights and code, those of DeepAugment (Hendrycks et al. 2021 §4 and
their code).

A distortion of weights replaces tensors in a mapping by name and never changes the tensors themselves.
docs/deepaugment.md compares them one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.augment.deepaugment.cae import Cae
from nofrost.augment.deepaugment.image_draws import ImageDraws

Weights = dict[str, Tensor]
Change = Callable[[Tensor, ImageDraws], Tensor]
# Layers of the network by their place in `Cae.layers` from which one is drawn: from the code's own to the decoder's
# third block, except for two distortions
LAYERS = range(8, 14)
LATE_LAYERS, BLOCK_LAYERS = range(10, 14), range(11, 16)
NEGATED, SILENCED = 12, 25  # filters, drawn with replacement
PERMUTED, MIRRORED = 10, 5  # channels of the code


class CaeLayers:
    """The weights and biases of the convolutions of a network.

    Attributes:
        changed: the tensors that distortions have replaced, by their names in the network.
    """

    def __init__(self, network: Cae) -> None:
        self._weights = dict(network.named_parameters())
        self._names = network.layers
        self.changed: Weights = {}

    def draw(self, draws: ImageDraws, among: range = LAYERS) -> str:
        """Return the name of one of the layers `among`."""
        return self._names[draws.choice(among)]

    def __getitem__(self, name: str) -> Tensor:
        return self.changed.get(name, self._weights[name])

    def change_filters(self, layer: str, rows: list[int], change: Callable[[Tensor], Tensor]) -> None:
        """Change some of the filters of a layer, with their biases."""
        for name in (f"{layer}.weight", f"{layer}.bias"):
            values = self[name].clone()
            # A layer that expands has another number of biases than rows of weights.
            present = sorted({row for row in rows if row < len(values)})
            values[present] = change(values[present])
            self.changed[name] = values


def reverse_filters(layers: CaeLayers, draws: ImageDraws) -> None:
    """Reverse the order of the filters of two layers."""
    for layer in (layers.draw(draws, BLOCK_LAYERS), layers.draw(draws, BLOCK_LAYERS)):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            layers.changed[name] = layers[name].flip(0)


def negate_filters(layers: CaeLayers, draws: ImageDraws) -> None:
    """Change the sign of up to 12 filters of a layer."""
    layer = layers.draw(draws)
    layers.change_filters(layer, _some(layers, layer, NEGATED, draws), torch.neg)


def silence_filters(layers: CaeLayers, draws: ImageDraws) -> None:
    """Set up to 25 filters of a layer to zero."""
    layer = layers.draw(draws)
    layers.change_filters(layer, _some(layers, layer, SILENCED, draws), torch.zeros_like)


def gelu_of_filters(layers: CaeLayers, draws: ImageDraws) -> None:
    """Replace up to 25 filters of a layer by their negated GELU."""
    layer = layers.draw(draws, LATE_LAYERS)
    layers.change_filters(layer, _some(layers, layer, SILENCED, draws), lambda values: -F.gelu(values))


def scale(layers: CaeLayers, draws: ImageDraws) -> None:
    """Multiply each weight of two layers by a factor of its own, from 1 to up to 9."""
    for name in (f"{layers.draw(draws)}.weight", f"{layers.draw(draws)}.weight"):
        weight, most = layers[name], draws.share()
        layers.changed[name] = weight * (1 + 8 * most * draws.uniform(weight.shape, weight))


def mask(layers: CaeLayers, draws: ImageDraws) -> None:
    """Set half of the weights of a layer to zero, or change their signs."""
    name = f"{layers.draw(draws)}.weight"
    drawn = draws.kept if draws.chance(0.5) else draws.signs
    layers.changed[name] = layers[name] * drawn(layers[name].shape, layers[name])


def turn(layers: CaeLayers, draws: ImageDraws) -> None:
    """Turn the kernels of a layer by quarters."""
    name = f"{layers.draw(draws)}.weight"
    layers.changed[name] = layers[name].rot90(draws.integer(1, 4), (2, 3))


def negate_a_fifth(layers: CaeLayers, draws: ImageDraws) -> None:
    """Change the sign of up to a fifth of the filters of a layer, not of their biases."""
    name = f"{layers.draw(draws)}.weight"
    weight = layers[name].clone()
    rows = sorted({draws.integer(0, len(weight)) for _ in range(len(weight) // 5)})
    weight[rows] = -weight[rows]
    layers.changed[name] = weight


WEIGHT_DISTORTIONS: tuple[Callable[[CaeLayers, ImageDraws], None], ...] = (
    reverse_filters,
    negate_filters,
    silence_filters,
    gelu_of_filters,
    scale,
    mask,
    turn,
    negate_a_fifth,
)


def drop_places(code: Tensor, draws: ImageDraws) -> Tensor:
    """Set 20 % of the places of the code [N, C, H, W] to zero, in all channels."""
    return code * draws.kept(code.shape[2:], code, 0.2)


def negate_places(code: Tensor, draws: ImageDraws) -> Tensor:
    """Change the signs of 10 % of the places of the code, in all channels."""
    return code * draws.signs(code.shape[2:], code, 0.1)


def permute_channels(code: Tensor, draws: ImageDraws) -> Tensor:
    """Permute the first ten channels."""
    count = min(PERMUTED, code.shape[1])
    return code[:, [*draws.order(count), *range(count, code.shape[1])]]


def mirror_channels(code: Tensor, draws: ImageDraws) -> Tensor:
    """Mirror up to five channels."""
    axes, mirrored = _axes(draws), code.clone()
    for _ in range(MIRRORED):
        channel = draws.integer(0, code.shape[1])
        mirrored[:, channel] = mirrored[:, channel].flip(axes)
    return mirrored


def mirror_code(code: Tensor, draws: ImageDraws) -> Tensor:
    """Mirror all channels, and so the image."""
    return code.flip(_axes(draws))


def convolve_with_noise(code: Tensor, draws: ImageDraws) -> Tensor:
    """Convolve the code with the identity and noise of up to 0.1."""
    kernels = _identity(code)
    return F.conv2d(code, kernels + 0.2 * (draws.uniform(kernels.shape, kernels) - 0.5), padding=1)


def add_neighbours(code: Tensor, draws: ImageDraws) -> Tensor:
    """Add to half of the channels another one, moved by up to one place."""
    kernels = _identity(code)
    for channel in range(len(kernels)):
        if draws.chance(0.5):
            kernels[channel, draws.integer(0, len(kernels)), draws.integer(0, 3), draws.integer(0, 3)] = 1
    return F.conv2d(code, kernels, padding=1)


def shift_channels(code: Tensor, draws: ImageDraws) -> Tensor:
    """Move the channels by up to one place; every fifth or so begins another direction."""
    kernels = torch.zeros_like(_identity(code))
    row, column = draws.integer(0, 3), draws.integer(0, 3)
    for channel in range(len(kernels)):
        if draws.chance(0.2):
            row, column = draws.integer(0, 3), draws.integer(0, 3)
        kernels[channel, channel, row, column] = 1
    return F.conv2d(code, kernels, padding=1)


def strengthen_bits(bits: Tensor, draws: ImageDraws) -> Tensor:
    """Multiply each bit of the binary code by a factor of its own, from 3 to up to 7."""
    most = draws.share()
    return bits * (3 + 4 * most * draws.uniform(bits.shape, bits))


CODE_DISTORTIONS: tuple[Change, ...] = (
    drop_places,
    negate_places,
    permute_channels,
    mirror_channels,
    mirror_code,
    convolve_with_noise,
    add_neighbours,
    shift_channels,
)


def distorted_weights(network: Cae, draws: ImageDraws) -> Weights:
    """Return the weights that one drawn distortion changes, by their names."""
    layers = CaeLayers(network)
    draws.choice(WEIGHT_DISTORTIONS)(layers, draws)
    return layers.changed


def distorted_code(network: Cae, draws: ImageDraws, height: int, width: int) -> dict[str, Any]:
    """Return arguments of the network's forward pass that distort the code of an image in one of nine ways.

    The code is rounded at random, as it is while the network is trained.
    """
    weight = network.code.weight
    arguments: dict[str, Any] = {"thresholds": draws.uniform((1, *network.code_shape(height, width)), weight)}
    number = draws.integer(0, len(CODE_DISTORTIONS) + 1)
    if number == len(CODE_DISTORTIONS):
        return arguments | {"bits": lambda bits: strengthen_bits(bits, draws)}
    return arguments | {"code": lambda code: CODE_DISTORTIONS[number](code, draws)}


def _some(layers: CaeLayers, layer: str, count: int, draws: ImageDraws) -> list[int]:
    filters = len(layers[f"{layer}.weight"])
    return [draws.integer(0, filters) for _ in range(count)]


def _axes(draws: ImageDraws) -> tuple[int, ...]:
    return draws.choice(((-2,), (-1,), (-2, -1)))


def _identity(code: Tensor) -> Tensor:
    kernels = torch.zeros(code.shape[1], code.shape[1], 3, 3)
    kernels[:, :, 1, 1] = torch.eye(code.shape[1])
    return kernels.to(code)
