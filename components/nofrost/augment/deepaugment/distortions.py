"""Random distortions of a network's weights and activations, and a convolution that applies them.

A distortion takes values [N, F, ...], for each of N images F filters (weights) or F channels (activations), and a
strength in (0, 1] for each image. It returns values of the same shape and never mixes images.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Number of distortions in the list that an image gets, as in the authors' code
KINDS_OF_WEIGHT_DISTORTION = 3
KINDS_OF_ACTIVATION_DISTORTION = 1
LAYER_PROBABILITY = 0.5


class BatchDraws:
    """Random numbers of a batch, drawn on the CPU so that devices agree.

    Values are moved to `device`; choices of images stay on the CPU.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def uniform(self, *shape: int) -> Tensor:
        """Return values from [0, 1)."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Return values from the standard normal distribution."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def order(self, rows: int, length: int) -> Tensor:
        """Return a random order of 0 .. length-1 for each row: int64 [rows, length]."""
        return torch.rand(rows, length, generator=self.generator).argsort(dim=1).to(self.device)

    def strengths(self, n: int, low: float, high: float) -> Tensor:
        """Return values from [low, high) for n images, on the CPU."""
        return low + (high - low) * torch.rand(n, generator=self.generator)

    def mask(self, n: int, probability: float) -> Tensor:
        """Return a bool [n], True with `probability`, on the CPU."""
        return torch.rand(n, generator=self.generator) < probability

    def some(self, n: int, length: int, among: int) -> Tensor:
        """Return a bool [n, among] with exactly `length` True in each row, on the CPU."""
        return torch.rand(n, among, generator=self.generator).argsort(dim=1).argsort(dim=1) < length


Distortion = Callable[[Tensor, Tensor, BatchDraws], Tensor]


def negate(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Change the sign of up to 15 % of the filters."""
    return torch.where(_share(values, 0.15 * strength, draws), -values, values)


