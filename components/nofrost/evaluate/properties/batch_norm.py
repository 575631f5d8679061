"""Running statistics and affine parameters of batch norms, and the statistics of a batch of images at their inputs.

wang2022 Fig. 1 and xie2020 Fig. 5 and 6 show them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nofrost.attacks.session import attack_session
from nofrost.models import BatchNorm, MixtureBatchNorm
from nofrost.results.properties import BatchNormBranch


@dataclass(frozen=True)
class BatchNormLayer:
    """What one batch norm holds; each tensor is float32 [C] on the CPU.

    Args:
        name: of the layer in the model; the two branches of a mixture share it.
        branch: the images that it normalises: a mixture's branch, or ``all``.
        mean, variance: running statistics; None where the layer keeps none.
        weight, bias: γ and β; None where the layer has none.
    """

    name: str
    branch: BatchNormBranch
    mean: Tensor | None
    variance: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def batch_norm_layers(model: nn.Module) -> tuple[BatchNormLayer, ...]:
    """Return what every batch norm of the model holds, in the model's order; nothing for a model without any."""
    return tuple(
        BatchNormLayer(name, branch, *map(_copied, (layer.running_mean, layer.running_var, layer.weight, layer.bias)))
        for name, branch, layer in _layers(model)
    )


def batch_statistics(model: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return, by layer, mean and variance [C] of the images as they enter each batch norm that they pass.

    As in a training step, which the running statistics are averages of: every batch norm normalises by the batch, and
    the variance is the unbiased one. Running statistics stay as they are. Of a mixture, the current branch:
    name one with ``nofrost.models.branch``.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1], N at least 2.

    Raises:
        UserError: images or the model's answers are not as described.
    """
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    with attack_session(model, images) as checked, torch.no_grad(), _by_batch(model, statistics):
        checked(images)
    return statistics


@contextmanager
def _by_batch(model: nn.Module, statistics: dict[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let every batch norm use the statistics of the batch, and record them in `statistics`."""
    layers = list(_layers(model))
    track_flags = [layer.track_running_stats for _, _, layer in layers]

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            variance, mean = torch.var_mean(inputs[0].transpose(0, 1).flatten(1), dim=1)
            statistics[name] = mean.cpu(), variance.cpu()

        return record

    hooks = [layer.register_forward_pre_hook(hook_of(name)) for name, _, layer in layers]
    try:
        for _, _, layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for (_, _, layer), track in zip(layers, track_flags, strict=True):
            layer.training, layer.track_running_stats = False, track


def _layers(model: nn.Module) -> Iterator[tuple[str, BatchNormBranch, BatchNorm]]:
    branches: set[nn.Module] = set()
    for name, module in model.named_modules():
        if isinstance(module, MixtureBatchNorm):
            branches |= {module.clean, module.adversarial}
            yield name, "clean", module.clean
            yield name, "adversarial", module.adversarial
        elif isinstance(module, BatchNorm) and module not in branches:
            yield name, "all", module


def _copied(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach().to("cpu", torch.float32, copy=True)
