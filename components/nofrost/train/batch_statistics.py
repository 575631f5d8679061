"""Whose mean and variance a batch norm normalises with in training, where that is not all that it sees in one pass.

Statistics of all processes are SyncBatchNorm's; groups of N images are ghost batch norm (Hoffer et al. 2017, "Train
longer, generalize better", §4).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from nofrost.config.model import Statistics
from nofrost.errors import UserError
from nofrost.processes import ProcessGroup

# Replaces a tensor by its sum over several processes, in place.
AllReduce = Callable[[Tensor], None]


@dataclass(frozen=True)
class BatchStatistics:
    """How the images of a micro-batch are grouped for batch statistics.

    A group of N images is what a process with N images of the batch would have: equal chunks of the rows of each pass,
    and in a pass that several views share the rows of the group's images in each of them (see
    :func:`nofrost.train.objectives.base.logits_of`). So N groups in one process train as N processes with one group
    each do.

    Attributes:
        groups: of the images of the process's micro-batch.
        all_reduce: over the processes that share a group, of which each then has one; None where no process does.
    """

    groups: int = 1
    all_reduce: AllReduce | None = None

    @classmethod
    def of(cls, statistics: Statistics, images: int, group: ProcessGroup) -> BatchStatistics:
        """Return what `statistics` of a recipe means; to be called by all processes of `group`.

        Args:
            statistics: a number has passed :func:`check_groups` with these images.
            images: the micro-batch size of each process.

        Raises:
            PeerLostError: another process is gone.
        """
        if statistics == "process":
            return cls()
        # The processes that share a group; 0 where a process has several.
        span = group.size if statistics == "all" else statistics // images
        if span > 1:
            return cls(all_reduce=group.subgroup_all_reduce(span))
        return cls() if statistics == "all" else cls(groups=images // statistics)

    def normalise(self) -> AbstractContextManager[Any]:
        """Return a context in which batch norms in training mode use these groups.

        They update running statistics once a pass: r ← (1 - momentum) r + momentum s, with the mean s over the groups
        of each group's mean, or of its variance (unbiased, as torch's own).
        """
        return nullcontext() if self == BatchStatistics() else _GroupMode(self)


def check_groups(statistics: Statistics, images: int, accumulation: int, processes: int) -> None:
    """Check that groups of images for batch statistics are whole.

    Args:
        images: the micro-batch size of each process, whose share of a batch is `accumulation` micro-batches.
        processes: that share a batch.

    Raises:
        UserError: a group would have to end inside a process or a micro-batch.
    """
    if isinstance(statistics, str) or images % statistics == 0:
        return
    if statistics % images == 0 and processes % (statistics // images) == 0:
        return
    shares = [f"{processes} processes"] * (processes > 1) + [f"{accumulation} micro-batches"] * (accumulation > 1)
    divided = f" ({images * processes * accumulation} by {' and '.join(shares)})" if shares else ""
    fitting = gcd(statistics, images)
    remedy = f"set it to a divisor, such as {fitting}" if fitting > 1 else "set it to process or all"
    raise UserError(
        f"model.batch_statistics {statistics} makes no whole groups of the {images} images that a process has at once"
        f"{divided}: {remedy}, or change schedule.batch_size, schedule.accumulation or the number of processes"
    )


class _GroupMode(TorchFunctionMode):
    """Replaces torch's function of batch norm, which torch's own modules and those of timm all call.

    So the layers stay as they are, with the names of their weights in checkpoints, and need no counterpart here.
    """

    def __init__(self, statistics: BatchStatistics) -> None:
        super().__init__()
        self._statistics = statistics

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        features: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalise features [N, C, ...] over N and all places; the arguments are those of torch's function."""
        # Without running statistics it is not a batch norm: timm standardises weights with this function.
        if not training or running_mean is None or running_var is None:
            return F.batch_norm(features, running_mean, running_var, weight, bias, training, momentum, eps)
        if self._statistics.all_reduce is None:
            groups = self._statistics.groups
            normalised, mean, variance = _in_groups(features, groups, running_mean, weight, bias, eps)
        else:
            all_reduce = self._statistics.all_reduce
            mean, variance, count = _shared_statistics(features.detach(), running_mean.dtype, all_reduce)
            normalised = _Normalised.apply(features, weight, bias, mean, variance, count, eps, all_reduce)
            variance = variance * (count / (count - 1))
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(variance.to(running_var.dtype), momentum)
        return normalised


