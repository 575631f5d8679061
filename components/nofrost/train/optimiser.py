"""SGD with explicit weight-decay groups, adaptive gradient clipping, and the schedules of learning rate and budget."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from nofrost.config import OptimiserSpec, ScheduleSpec
from nofrost.models import Classifier


def is_gain_or_bias(parameter: torch.Tensor) -> bool:
    """Return whether a parameter holds one value a channel. Gains of standardised convolutions are [C, 1, 1, 1]: a
    rule on the number of dimensions would miss them."""
    return parameter.ndim <= 1 or parameter.numel() == len(parameter)


def create_optimiser(model: nn.Module, spec: OptimiserSpec) -> torch.optim.SGD:
    """Return SGD over the parameters that require gradients, with weight decay on weights only unless the recipe
    extends it to gains and biases."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if not is_gain_or_bias(parameter)]
    others = [parameter for parameter in trained if is_gain_or_bias(parameter)]
    groups = [
        {"params": weights, "weight_decay": spec.weight_decay},
        {"params": others, "weight_decay": spec.weight_decay if spec.decay_gains and spec.decay_biases else 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov
    )


def clipped_parameters(model: Classifier) -> list[nn.Parameter]:
    """Return the parameters that adaptive clipping applies to: neither gains, biases nor the last layer."""
    last = {id(parameter) for parameter in model.network.get_classifier().parameters()}  # type: ignore[operator]
    return [p for p in model.parameters() if id(p) not in last and not is_gain_or_bias(p)]


def clip_adaptively(parameters: Iterable[nn.Parameter], factor: float, eps: float) -> None:
    """Scale each filter's gradient so that its norm is at most `factor` times max(norm of the filter, `eps`) (Brock et
    al. 2021b §4.1), in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            limit = factor * _filter_norms(parameter.detach()).clamp(min=eps)
            norm = _filter_norms(parameter.grad)
            parameter.grad.mul_((limit / norm.clamp(min=1e-12)).clamp(max=1))


def _filter_norms(tensor: torch.Tensor) -> torch.Tensor:
    norms: torch.Tensor = torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)), keepdim=True)
    return norms


def lr_share(spec: ScheduleSpec, epochs_done: float) -> float:
    """Return the learning rate after so many epochs as a share of its peak: a linear rise, then a cosine to zero."""
    if epochs_done < spec.lr_warmup_epochs:
        return epochs_done / spec.lr_warmup_epochs
    rest = spec.epochs - spec.lr_warmup_epochs
    return 0.5 * (1 + math.cos(math.pi * (epochs_done - spec.lr_warmup_epochs) / rest)) if rest > 0 else 0.0


def threat_share(spec: ScheduleSpec, epochs_done: float) -> float:
    """Return the training budget after so many epochs as a share of the recipe's: a linear rise, then constant."""
    return min(1.0, epochs_done / spec.threat_warmup_epochs) if spec.threat_warmup_epochs else 1.0