def drop(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Set up to 30 % of the filters to zero."""
    return torch.where(_share(values, 0.3 * strength, draws), 0.0, values)


def scale(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Multiply every filter by a factor of its own, log-normal with a deviation of up to 0.5."""
    factors = (0.5 * strength[:, None] * draws.normal(*values.shape[:2])).exp()
    return values * _like(factors, values)


def add_noise(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Add Gaussian noise of up to 40 % of each filter's own standard deviation."""
    deviation = values.flatten(2).std(dim=2, correction=0)
    return values + _like(0.4 * strength[:, None] * deviation, values) * draws.normal(*values.shape)


def exchange(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Replace up to 30 % of the filters by another filter of the same layer."""
    return torch.where(_share(values, 0.3 * strength, draws), _shuffled(values, draws), values)


def blend(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Mix every filter with another of the same layer, up to half and half."""
    amount = _like(0.5 * strength[:, None] * draws.uniform(*values.shape[:2]), values)
    return torch.lerp(values, _shuffled(values, draws), amount)


def mirror(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Mirror the kernels of up to half of the filters."""
    return torch.where(_share(values, 0.5 * strength, draws), values.flip(-1), values)


def turn(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Turn the kernels of up to half of the filters by a quarter."""
    return torch.where(_share(values, 0.5 * strength, draws), values.rot90(dims=(-2, -1)), values)


def shift(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Move up to 30 % of the filters by one pixel."""
    moved = torch.where(_share(values, torch.full_like(strength, 0.5), draws), values.roll(1, -1), values.roll(-1, -2))
    return torch.where(_share(values, 0.3 * strength, draws), moved, values)


def soften(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Pull every kernel towards its mean, or push it away from it, by up to 60 %."""
    mean = values.mean(dim=(-2, -1), keepdim=True).expand_as(values)
    amount = 0.6 * strength[:, None] * (2 * draws.uniform(*values.shape[:2]) - 1)
    return torch.lerp(values, mean, _like(amount, values))


def flatten_sizes(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Pull all weights of every filter towards one size, keeping signs, by up to 60 %."""
    size = values.abs().flatten(2).mean(dim=2)
    amount = 0.6 * strength[:, None] * draws.uniform(*values.shape[:2])
    return torch.lerp(values, values.sign() * _like(size, values), _like(amount, values))


def prune(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Set weights to zero that are smaller than a share, of up to 60 %, of their filter's mean size."""
    size = values.abs().flatten(2).mean(dim=2)
    bound = 0.6 * strength[:, None] * draws.uniform(*values.shape[:2]) * size
    return torch.where(values.abs() < _like(bound, values), 0.0, values)


def blur(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Average up to half of the channels over 3 x 3 pixels."""
    average = F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
    return torch.where(_share(values, 0.5 * strength, draws), average, values)


def saturate(values: Tensor, strength: Tensor, draws: BatchDraws) -> Tensor:
    """Compress the large values of every channel, by up to 60 %."""
    deviation = _like(values.flatten(2).std(dim=2, correction=0) + 1e-6, values)
    amount = _like(0.6 * strength[:, None] * draws.uniform(*values.shape[:2]), values)
    return torch.lerp(values, deviation * torch.tanh(values / deviation), amount)


WEIGHT_DISTORTIONS: tuple[Distortion, ...] = (
    negate,
    drop,
    scale,
    add_noise,
    exchange,
    blend,
    mirror,
    turn,
    shift,
    soften,
    flatten_sizes,
    prune,
)
ACTIVATION_DISTORTIONS: tuple[Distortion, ...] = (
    negate,
    drop,
    scale,
    add_noise,
    exchange,
    blend,
    shift,
    blur,
    saturate,
)


def _share(values: Tensor, share: Tensor, draws: BatchDraws) -> Tensor:
    """Return a bool mask that picks each filter with probability `share` [N], shaped to go with `values`."""
    return _like(draws.uniform(*values.shape[:2]) < share[:, None], values)


def _shuffled(values: Tensor, draws: BatchDraws) -> Tensor:
    order = draws.order(*values.shape[:2])
    return values.gather(1, _like(order, values).expand_as(values))


def _like(factors: Tensor, values: Tensor) -> Tensor:
    """Return [N, F] shaped to go with values [N, F, ...]."""
    return factors.reshape(*factors.shape, *[1] * (values.dim() - 2))


class DistortedConvolution:
    """Applies layers to a batch as if each image had its own copy of the network, distorted at random.

    Every image gets a few kinds of distortion for all layers; in each layer they apply with probability 1/2. The layers
    themselves do not change.

    Args:
        strength: [N] in [0, 1], on the CPU; 0 distorts nothing.
        draws: the source of all random numbers.
    """

    def __init__(self, strength: Tensor, draws: BatchDraws) -> None:
        self.strength = strength
        self.draws = draws
        n = len(strength)
        self.weight_kinds = draws.some(n, KINDS_OF_WEIGHT_DISTORTION, len(WEIGHT_DISTORTIONS))
        self.activation_kinds = draws.some(n, KINDS_OF_ACTIVATION_DISTORTION, len(ACTIVATION_DISTORTIONS))

    def __call__(self, layer: nn.Conv2d, inputs: Tensor) -> Tensor:
        """Return [N, O, h, w] for inputs [N, I, H, W]: a convolution of N groups, one for each image."""
        n, _, height, width = inputs.shape
        weights = layer.weight.repeat(n, 1, 1, 1, 1)
        weights = self._distort(weights, WEIGHT_DISTORTIONS, self.weight_kinds).flatten(0, 1)
        grouped = inputs.reshape(1, -1, height, width)
        outputs = F.conv2d(grouped, weights, stride=layer.stride, padding=layer.padding, groups=n)
        outputs = outputs.view(n, -1, *outputs.shape[2:])
        if layer.bias is not None:
            outputs += layer.bias[:, None, None]
        return self._distort(outputs, ACTIVATION_DISTORTIONS, self.activation_kinds)

    def _distort(self, values: Tensor, distortions: tuple[Distortion, ...], kinds: Tensor) -> Tensor:
        """Change `values` in place, distortion by distortion, for the images that have it in this layer."""
        active = kinds & self.draws.mask(len(kinds), LAYER_PROBABILITY)[:, None]
        for distortion, mask in zip(distortions, active.unbind(dim=1), strict=True):
            rows = mask.nonzero()[:, 0]
            if len(rows):
                indices = rows.to(values.device)
                strength = self.strength[rows].to(values.device)
                values[indices] = distortion(values[indices], strength, self.draws)
        return values