def _in_groups(
    features: Tensor, groups: int, like: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features, each of equal chunks normalised by its own statistics, and the means [C] of these."""
    size, rest = divmod(len(features), groups)
    if rest:
        raise RuntimeError(f"{len(features)} rows are no {groups} groups of batch statistics")
    # With momentum 1 torch leaves a group's mean and unbiased variance where running statistics are.
    means, variances = ([torch.zeros_like(like) for _ in range(groups)] for _ in range(2))
    normalised = [
        F.batch_norm(chunk, mean, variance, weight, bias, True, 1.0, eps)
        for chunk, mean, variance in zip(torch.split(features, size), means, variances, strict=True)
    ]
    return torch.cat(normalised), torch.stack(means).mean(0), torch.stack(variances).mean(0)


def _shared_statistics(features: Tensor, dtype: torch.dtype, all_reduce: AllReduce) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance [C] over the rows of several processes and all places, and how many values."""
    variance, mean = torch.var_mean(features.to(dtype), _all_but_channels(features), correction=0)
    count = torch.full((1,), features.numel() // features.shape[1], dtype=torch.float64, device=features.device)
    # In float64, so that the difference below loses nothing of what the processes have measured.
    mean, variance = mean.double(), variance.double()
    sums = torch.cat([count * mean, count * (variance + mean.square()), count])
    all_reduce(sums)
    count = sums[-1]
    mean, square = (sums[:-1] / count).chunk(2)
    return mean.to(dtype), (square - mean.square()).clamp(min=0).to(dtype), count.to(dtype)


class _Normalised(torch.autograd.Function):
    """Features [N, C, ...] normalised with mean μ and variance σ² over all m values of several processes.

    The gradient is that of the sum of the losses of these processes (Ioffe and Szegedy 2015, §3; SyncBatchNorm). With
    x̂ = (x - μ) / √(σ² + ε), the gradient g of y = γ x̂ + β, and sums over all m values:
    ∂x = γ / √(σ² + ε) · (g - Σg / m - x̂ Σ(g x̂) / m). Of ∂γ = Σ(g x̂) and ∂β = Σg each process returns its own part,
    which is averaged later with the gradients of all other parameters.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        all_reduce: AllReduce,
    ) -> Tensor:
        ctx.save_for_backward(features, weight, mean, torch.rsqrt(variance + eps), count)
        ctx.all_reduce = all_reduce
        return F.batch_norm(features, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, inverse_deviation, count = ctx.saved_tensors
        dims, shape = _all_but_channels(features), (1, -1) + (1,) * (features.ndim - 2)
        normalised = (features.to(mean.dtype) - mean.view(shape)) * inverse_deviation.view(shape)
        gradient = gradient.to(mean.dtype)
        of_bias, of_weight = gradient.sum(dims), (gradient * normalised).sum(dims)
        of_features = None
        if ctx.needs_input_grad[0]:
            sums = torch.cat([of_bias, of_weight])
            ctx.all_reduce(sums)
            by_mean, by_deviation = (part.view(shape) for part in (sums / count).chunk(2))
            scale = inverse_deviation if weight is None else inverse_deviation * weight
            of_features = (gradient - by_mean - normalised * by_deviation) * scale.view(shape)
            of_features = of_features.to(features.dtype)
        has_affine = weight is not None
        return of_features, of_weight if has_affine else None, of_bias if has_affine else None, *(None,) * 5


def _all_but_channels(features: Tensor) -> list[int]:
    return [0, *range(2, features.ndim)]
