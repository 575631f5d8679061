"""Noise (Hendrycks & Dietterich 2019, §3): Gaussian, shot and impulse noise."""

from functools import lru_cache

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import Corruption, each
from nofrost.transforms.corruptions.draws import Draws, normal_shares


def gaussian_noise(images: Tensor, draws: Draws, deviation: float) -> Tensor:
    """Add normal noise of this standard deviation (in the [0, 1] range) to every value."""
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.overlays import add_normal

        return add_normal(images, draws.words(*images.shape[1:]), normal_shares(), deviation, relative=False)
    noise = draws.normal(*images.shape[1:])
    return torch.add(images, noise, alpha=deviation, out=noise)


def shot_noise(images: Tensor, draws: Draws, photons: float) -> Tensor:
    """Replace every value v by a Poisson count of mean v * `photons`, divided by `photons`.

    The values are those of 8 bits, so there are 256 distributions; each is drawn from with a table (Walker 1977, the
    alias method) and 16 random bits, several times as fast as the Poisson numbers of numpy.
    """
    table, columns = _alias_table(photons)
    words = draws.words(*images.shape[1:])
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels import pointwise

        return pointwise.shot_noise(images, words, table, columns, photons)
    place = words.mul_(columns)
    column = place >> 16
    cell = (images * 255).round_().int().mul_(columns).add_(column)
    chosen = table.to(images.device).index_select(0, cell.flatten()).view(images.shape)
    own = torch.lt(place.bitwise_and_(0xFFFF), chosen & 0xFFFF, out=cell)
    counts = chosen.bitwise_right_shift_(16)
    # As a sum with 0 or 1, which is several times as fast as a choice between two tensors
    counts.add_(column.sub_(counts).mul_(own))
    return counts / photons


@lru_cache(maxsize=16)
def _alias_table(photons: float) -> tuple[Tensor, int]:
    """Return :func:`poisson_tables` as one, int32 [256 * columns], and the number of columns.

    The upper 16 bits are the other number, the lower ones the probability of the column's own in shares of 2**-16.
    """
    accept, other = poisson_tables(photons)
    chance = (accept * 2**16).round().clamp(max=2**16 - 1)
    return other.int().mul(2**16).add(chance.int()).flatten(), accept.shape[1]


@lru_cache(maxsize=16)
def poisson_tables(photons: float) -> tuple[Tensor, Tensor]:
    """Return the alias tables of the Poisson distributions of mean level / 255 * `photons`, for levels 0 to 255.

    Returns:
        Probability with which a column stands for its own number, float32 [256, columns], and the number that it stands
        for otherwise, float32 [256, columns]. What is beyond the last column has a probability below 1e-9.
    """
    columns = int(stats.poisson.isf(1e-9, photons)) + 1
    means = np.arange(256)[:, None] / 255 * photons
    mass = stats.poisson.pmf(np.arange(columns), means)
    mass *= columns / mass.sum(axis=1, keepdims=True)
    accept, other = np.ones((256, columns)), np.tile(np.arange(columns), (256, 1))
    rows = np.arange(256)
    # The poorest column left is filled up from the richest, in all 256 rows at once, until one is left.
    lowest, highest = mass.copy(), mass.copy()
    for _ in range(columns - 1):
        poor, rich = lowest.argmin(axis=1), highest.argmax(axis=1)
        accept[rows, poor] = lowest[rows, poor].clip(0, 1)
        other[rows, poor] = rich
        left = highest[rows, rich] - (1 - lowest[rows, poor])
        lowest[rows, rich] = highest[rows, rich] = left
        lowest[rows, poor], highest[rows, poor] = np.inf, -np.inf
    return torch.from_numpy(accept).float(), torch.from_numpy(other).float()


def impulse_noise(images: Tensor, draws: Draws, amount: float) -> Tensor:
    """Set a share `amount` of all values, each channel by itself, to 0 or 1 with equal chance (salt and pepper)."""
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels import pointwise

        return pointwise.impulse_noise(images, draws.double_words(*images.shape[1:]), amount)
    uniform = draws.uniform(*images.shape[1:])
    salt = torch.lt(uniform, amount / 2, out=torch.empty_like(images))
    return torch.maximum(images, salt, out=salt).minimum(uniform.lt_(1 - amount / 2))


NOISE = {
    "gaussian_noise": Corruption(
        gaussian_noise,
        cifar=each(0.04, 0.06, 0.08, 0.09, 0.10),
        tiny_imagenet=each(0.04, 0.08, 0.12, 0.15, 0.18),
        imagenet=each(0.08, 0.12, 0.18, 0.26, 0.38),
        random=True,
    ),
    "shot_noise": Corruption(
        shot_noise,
        cifar=each(500, 250, 100, 75, 50),
        tiny_imagenet=each(250, 100, 50, 30, 15),
        imagenet=each(60, 25, 12, 5, 3),
        random=True,
    ),
    "impulse_noise": Corruption(
        impulse_noise,
        cifar=each(0.01, 0.02, 0.03, 0.05, 0.07),
        tiny_imagenet=each(0.01, 0.02, 0.05, 0.08, 0.14),
        imagenet=each(0.03, 0.06, 0.09, 0.17, 0.27),
        random=True,
    ),
}
