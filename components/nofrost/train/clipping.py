"""Adaptive gradient clipping (Brock et al. 2021b §4.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from nofrost.config.optimisation import Excluded
from nofrost.models import Classifier
from nofrost.train.optimiser import roles


def clipped_parameters(
    model: Classifier, exclude: Collection[Excluded] = ("gains", "biases", "head")
) -> list[nn.Parameter]:
    """Return the parameters that train and are not excluded: ``gains``, ``biases`` or the ``head`` (last layer)."""
    role_of = roles(model)
    head = model.network.get_classifier().parameters() if "head" in exclude else ()  # type: ignore[operator]
    spared = {id(parameter) for parameter in head}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and role_of[name] not in exclude and id(parameter) not in spared
    ]


def clip_adaptively(parameters: Iterable[nn.Parameter], factor: float, eps: float) -> None:
    """Scale each unit's gradient so that its norm is at most `factor` times max(norm of the unit, `eps`), in place.

    A unit is a filter of a convolution, a row of a matrix, one gain of a standardised convolution, or a whole vector
    (scales and shifts of a normaliser, biases of a layer). Parameters without a gradient are left out.
    """
    moving = [parameter for parameter in parameters if parameter.grad is not None]
    if not moving:
        return
    gradients = [parameter.grad for parameter in moving if parameter.grad is not None]
    limits = [_unit_norms(parameter.detach()) for parameter in moving]
    torch._foreach_clamp_min_(limits, eps)
    torch._foreach_mul_(limits, factor)
    torch._foreach_div_(limits, [_unit_norms(gradient) for gradient in gradients])  # infinite where nothing moves
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_(gradients, limits)


def _unit_norms(tensor: Tensor) -> Tensor:
    dims = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
    return norms
