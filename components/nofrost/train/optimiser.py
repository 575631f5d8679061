"""Weight updates: SGD or RMSProp, weight decay by role, gradient scaling, adaptive clipping, weight averaging."""

from collections.abc import Collection, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nofrost.config import OptimiserSpec
from nofrost.config.optimisation import Excluded
from nofrost.errors import UserError
from nofrost.models import Classifier
from nofrost.models.device import computes_bfloat16
from nofrost.models.layers import NORMALISER_LAYERS
from nofrost.results import ParameterGroup

Role = Literal["weights", "gains", "biases"]
LAYERS = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd)


def roles(model: nn.Module) -> dict[str, Role]:
    """Return the role of each parameter by its name.

    ``biases``: shifts of normalisers, biases of layers, Fixup's scalar biases. ``gains``: scales of normalisers, gains
    of standardised convolutions ([C, 1, 1, 1]: a rule on the number of dimensions would miss them), Fixup's scales.
    ``weights``: everything else.
    """
    return {
        f"{prefix}.{name}" if prefix else name: _role(module, name, parameter)
        for prefix, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
    }


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> Role:
    if "bias" in name or name == "shift":
        return "biases"
    if isinstance(module, LAYERS) and name == "weight":
        return "weights"
    one_per_channel = parameter.ndim <= 1 or parameter.numel() == len(parameter)
    return "gains" if one_per_channel or isinstance(module, NORMALISER_LAYERS) else "weights"


def create_optimiser(model: nn.Module, spec: OptimiserSpec) -> torch.optim.Optimizer:
    """Return SGD or RMSProp over the parameters that require gradients, grouped by role.

    Weight decay applies to weights, and to gains and biases only where the recipe says so. Scalar parameters (Fixup's)
    have separate groups, whose `lr_scale` is the recipe's `scalar_lr`. Each group has a `name` and an `lr_scale`; see
    :func:`set_lr`.
    """
    decays = {
        "weights": spec.weight_decay,
        "gains": spec.weight_decay if spec.decay_gains else 0.0,
        "biases": spec.weight_decay if spec.decay_biases else 0.0,
    }
    groups: dict[str, dict[str, Any]] = {}
    role_of = roles(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            single = parameter.numel() == 1
            group = f"single {role_of[name]}" if single else role_of[name]
            scale = spec.scalar_lr if single else 1.0
            options = {"name": group, "params": [], "weight_decay": decays[role_of[name]], "lr_scale": scale}
            groups.setdefault(group, options)["params"].append(parameter)
    optimiser = _optimiser(list(groups.values()), spec)
    set_lr(optimiser, spec.lr)
    return optimiser


def _optimiser(groups: list[dict[str, Any]], spec: OptimiserSpec) -> torch.optim.Optimizer:
    if spec.rmsprop is None:
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov)
    from timm.optim.rmsprop_tf import RMSpropTF

    rule = spec.rmsprop
    optimiser: torch.optim.Optimizer = RMSpropTF(
        groups, lr=spec.lr, alpha=rule.decay, eps=rule.eps, momentum=spec.momentum
    )
    return optimiser


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of each group to `lr` times its `lr_scale`."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_scale"]


def describe(optimiser: torch.optim.Optimizer) -> dict[str, ParameterGroup]:
    """Return size, weight decay and scale of the learning rate of each parameter group, by its name."""
    return {
        group["name"]: ParameterGroup(
            parameters=sum(parameter.numel() for parameter in group["params"]),
            weight_decay=group["weight_decay"],
            lr_scale=group["lr_scale"],
        )
        for group in optimiser.param_groups
    }


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return the loss scaling that keeps small gradients from vanishing in float16; disabled for other precisions.

    For each update: ``scaler.scale(loss).backward()``, then the mean of the gradients over all processes,
    ``scaler.unscale_(optimiser)``, clipping, ``scaler.step(optimiser)``, which skips an update whose gradients
    overflowed, and ``scaler.update()``. Its ``state_dict()`` is part of the saved state.

    Raises:
        UserError: float16 on a device that is not a CUDA GPU.
    """
    if precision == "float16" and device.type != "cuda":
        usable = "bfloat16" if computes_bfloat16(device) else "float32"
        raise UserError(f"precision float16 needs a CUDA GPU and this is {device.type}: set precision: {usable}")
    return torch.amp.GradScaler("cuda", enabled=precision == "float16")


def clipped_parameters(
    model: Classifier, exclude: Collection[Excluded] = ("gains", "biases", "head")
) -> list[nn.Parameter]:
    """Return the trainable parameters without those excluded: ``gains``, ``biases`` or the ``head`` (last layer)."""
    role_of = roles(model)
    head = model.network.get_classifier().parameters() if "head" in exclude else ()  # type: ignore[operator]
    excluded = {id(parameter) for parameter in head}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and role_of[name] not in exclude and id(parameter) not in excluded
    ]


def clip_adaptively(parameters: Iterable[nn.Parameter], factor: float, eps: float) -> None:
    """Scale each unit's gradient so that its norm is at most `factor` times max(norm of the unit, `eps`), in place
    (adaptive gradient clipping, Brock et al. 2021b §4.1).

    A unit is a filter of a convolution, a row of a matrix, one gain of a standardised convolution, or a whole vector
    (scales and shifts of a normaliser, biases of a layer). Parameters without a gradient are left out.
    """
    pairs = [(parameter.detach(), parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not pairs:
        return
    gradients = [gradient for _, gradient in pairs]
    limits = [_unit_norms(parameter) for parameter, _ in pairs]
    torch._foreach_clamp_min_(limits, eps)
    torch._foreach_mul_(limits, factor)
    # A gradient of zero makes a limit infinite, which the clamp turns into 1.
    torch._foreach_div_(limits, [_unit_norms(gradient) for gradient in gradients])
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_(gradients, limits)


def _unit_norms(tensor: Tensor) -> Tensor:
    dims = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
    return norms


Tensors = list[Tensor] | tuple[Tensor, ...]


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of the model whose ``update_parameters(model)`` averages weights exponentially.

    average ← decay · average + (1 - decay) · weights; the first update copies. The statistics of batch norms are
    averaged in the same way, because they belong to the weights with which they were measured.
    """

    def update(averages: Tensors, current: Tensors, updates: Tensor | int) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - decay)
        else:
            # Copy the counts of batches: torch's own EMA would round the average of integers.
            torch._foreach_copy_(averages, current)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
